"""
Phase report: what came out, compared with the controls and with the estimates.

Needs every run's scores; writes the tables, the figures and a page that stands alone.
"""


rule report:
    input:
        plan=rules.plan.output.plan,
        review=rules.review.output.review,
        data=rules.assemble.output.manifest,
        card=rules.card.output.page,
        summary=rules.build_summary.output.summary,
        rows=[rules.assemble.output.test, rules.assemble.output.validation],
        manifests=expand(f"{RESULTS}/train/{{run}}/manifest.json", run=PIPELINE.runs),
        scores=expand(f"{RESULTS}/eval/{{run}}/scores.json", run=PIPELINE.runs),
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
        groups=report(
            f"{RESULTS}/report/groups.csv",
            category="Results",
            caption="../report/groups.rst",
        ),
        estimates=report(
            f"{RESULTS}/report/estimates.csv",
            category="Results",
            caption="../report/estimates.rst",
        ),
        figures=report(
            directory(f"{RESULTS}/report/figures"),
            patterns=["{figure}.png"],
            category="Figures",
            caption="../report/figures.rst",
            labels={"figure": "{figure}"},
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
