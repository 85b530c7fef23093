"""
Phase learn: what the step catalogs and the data tool offer, and what earlier runs took.

Needs the configuration; writes the catalog, the data tool's schemas (by themselves, and within
that of the configuration, for editors) and the prior runs of other experiments (never this
one's: its own results must not change its plan).
"""


rule learn:
    output:
        **PIPELINE.schemas,
        catalog=f"{RESULTS}/learn/catalog.json",
        prior_runs=f"{RESULTS}/learn/prior_runs.csv",
        log=f"{RESULTS}/learn/log.jsonl",
    log:
        f"{RESULTS}/logs/learn.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        fingerprint=PIPELINE.fingerprint,
        source=SOURCE,
    script:
        "../../scripts/learn_catalog.py"
