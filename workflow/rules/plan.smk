"""
Phase plan: the experiment on paper, for approval at the gate `plan`.

Needs what resolve and learn found; writes the plan, its page, the runs and cells, the
estimates, and the log of every verification and calculation.
"""


rule plan:
    input:
        tools=rules.resolve.output.tools,
        resources=rules.resolve.output.resources,
        resolve_log=rules.resolve.output.log,
        catalog=rules.learn.output.catalog,
        prior_runs=rules.learn.output.prior_runs,
        learn_log=rules.learn.output.log,
    output:
        **PIPELINE.tables,
        plan=f"{RESULTS}/plan/plan.json",
        markdown=f"{RESULTS}/plan/plan.md",
        html=f"{RESULTS}/plan/plan.html",
        summary=f"{RESULTS}/plan/experiment_summary.md",
        summary_data=f"{RESULTS}/plan/experiment_summary.yaml",
        log=f"{RESULTS}/plan/log.jsonl",
        design_log=f"{RESULTS}/plan/design-experiment.log",
    log:
        f"{RESULTS}/logs/plan.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        fingerprint=PIPELINE.fingerprint,
        source=SOURCE,
        ledger=PIPELINE.ledger,
    script:
        "../../scripts/write_plan.py"
