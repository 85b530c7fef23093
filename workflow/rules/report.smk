"""
Phase report: what came out, compared with the controls and with the estimates.

Needs every run's scores; writes the results table, the figures and a page that stands alone.
"""


rule report:
    input:
        plan=rules.plan.output.plan,
        review=rules.review.output.review,
        data=rules.assemble.output.manifest,
        summary=rules.build_summary.output.summary,
        rows=[rules.assemble.output.test, rules.assemble.output.validation],
        manifests=expand(
            f"{RESULTS}/train/{{run}}/manifest.json", run=PIPELINE.matrix.runs
        ),
        scores=expand(f"{RESULTS}/eval/{{run}}/scores.json", run=PIPELINE.matrix.runs),
    output:
        html=report(
            f"{RESULTS}/report/report.html",
            category="Results",
            caption="../report/report.rst",
        ),
        results=report(
            f"{RESULTS}/report/results.csv",
            category="Results",
            caption="../report/results.rst",
        ),
        scores=report(
            f"{RESULTS}/report/scores.png",
            category="Figures",
            caption="../report/scores.rst",
        ),
        losses=report(
            f"{RESULTS}/report/losses.png",
            category="Figures",
            caption="../report/losses.rst",
        ),
    log:
        f"{RESULTS}/logs/report.log",
    localrule: True
    conda:
        "../envs/lockgate.yaml"
    params:
        ledger=PIPELINE.ledger,
    script:
        "../../scripts/write_report.py"
