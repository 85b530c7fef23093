"""
What both kinds of experiment write past the gate `plan`: the approved summary, and the report
on everything that was validated.
"""


rule build_summary:
    input:
        gate=PIPELINE.gate("plan"),
        plan=rules.plan.output.plan,
    output:
        summary=f"{RESULTS}/build/experiment_summary.md",
        summary_data=f"{RESULTS}/build/experiment_summary.yaml",
    log:
        f"{RESULTS}/logs/build/summary.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        ledger=PIPELINE.ledger,
    script:
        "../../scripts/approve_summary.py"


rule validate_report:
    input:
        records=PIPELINE.records,
    output:
        report=f"{RESULTS}/validate/report.json",
        markdown=f"{RESULTS}/validate/report.md",
    log:
        f"{RESULTS}/logs/validate/report.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    script:
        "../../scripts/write_validation.py"
