"""
Phase preview: sample records to read, and speed and memory measured on each shape and model.

Needs the validated builds; writes the sample records and the page on the data, one training a
shape and one evaluation a model, and the review for approval at the gate `preview`. Each preview
of the data is also kept in preview/data/iterations, which is no output: Snakemake would empty it.
"""


rule preview_data:
    input:
        spec=rules.build_data.output.spec,
        design=rules.build_data.output.design,
        valid=rules.validate_data.output.record,
        models=PIPELINE.served_models,
    output:
        summary=f"{RESULTS}/preview/data/summary.json",
        rows=f"{RESULTS}/preview/data/rows.jsonl",
        records=f"{RESULTS}/preview/data/records.jsonl",
        review=f"{RESULTS}/preview/data/review.json",
        html=f"{RESULTS}/preview/data/review.html",
    log:
        f"{RESULTS}/logs/preview/data.log",
    conda:
        "../envs/lockgate.yaml"
    threads: RESOURCES.threads
    resources:
        **heavy("preview_data"),
    params:
        records=PIPELINE.config.data.preview_records,
        ledger=PIPELINE.ledger,
    shell:
        'exec python "$SCRIPTS"/preview_data.py --spec {input.spec:q} --design {input.design:q} '
        "--models {input.models:q} --records {params.records:q} --ledger {params.ledger:q} "
        "--threads {threads} --attempt {resources.attempt} "
        "--summary {output.summary:q} --rows {output.rows:q} > {log:q} 2>&1"


rule preview_train:
    input:
        spec=f"{RESULTS}/build/smoke/{{shape}}.yaml",
        valid=f"{RESULTS}/validate/smoke/{{shape}}.json",
        model=lambda wildcards: PIPELINE.smoke_model(wildcards.shape),
        rows=rules.preview_data.output.rows,
    output:
        measured=f"{RESULTS}/preview/train/{{shape}}.json",
    log:
        f"{RESULTS}/logs/preview/train/{{shape}}.log",
    conda:
        "../envs/lockgate.yaml"
    threads: RESOURCES.threads
    resources:
        **heavy("preview_train", "shape", apart),
    params:
        ledger=PIPELINE.ledger,
    shell:
        'exec python "$SCRIPTS"/preview_train.py --spec {input.spec:q} --model {input.model:q} '
        "--rows {input.rows:q} --ledger {params.ledger:q} "
        "--threads {threads} --attempt {resources.attempt} "
        "--world {resources.world} --out {output.measured:q} > {log:q} 2>&1"


rule preview_eval:
    input:
        spec=f"{RESULTS}/build/eval/{{run}}.yaml",
        valid=f"{RESULTS}/validate/eval/{{run}}.json",
        trained=lambda wildcards: PIPELINE.evaluated_shapes(wildcards.run),
        model=lambda wildcards: PIPELINE.evaluated_model(wildcards.run),
        rows=rules.preview_data.output.rows,
    output:
        measured=f"{RESULTS}/preview/eval/{{run}}.json",
    log:
        f"{RESULTS}/logs/preview/eval/{{run}}.log",
    conda:
        "../envs/lockgate.yaml"
    threads: RESOURCES.threads
    resources:
        **heavy("preview_eval", "run"),
    params:
        ledger=PIPELINE.ledger,
    shell:
        'exec python "$SCRIPTS"/preview_eval.py --spec {input.spec:q} --model {input.model:q} '
        "--rows {input.rows:q} --weights {input.trained:q} --ledger {params.ledger:q} "
        "--threads {threads} --attempt {resources.attempt} --out {output.measured:q} > {log:q} 2>&1"


rule review:
    input:
        data=rules.preview_data.output.summary,
        examined=rules.preview_data.output.review,
        rows=rules.preview_data.output.rows,
        models=PIPELINE.trained_models,
        train=expand(rules.preview_train.output.measured, shape=PIPELINE.shapes),
        eval=expand(rules.preview_eval.output.measured, run=PIPELINE.evaluations),
    output:
        review=f"{RESULTS}/preview/review.json",
        html=f"{RESULTS}/preview/review.html",
    log:
        f"{RESULTS}/logs/preview/review.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        covers=PIPELINE.matrix.items["preview"],
        workload=PIPELINE.workload,
        limits=RESOURCES.model_dump(
            include={"memory_mb", "gpus", "gpu", "runtime_minutes", "partition"}
        ),
        resolved=f"{RESULTS}/resolve/resources.json",
        ledger=PIPELINE.ledger,
    script:
        "../../scripts/write_review.py"
