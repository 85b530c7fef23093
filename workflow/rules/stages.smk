"""
A chain of catalog steps, from build to report: one job a stage.

Needs the plan; writes each stage's configuration and its smoke variant, runs the reduced chain
for the gate `preview`, then the chain. A stage's files are in a directory keyed by everything
that shapes it: only its manifest is declared, so that a step can continue what it began.
"""


wildcard_constraints:
    stage=PIPELINE.any_stage,


rule build_stage:
    input:
        gate=PIPELINE.gate("plan"),
    output:
        spec=f"{RESULTS}/build/stages/{{stage}}.yaml",
        smoke_spec=f"{RESULTS}/build/smoke/{{stage}}.yaml",
        config=f"{RESULTS}/build/configs/{EXPERIMENT}_{{stage}}.yaml",
        smoke_config=f"{RESULTS}/build/configs/{EXPERIMENT}_{{stage}}_smoke.yaml",
    log:
        f"{RESULTS}/logs/build/{{stage}}.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        documents=lambda wildcards: PIPELINE.stage_items(wildcards.stage),
    script:
        "../../scripts/build_stage.py"


rule validate_stage:
    input:
        spec=rules.build_stage.output.spec,
        config=rules.build_stage.output.config,
        smoke_config=rules.build_stage.output.smoke_config,
    output:
        record=f"{RESULTS}/validate/stages/{{stage}}.json",
    log:
        f"{RESULTS}/logs/validate/{{stage}}.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    script:
        "../../scripts/validate_stage.py"


rule smoke_stage:
    input:
        spec=rules.build_stage.output.smoke_spec,
        config=rules.build_stage.output.smoke_config,
        valid=rules.validate_stage.output.record,
        upstream=lambda wildcards: PIPELINE.upstream(wildcards.stage, "preview/stages"),
    output:
        manifest=f"{RESULTS}/preview/stages/{{stage}}/manifest.json",
    log:
        f"{RESULTS}/logs/preview/{{stage}}.log",
    conda:
        "../envs/lockgate.yaml"
    threads: RESOURCES.threads
    resources:
        **heavy("smoke_stage", "stage", spread=PIPELINE.spread),
    params:
        ledger=PIPELINE.ledger,
    shell:
        'exec python "$SCRIPTS"/run_stage.py --spec {input.spec:q} --config {input.config:q} '
        "--ledger {params.ledger:q} --smoke '' "
        "--threads {threads} --attempt {resources.attempt} "
        "--out {output.manifest:q} > {log:q} 2>&1"


rule review_stages:
    input:
        plan=rules.plan.output.plan,
        manifests=expand(rules.smoke_stage.output.manifest, stage=PIPELINE.stages),
        records=PIPELINE.records,
    output:
        review=f"{RESULTS}/preview/review.json",
        html=f"{RESULTS}/preview/review.html",
    log:
        f"{RESULTS}/logs/preview/review.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        covers=PIPELINE.chain.items["preview"],
    script:
        "../../scripts/review_stages.py"


rule stage:
    input:
        gate=PIPELINE.gate("preview"),
        spec=rules.build_stage.output.spec,
        config=rules.build_stage.output.config,
        valid=rules.validate_stage.output.record,
        upstream=lambda wildcards: PIPELINE.upstream(wildcards.stage, "stages"),
    output:
        manifest=f"{RESULTS}/stages/{{stage}}/manifest.json",
    log:
        f"{RESULTS}/logs/stages/{{stage}}.log",
    conda:
        "../envs/lockgate.yaml"
    threads: RESOURCES.threads
    resources:
        **heavy("stage", "stage", spread=PIPELINE.spread),
    params:
        ledger=PIPELINE.ledger,
        smoke=lambda wildcards: PIPELINE.item(f"smoke/{wildcards.stage}"),
    shell:
        'exec python "$SCRIPTS"/run_stage.py --spec {input.spec:q} --config {input.config:q} '
        "--ledger {params.ledger:q} --smoke {params.smoke:q} "
        "--threads {threads} --attempt {resources.attempt} "
        "--out {output.manifest:q} > {log:q} 2>&1"


rule report_stages:
    input:
        plan=rules.plan.output.plan,
        review=rules.review_stages.output.review,
        manifests=expand(rules.stage.output.manifest, stage=PIPELINE.stages),
    output:
        html=report(
            f"{RESULTS}/report/report.html",
            category="Results",
            caption="../report/report.rst",
        ),
    log:
        f"{RESULTS}/logs/report.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        ledger=PIPELINE.ledger,
    script:
        "../../scripts/report_stages.py"
