"""What the Snakefile asks of an experiment: gates, targets, and who runs it."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from snakemake.exceptions import WorkflowError

from lockgate import pipeline
from lockgate.files import write_json, write_text

SCRIPTS = Path(pipeline.__file__).parents[2]


def read(project, main=True, dry=False, **changes):
    return pipeline.read(project.values(**changes), project.source, main, lambda: dry)


def write_plan(made):
    """What the phase plan writes, as far as its gate reads it."""
    path = Path(made.results, "plan/plan.json")
    write_json(path, {"covers": made.gates.needed["plan"], "fingerprint": made.fingerprint})


def test_a_configuration_that_is_wrong_ends_with_one_message(project, capsys):
    with pytest.raises(SystemExit):
        read(project, data__records="many")
    told = capsys.readouterr().err
    assert told.startswith("ERROR: ") and "data.records" in told


def test_the_kind_follows_from_the_configuration(project):
    assert isinstance(read(project), pipeline.MatrixPipeline)
    values = yaml.safe_load(Path("config/examples/chain.yaml").read_text())
    made = pipeline.read(copy.deepcopy(values), "chain.yaml", False, lambda: True)
    assert isinstance(made, pipeline.ChainPipeline)
    assert made.finished() == [
        f"{made.results}/stages/{name}/manifest.json" for name in made.stages
    ]
    first, *_, last = made.stages
    assert made.upstream(first, "stages") == []
    assert made.upstream(last, "stages")


def test_a_closed_gate_is_said_where_its_jobs_are_asked_for(project, capsys):
    made = read(project)
    plan = [f"{made.results}/plan/plan.json", f"{made.results}/plan/plan.html"]
    assert made.targets() == plan
    assert "plan" in capsys.readouterr().err
    for gate in ("plan", "preview"):
        with pytest.raises(WorkflowError, match="plan"):
            made.gate(gate)(None)


def test_a_dry_run_and_a_job_elsewhere_see_the_whole_road_and_lock_nothing(project):
    for made in (read(project, dry=True), read(project, main=False)):
        assert made.targets()[-1] == f"{made.results}/report/report.html"
        assert set(made.finished()) <= set(made.targets())
        assert made.gate("preview")(None) == []
    assert not Path(made.results).exists()


def test_an_approved_plan_leads_to_the_preview_and_no_further(project):
    write_plan(read(project, main=False))
    made = read(project)
    write_text(made.gates.marker("plan"), "")
    targets = made.targets()
    assert made.closed.gate == "preview"
    assert targets[-1] == f"{made.results}/preview/review.html"
    assert made.gate("plan")(None) == []
    with pytest.raises(WorkflowError, match="preview"):
        made.gate("preview")(None)


def test_two_calls_at_once_run_no_experiment_twice(project):
    code = (
        "import sys, yaml; from lockgate import pipeline; "
        "made = pipeline.read(yaml.safe_load(open(sys.argv[1])), 'it', True, lambda: False); "
        "made.states(); print('holds', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, project.source]
    kinds = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    env = {"PYTHONPATH": str(SCRIPTS), "PATH": ""}
    with subprocess.Popen(command, **kinds, env=env, text=True) as first:
        assert first.stdout.readline() == "holds\n"
        done = subprocess.run(command, env=env, input="", capture_output=True, text=True)
    assert done.returncode == 1
    assert "already running" in done.stderr and "Traceback" not in done.stderr


def test_nothing_heavy_is_imported_while_the_snakefile_is_parsed():
    code = (
        "import sys; from lockgate import pipeline; heavy = 'numpy scipy pandas pyarrow torch "
        "transformers matplotlib snakemake'.split(); "
        "print([name for name in heavy if name in sys.modules])"
    )
    env = {"PYTHONPATH": str(SCRIPTS), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
