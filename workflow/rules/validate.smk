"""
Phase validate: every built file, checked by the tool that will use it.

Needs the built files; writes one record each and a report over all. A record is made only
where the check passes: a fault stops everything that would build on it.
"""


rule validate_data:
    input:
        spec=rules.build_data.output.spec,
        design=rules.build_data.output.design,
        models=PIPELINE.served_models,
    output:
        record=f"{RESULTS}/validate/data.json",
    log:
        f"{RESULTS}/logs/validate/data.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    threads: RESOURCES.threads
    shell:
        'exec python "$SCRIPTS"/validate_data.py --spec {input.spec:q} --design {input.design:q} '
        "--models {input.models:q} --threads {threads} --out {output.record:q} > {log:q} 2>&1"


rule validate_config:
    input:
        spec=f"{RESULTS}/build/{{kind}}/{{name}}.yaml",
    output:
        record=f"{RESULTS}/validate/{{kind}}/{{name}}.json",
    log:
        f"{RESULTS}/logs/validate/{{kind}}/{{name}}.log",
    wildcard_constraints:
        kind="train|eval|smoke",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    shell:
        'exec python "$SCRIPTS"/validate_config.py --spec {input.spec:q} --out {output.record:q} '
        "> {log:q} 2>&1"
