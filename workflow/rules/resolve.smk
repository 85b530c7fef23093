"""
Phase resolve: what is here, and what is missing.

Needs the configuration and the machine; writes the tools' paths and versions, and each
model, dataset, task and device as found or as a numbered prerequisite.
"""


rule resolve:
    output:
        tools=f"{RESULTS}/resolve/tools.json",
        resources=f"{RESULTS}/resolve/resources.json",
        log=f"{RESULTS}/resolve/log.jsonl",
    log:
        f"{RESULTS}/logs/resolve.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        fingerprint=PIPELINE.fingerprint,
        source=SOURCE,
    script:
        "../../scripts/resolve_resources.py"
