"""
Phase eval: one job a run, with the model loaded once for all its tasks.

Needs the run's manifest and the held-out rows; writes the scores, last. The logs are kept in
a directory keyed by the digest of weights, rows and settings.
"""


rule eval:
    input:
        gate=PIPELINE.gate("preview"),
        spec=f"{RESULTS}/build/eval/{{run}}.yaml",
        valid=f"{RESULTS}/validate/eval/{{run}}.json",
        trained=f"{RESULTS}/train/{{run}}/manifest.json",
        test=rules.assemble.output.test,
        validation=rules.assemble.output.validation,
    output:
        scores=f"{RESULTS}/eval/{{run}}/scores.json",
    log:
        f"{RESULTS}/logs/eval/{{run}}.log",
    conda:
        "../envs/lockgate.yaml"
    threads: RESOURCES.threads
    resources:
        **heavy("eval", "run"),
    params:
        ledger=PIPELINE.ledger,
    shell:
        'exec python "$SCRIPTS"/eval_run.py --spec {input.spec:q} --trained {input.trained:q} '
        "--test {input.test:q} --validation {input.validation:q} --ledger {params.ledger:q} "
        "--threads {threads} --attempt {resources.attempt} --out {output.scores:q} > {log:q} 2>&1"
