"""
Phase build: one file for each job that will spend something, from the approved configuration.

Needs the gate `plan`; writes the data design, each run's training and evaluation, and one
smoke configuration a shape. Nothing here reads plan.json: an edit rebuilds only what it
changes. Also prepares the models: one Hugging Face directory each, kept in the cache.
"""


rule build_data:
    input:
        gate=PIPELINE.gate("plan"),
    output:
        spec=f"{RESULTS}/build/data/data.yaml",
        design=f"{RESULTS}/build/data/{PIPELINE.design}",
    log:
        f"{RESULTS}/logs/build/data.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        item=PIPELINE.item("data/data"),
    script:
        "../../scripts/build_config.py"


rule build_train:
    input:
        gate=PIPELINE.gate("plan"),
    output:
        spec=f"{RESULTS}/build/train/{{run}}.yaml",
    log:
        f"{RESULTS}/logs/build/train/{{run}}.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        item=lambda wildcards: PIPELINE.item(f"train/{wildcards.run}"),
    script:
        "../../scripts/build_config.py"


rule build_eval:
    input:
        gate=PIPELINE.gate("plan"),
    output:
        spec=f"{RESULTS}/build/eval/{{run}}.yaml",
    log:
        f"{RESULTS}/logs/build/eval/{{run}}.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        item=lambda wildcards: PIPELINE.item(f"eval/{wildcards.run}"),
    script:
        "../../scripts/build_config.py"


rule build_smoke:
    input:
        gate=PIPELINE.gate("plan"),
    output:
        spec=f"{RESULTS}/build/smoke/{{shape}}.yaml",
    log:
        f"{RESULTS}/logs/build/smoke/{{shape}}.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        item=lambda wildcards: PIPELINE.item(f"smoke/{wildcards.shape}"),
    script:
        "../../scripts/build_config.py"


rule prepare_model:
    input:
        gate=PIPELINE.gate("plan"),
    output:
        manifest=f"{RESULTS}/models/{{model}}.json",
    log:
        f"{RESULTS}/logs/models/{{model}}.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    threads: RESOURCES.threads
    params:
        identity=lambda wildcards: PIPELINE.matrix.identities[wildcards.model],
        stamp=lambda wildcards: PIPELINE.model_stamp(wildcards.model),
    script:
        "../../scripts/prepare_model.py"
