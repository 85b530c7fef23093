"""The command `lockgate`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate import cli

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared/reference/nemotron"

TYPES = '[raw]\nis_a = "rows"\n[rows]\ndescription = "Rows."\n[model]\n[log]\n'


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A catalog with two steps, and an empty working directory with nothing around it."""
    root = tmp_path / "own"
    for name, text in {
        "types.toml": TYPES,
        "data/clean/step.toml": '[step]\nid = "data/clean"\ntags = ["cpu"]\n'
        '[[consumes]]\ntype = "rows"\n[[produces]]\ntype = "raw"\n',
        "sft/train/step.toml": '[step]\nid = "sft/train"\nname = "Train"\n'
        'description = "Trains a model on rows, and says so in quite a few more words than fit."\n'
        '[[consumes]]\ntype = "raw"\n[[produces]]\ntype = "model"\n'
        '[[models]]\nname = "org/m"\nmin_gpus = 8\n'
        '[[strategies]]\nwhen = "few rows"\nthen = "fewer steps"\n'
        '[[errors]]\nname = "oom"\nrecovery = "less"\n[reference]\ndocs = "there"\n'
        "[lockgate.inputs.raw]\nrequired = false\n[lockgate.inputs.model]\nrequired = true\n",
        "patterns/late.md": "---\nid: late\ntitle: Late\ntriggers: [It is late.]\n---\nSleep.\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("LOCKGATE_CATALOGS", raising=False)
    return root


@pytest.fixture
def lockgate(own, capsys):
    """A function that runs a command on the catalog and gives stdout and stderr."""

    def run(*arguments, catalog=own):
        chosen = ["--catalog", str(catalog)] if catalog else []
        cli.main([*arguments, *chosen])
        told = capsys.readouterr()
        return told.out, told.err

    return run


@pytest.fixture
def refused(lockgate, capsys):
    """A function that gives the message with which a command is refused."""

    def run(*arguments, **options):
        with pytest.raises(SystemExit) as ended:
            lockgate(*arguments, **options)
        assert ended.value.code == 1
        return capsys.readouterr().err

    return run


def ids(told):
    return [step["id"] for step in json.loads(told[0])]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], ["data/clean", "sft/train"]),
        (["--category", "data"], ["data/clean"]),
        (["--tag", "cpu"], ["data/clean"]),
        (["--consumes", "raw"], ["data/clean", "sft/train"]),
        (["--consumes", "raw", "--exact"], ["sft/train"]),
        (["--consumes", "rows"], ["data/clean"]),
        (["--produces", "rows"], ["data/clean"]),
        (["--produces", "rows", "--exact"], []),
        (["--produces", "raw", "--consumes", "log"], []),
    ],
)
def test_steps_are_filtered_by_what_may_stand_for_a_type(lockgate, filters, expected):
    assert ids(lockgate("steps", "list", "--json", *filters)) == expected


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (["--category", "sfft"], "no step has the category 'sfft'\nHint: there are: sft"),
        (["--tag", "gpu"], "no step has the tag 'gpu'\nHint: there are: cpu"),
    ],
)
def test_a_word_that_no_step_has_is_told(refused, filters, message):
    assert message in refused("steps", "list", *filters)


def test_a_list_says_how_much_there_is(lockgate):
    out, error = lockgate("steps", "list")
    assert error == "2 steps, 4 types, 0 errors\n"
    lines = out.splitlines()
    assert lines[0].split() == ["STEP", "CATALOG", "CONSUMES", "PRODUCES", "WHAT", "IT", "DOES"]
    assert [line.split()[0] for line in lines[1:]] == ["data/clean", "sft/train"]
    assert {line.index(word) for line, word in zip(lines, ["CAT", "own", "own"], strict=True)} == {
        lines[0].index("CAT")
    }
    assert "raw?, model" in lines[2]
    assert lines[2].endswith(" ...")


def test_problems_are_told_and_the_rest_is_listed(own, lockgate):
    (own / "sft/train/step.toml").write_text("[step")
    out, error = lockgate("steps", "list", "--json")
    assert [step["id"] for step in json.loads(out)] == ["data/clean"]
    assert error.startswith("ERROR: own:sft/train/step.toml: not valid TOML")
    assert error.endswith("\n1 step, 4 types, 1 error\n")


def test_json_states_what_the_manifest_does(lockgate):
    step = json.loads(lockgate("steps", "show", "sft/train", "--json")[0])
    assert list(step) == [
        *("id", "name", "category", "description", "tags", "path", "consumes", "produces"),
        *("parameters", "models", "strategies", "errors", "reference", "catalog"),
        *("runspec", "lockgate"),
    ]
    assert step["consumes"] == [{"type": "raw", "required": True, "description": ""}]
    assert step["models"][0]["min_gpus"] == 8
    assert step["reference"] == {"docs": "there"}
    assert step["runspec"] is None
    assert step["lockgate"] == {"inputs": {"raw": {"required": False}, "model": {"required": True}}}


def test_a_step_is_shown_with_everything(lockgate):
    out, _ = lockgate("steps", "show", "own:sft/train")
    for text in (
        "sft/train: Train",
        "raw (optional; the manifest says otherwise)",
        "model (required; not in the manifest)",
        "org/m, from 8 GPUs",
        "few rows: fewer steps",
        "oom: less",
        "docs: there",
    ):
        assert text in out


def test_an_unknown_name_is_refused_with_the_nearest(refused):
    said = refused("steps", "show", "sft/trian")
    assert "ERROR: lockgate steps show: there is no step 'sft/trian'" in said
    assert "did you mean sft/train?" in said
    said = refused("patterns", "show", "lat")
    assert "there is no pattern 'lat'" in said
    assert "did you mean late?" in said
    said = refused("steps", "list", "--consumes", "row")
    assert "there is no artifact type 'row'" in said
    assert "did you mean rows" in said


def test_a_path_that_is_no_catalog_is_refused(refused, tmp_path):
    assert "does not exist" in refused("steps", "list", catalog=tmp_path / "missing")


def test_patterns_are_listed_and_shown(lockgate):
    (pattern,) = json.loads(lockgate("patterns", "list", "--json")[0])
    assert (pattern["id"], pattern["triggers"], pattern["body"]) == (
        "late",
        ["It is late."],
        "Sleep.",
    )
    assert json.loads(lockgate("patterns", "show", "late", "--json")[0]) == pattern
    assert "late" in lockgate("patterns", "list")[0]
    out, _ = lockgate("patterns", "show", "late")
    assert "It is late." in out and out.endswith("Sleep.\n")


def test_types_are_listed(lockgate):
    types = json.loads(lockgate("types", "--json")[0])
    assert [one["name"] for one in types] == ["log", "model", "raw", "rows"]
    assert types[2] == {"name": "raw", "description": "", "is_a": ["rows"], "convert_to": {}}
    assert "Rows." in lockgate("types")[0]


def test_without_a_catalog_all_that_are_found_are_used(own, lockgate, monkeypatch):
    builtin = {
        step["catalog"] for step in json.loads(lockgate("steps", "list", "--json", catalog=None)[0])
    }
    assert builtin == {"builtin"}
    monkeypatch.setenv("LOCKGATE_CATALOGS", str(own))
    found = json.loads(lockgate("steps", "list", "--json", catalog=None)[0])
    assert {step["catalog"] for step in found} == {"own", "builtin"}
    assert found[0]["catalog"] == "own"


def test_shadowed_steps_are_noted(own, lockgate, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "step").mkdir()
    (other / "step/step.toml").write_text('[step]\nid = "sft/train"\n')
    _, error = lockgate("steps", "list", "--catalog", str(other))
    assert "Note: own:sft/train/step.toml: step.id: 'sft/train' of catalog other" in error


def test_a_new_step_is_found_and_loads(lockgate, refused, monkeypatch, own):
    out, error = lockgate("steps", "new", "sft/mine", "--like", "sft/train")
    assert out.splitlines()[0] == "catalog/sft/mine/step.toml"
    assert "is found from this directory" in error
    step = json.loads(lockgate("steps", "show", "sft/mine", "--json", catalog=None)[0])
    assert (step["catalog"], step["reference"]) == ("catalog", {"like": "sft/train"})
    said = refused("steps", "new", "sft/mine", "--like", "sft/train")
    assert "has a step 'sft/mine' already" in said
    _, error = lockgate("steps", "new", "sft/more", "--like", "sft/train", "--into", "elsewhere")
    assert "through LOCKGATE_CATALOGS" in error


def test_a_reader_that_stops_early_is_no_error(own):
    command = f"{sys.executable} -m lockgate.cli types --catalog {own} | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference data is not here")
def test_the_reference_catalog_is_listed_as_upstream_does(lockgate):
    out, error = lockgate("steps", "list", "--json", catalog=REFERENCE)
    assert error == "24 steps, 16 types, 0 errors\n"
    upstream = json.loads((REFERENCE / "steps-list.json").read_text())
    assert [{key: step[key] for key in upstream[0]} for step in json.loads(out)] == upstream


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference data is not here")
def test_a_reference_step_is_shown_as_upstream_does(lockgate):
    for upstream in json.loads((REFERENCE / "steps-show.json").read_text()):
        out, _ = lockgate("steps", "show", upstream["id"], "--json", catalog=REFERENCE)
        step = json.loads(out)
        # the reference data has no programs, so no runspec can be read
        assert step["runspec"] is None
        assert {key: step[key] for key in upstream} == {**upstream, "runspec": None}
