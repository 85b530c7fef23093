"""The rows in a folder handed over are those that the pipeline uses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate import jobs
from lockgate.data import projection
from lockgate.errors import LockgateError
from lockgate.files import read_jsonl, write_jsonl

SPLITS = ("train", "validation", "test")


def trained_on(built, run):
    """The rows that the pipeline's training of a run is given, by split."""
    files = [built.results / f"data/{split}.jsonl" for split in SPLITS]
    document = built.experiment.documents[f"train/{run}"]
    found = jobs._own_rows(document, *files, built.results / "train" / run / "key")
    return {"train": found[0].read_bytes(), "validation": found[1].read_bytes()}


def sums(path, start):
    """A dataset of 30 sums, none of which is in the example's."""
    path.parent.mkdir(exist_ok=True)
    records = [{"a": start + n, "b": start, "sum": 2 * start + n} for n in range(30)]
    if path.suffix == ".json":
        path.write_text(json.dumps(records))
    else:
        write_jsonl(path, records)
    return str(path)


def make_rows(folder, alone):
    command = [sys.executable, "make_rows.py", "data/records.jsonl"]
    done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_rows_are_those_that_the_pipeline_makes(built):
    folder = built.hand_over()
    built.assemble(read_jsonl(built.project.records))
    for split in SPLITS:
        name = f"data/{split}.jsonl"
        assert (folder / name).read_bytes() == (built.results / name).read_bytes()


def test_generated_rows_are_taken_as_they_are(built, generated):
    built.build(**generated)
    rows = [
        {"id": f"{n:06d}", "prompt": f"q{n}", "completion": "a", "fields": {}} for n in range(3)
    ]
    for number, split in enumerate(SPLITS):
        write_jsonl(built.results / f"data/{split}.jsonl", [rows[number]])
    built.result("data/manifest.json", {"item": built.item("data/data")})
    folder = built.hand_over()
    assert read_jsonl(folder / "data/test.jsonl") == [rows[2]]
    assert not (folder / "make_rows.py").exists()
    assert "Make the rows" not in (folder / "README.md").read_text()


def test_rows_of_another_design_are_not_taken(built, generated):
    built.build(**generated)
    built.result("data/manifest.json", {"item": "data/data:000000000000"})
    folder = built.hand_over()
    assert not (folder / "data/test.jsonl").exists()
    assert built.notes == ["The rows are not made yet; README.md says how to make them."]


def test_rows_that_are_not_made_are_made_by_the_folder(built, generated, alone):
    folder = built.build(**generated).hand_over()
    told = (folder / "README.md").read_text().splitlines()
    assert any(line.startswith("data-designer create data/design.py") for line in told)
    assert "python make_rows.py data/made/dataset/dataset.jsonl" in told
    assert (folder / "data/design.py").read_text() == built.experiment.design
    records = [{"a": n, "b": n + 1} for n in range(40)]
    write_jsonl(folder / "data/records.jsonl", records)
    make_rows(folder, alone)
    built.assemble(records)
    for split in SPLITS:
        name = f"data/{split}.jsonl"
        assert (folder / name).read_bytes() == (built.results / name).read_bytes()


def test_the_folder_takes_the_records_that_count(built, generated, alone):
    accept = {"valid": True, "complete": True, "scores": {}, "when": "a % 2 == 0", "most": 3}
    folder = built.build(**generated, data__accept=accept).hand_over()
    records = [{"a": n, "b": "" if n == 4 else n + 1} for n in range(90)]
    write_jsonl(folder / "data/records.jsonl", records)
    make_rows(folder, alone)
    built.assemble([one for one in records if one["a"] % 2 == 0 and one["a"] != 4][:40])
    for split in SPLITS:
        name = f"data/{split}.jsonl"
        assert (folder / name).read_bytes() == (built.results / name).read_bytes()
    write_jsonl(folder / "data/records.jsonl", records[:80])
    command = [sys.executable, "make_rows.py", "data/records.jsonl"]
    done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True)
    told = "39 of 80 records count, 40 are wanted; refused: accept.when is not true (40), gives an"
    assert done.returncode == 1 and told in done.stderr


def talk(number, system):
    """A conversation of two turns."""
    texts = (f"I have {number}.", "Fine.", f"And {number + 1} more?", "More.")
    said = [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(texts)]
    return [{"role": "system", "content": system}, *said]


CONVERSATIONS = {"data__rows": {"messages": "a.talk"}, "training__system_prompt": "Be kind."}
PAIRS = {"data__rows": {"prompt": "{{ a }}?", "chosen": "{{ b }}", "rejected": "{{ a }}"}}


@pytest.mark.parametrize(
    ("changes", "records"),
    [
        (CONVERSATIONS, [{"a": {"talk": talk(n, "Be kind.")}, "b": n} for n in range(40)]),
        (PAIRS, [{"a": n, "b": n + 1} for n in range(40)]),
    ],
    ids=["conversations", "pairs"],
)
def test_the_folder_makes_rows_of_every_kind(built, generated, alone, changes, records):
    folder = built.build(**{**generated, **changes}).hand_over()
    write_jsonl(folder / "data/records.jsonl", records)
    make_rows(folder, alone)
    built.assemble(records)
    for split in SPLITS:
        name = f"data/{split}.jsonl"
        assert (folder / name).read_bytes() == (built.results / name).read_bytes()
    (row, *_) = read_jsonl(folder / "data/test.jsonl")
    assert ("history" in row, "chosen" in row) == (changes is CONVERSATIONS, changes is PAIRS)


def test_conversations_with_another_system_message_are_refused(built, generated, alone):
    folder = built.build(**{**generated, **CONVERSATIONS}).hand_over()
    records = [{"a": {"talk": talk(n, "Be short.")}, "b": n} for n in range(40)]
    write_jsonl(folder / "data/records.jsonl", records)
    command = [sys.executable, "make_rows.py", "data/records.jsonl"]
    done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True)
    assert done.returncode == 1
    assert "the system message 'Be short.', and the runs have 'Be kind.'" in done.stderr
    assert not (folder / "data/train.jsonl").exists()


def test_runs_with_rows_of_their_own_get_them(built):
    changes = {"training__variables": {"data.train_rows": [20, 40]}}
    folder = built.build(**changes).hand_over()
    for count in (20, 40):
        run = f"tiny_train-rows-{count}"
        assert len(read_jsonl(folder / f"data/{run}/train.jsonl")) == count
        assert f"--data data/{run} " in (folder / f"sbatch/{run}.sh").read_text()
    test = (folder / "data/test.jsonl").read_bytes()
    assert (folder / "data/tiny_train-rows-20/test.jsonl").read_bytes() == test


def test_runs_with_datasets_of_their_own_are_trained_on_those(built):
    files = [sums(Path("mine/one.jsonl"), 1000), sums(Path("mine/two.json"), 2000)]
    built.build(training__variables={"data.train_files": files}, data__train_rows=25)
    folder = built.hand_over()
    built.assemble(read_jsonl(built.project.records))
    found = []
    for run in (run for run in built.experiment.runs.values() if run.trained):
        for split, known in trained_on(built, run.name).items():
            assert (folder / f"data/{run.name}/{split}.jsonl").read_bytes() == known
        found.append(read_jsonl(folder / f"data/{run.name}/train.jsonl"))
        assert f"--data data/{run.name} " in (folder / f"sbatch/{run.name}.sh").read_text()
    assert [rows[0]["prompt"] for rows in found] == ["1000 + 1000 =", "2000 + 2000 ="]
    assert [len(rows) for rows in found] == [25, 25]
    assert "--data data " in (folder / "sbatch/tiny_control.sh").read_text()


def test_a_dataset_that_all_runs_are_trained_on_is_handed_over(built):
    file = sums(Path("mine/one.jsonl").absolute(), 1000)
    folder = built.build(data__train_files=file).hand_over()
    for run in ("tiny_epochs-1", "tiny_epochs-4"):
        rows = read_jsonl(folder / f"data/{run}/train.jsonl")
        assert [row["completion"] for row in rows] == [str(2000 + n) for n in range(30)]


def test_a_dataset_of_a_run_that_leaks_is_refused(built):
    write_jsonl("leak.jsonl", read_jsonl(built.project.records))
    built.build(data__train_files="leak.jsonl")
    with pytest.raises(LockgateError, match="held-out rows have the prompt of a train row"):
        built.hand_over()


def test_templates_of_a_run_make_its_rows(built):
    templates = ["{{ prompt }}", "{{ a }} plus {{ b }}?"]
    built.build(training__variables={"data.rows.prompt": templates})
    folder = built.hand_over()
    built.assemble(read_jsonl(built.project.records))
    prompts = set()
    for run in built.experiment.runs.values():
        place = folder / f"data/{run.name}"
        for split, known in trained_on(built, run.name).items() if run.trained else ():
            assert (place / f"{split}.jsonl").read_bytes() == known
        shared = read_jsonl(built.results / "data/test.jsonl")
        own = built.experiment.documents[f"eval/{run.name}"]["rows"]
        assert read_jsonl(place / "test.jsonl") == projection.revise(shared, own, "")
        prompts.add(read_jsonl(place / "test.jsonl")[0]["prompt"])
    assert len(prompts) == 2


def test_own_rows_are_made_by_the_folder_as_by_the_pipeline(built, generated, alone):
    one, two = Path("mine/rows.csv"), Path("other/rows.csv")
    for number, path in enumerate((one, two), 1):
        path.parent.mkdir()
        lines = (f"{n},{number * 1000 + n}" for n in range(8))
        path.write_text("a,b\r\n" + "\r\n".join(lines), newline="")
    variables = {"data.train_files": [str(one), str(two.absolute())], "data.train_rows": [5, 8]}
    folder = built.build(**generated, training__variables=variables).hand_over()
    assert (folder / "data/files/1/rows.csv").read_bytes() == one.read_bytes()
    assert (folder / "data/files/2/rows.csv").read_bytes() == two.read_bytes()
    assert str(Path.cwd()) not in (folder / "data/rows.yaml").read_text()
    assert str(Path.cwd()) not in (folder / "README.md").read_text()
    records = [{"a": n, "b": n + 1} for n in range(40)]
    write_jsonl(folder / "data/records.jsonl", records)
    make_rows(folder, alone)
    built.assemble(records)
    counts = []
    for run in (run for run in built.experiment.runs.values() if run.trained):
        for split, known in trained_on(built, run.name).items():
            assert (folder / f"data/{run.name}/{split}.jsonl").read_bytes() == known
        counts.append(len(read_jsonl(folder / f"data/{run.name}/train.jsonl")))
    assert counts == [5, 8, 5, 8]
