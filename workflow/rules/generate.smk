"""
Phase generate: the full data, in shards, then one set of splits.

Needs the gate `preview`; writes the records, the training,
validation and test rows (JSON Lines and Parquet) and the data card.
Finished records are kept in a directory keyed by the design's digest.
"""


rule generate:
    input:
        gate=PIPELINE.gate("preview"),
        spec=rules.build_data.output.spec,
        design=rules.build_data.output.design,
        valid=rules.validate_data.output.record,
        models=PIPELINE.served_models,
    output:
        shard=f"{RESULTS}/data/shards/{{shard}}.json",
    log:
        f"{RESULTS}/logs/generate/{{shard}}.log",
    conda:
        "../envs/lockgate.yaml"
    threads: RESOURCES.threads
    resources:
        **heavy("generate", "shard"),
    params:
        ledger=PIPELINE.ledger,
    shell:
        'exec python "$SCRIPTS"/generate_data.py --spec {input.spec:q} --design {input.design:q} '
        "--models {input.models:q} --shard {wildcards.shard:q} --ledger {params.ledger:q} "
        "--threads {threads} --attempt {resources.attempt} --out {output.shard:q} > {log:q} 2>&1"


rule assemble:
    input:
        spec=rules.build_data.output.spec,
        design=rules.build_data.output.design,
        shards=expand(
            rules.generate.output.shard, shard=range(PIPELINE.config.data.shards)
        ),
    output:
        train=f"{RESULTS}/data/train.jsonl",
        validation=f"{RESULTS}/data/validation.jsonl",
        test=f"{RESULTS}/data/test.jsonl",
        records=f"{RESULTS}/data/records.jsonl",
        tables=expand(
            f"{RESULTS}/data/{{part}}.parquet",
            part=["train", "validation", "test", "records"],
        ),
        manifest=f"{RESULTS}/data/manifest.json",
    log:
        f"{RESULTS}/logs/assemble.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        experiment=PIPELINE.config.experiment.name,
    script:
        "../../scripts/assemble_data.py"


rule card:
    input:
        manifest=rules.assemble.output.manifest,
    output:
        card=f"{RESULTS}/data/card.md",
        page=f"{RESULTS}/data/card.html",
    log:
        f"{RESULTS}/logs/card.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        question=PIPELINE.config.experiment.question,
        licence=PIPELINE.config.data.licence,
    script:
        "../../scripts/write_card.py"
