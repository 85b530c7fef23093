"""
Phase train: one job a run.

Needs the gate `preview`, the run's validated configuration and the data; writes a manifest,
last. Checkpoints are not declared: Snakemake would wipe them with a failed job's outputs.
"""


rule train:
    input:
        gate=PIPELINE.gate("preview"),
        spec=f"{RESULTS}/build/train/{{run}}.yaml",
        valid=f"{RESULTS}/validate/train/{{run}}.json",
        model=lambda wildcards: PIPELINE.run_model(wildcards.run),
        train=rules.assemble.output.train,
        validation=rules.assemble.output.validation,
        test=rules.assemble.output.test,
    output:
        manifest=f"{RESULTS}/train/{{run}}/manifest.json",
    log:
        f"{RESULTS}/logs/train/{{run}}.log",
    wildcard_constraints:
        run=PIPELINE.names(trained=True),
    conda:
        "../envs/lockgate.yaml"
    threads: RESOURCES.threads
    resources:
        **heavy("train", "run", apart),
    params:
        ledger=PIPELINE.ledger,
        smoke=lambda wildcards: PIPELINE.smoke_item(wildcards.run),
    shell:
        'exec python "$SCRIPTS"/train_run.py --spec {input.spec:q} --model {input.model:q} '
        "--train {input.train:q} --validation {input.validation:q} --test {input.test:q} "
        "--ledger {params.ledger:q} "
        "--smoke {params.smoke:q} --threads {threads} --attempt {resources.attempt} "
        "--world {resources.world} --out {output.manifest:q} > {log:q} 2>&1"


rule untrained:
    input:
        model=lambda wildcards: PIPELINE.run_model(wildcards.run),
    output:
        manifest=f"{RESULTS}/train/{{run}}/manifest.json",
    log:
        f"{RESULTS}/logs/train/{{run}}.log",
    wildcard_constraints:
        run=PIPELINE.names(trained=False),
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        kind=lambda wildcards: PIPELINE.matrix.runs[wildcards.run].kind,
    script:
        "../../scripts/untrained_run.py"
