"""Where an experiment stands, from files and SLURM alone."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from lockgate import cli, files, status
from lockgate.data.progress import Progress
from standing import Standing, sleeper

TRAIN, EVAL = "train/tiny_epochs-1", "eval/tiny_epochs-1"
NAME = "tiny_epochs-1"
COMMENT = "rule_train_wildcards_tiny_epochs-1"


@pytest.fixture
def binaries(tmp_path, monkeypatch):
    """The PATH: an empty directory, where SLURM's commands may be put."""
    path = tmp_path / ".bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    return path


@pytest.fixture
def standing(project, binaries):
    return Standing(project.source, binaries)


@pytest.fixture
def started(standing):
    """Both gates are open, everything is built and measured, and the data is made."""
    standing.plan()
    standing.approve("plan")
    standing.build()
    names = [name for name in standing.works if name.startswith("preview")]
    standing.finish(*names, "generate/0", "data")
    covers = standing.experiment.gates.needed["preview"]
    files.write_json(standing.results / "preview/review.json", {"covers": covers})
    standing.approve("preview")
    return standing


@pytest.fixture
def process():
    """Starts processes that wait, and ends them after the test."""
    made = []

    def start(*words):
        made.append(sleeper(*words))
        return made[-1]

    yield start
    for one in made:
        one.kill()
        one.wait()


def everything(root):
    return sorted((str(path), path.stat().st_mtime_ns) for path in root.rglob("*"))


def test_before_the_first_run_everything_waits(standing, tmp_path):
    before = everything(tmp_path)
    told = standing.tell()
    assert {one["state"] for one in told["phases"]} == {"waiting"}
    assert [(gate["open"], gate["approve"]) for gate in told["gates"]] == [(False, None)] * 2
    assert told["gates"][0]["reason"] == "it is not written yet"
    assert {run["state"] for run in told["runs"]} == {"waiting"}
    assert {run["reason"] for run in told["runs"]} == {"gate 'plan'"}
    assert (told["snakemake"], told["slurm"]) == (None, None)
    assert everything(tmp_path) == before  # it wrote nothing


def test_a_gate_that_waits_is_told_with_the_command_that_opens_it(standing, capsys):
    standing.plan()
    gate = standing.tell()["gates"][0]
    assert gate["reason"] == "it waits for your approval"
    assert gate["review"].endswith("/plan/plan.html")
    assert gate["approve"] in standing.text(capsys)
    folder, marker = re.fullmatch("mkdir -p (.+) && touch (.+)", gate["approve"]).groups()
    Path(folder).mkdir(parents=True)
    Path(marker).touch()
    told = standing.tell()
    assert told["gates"][0]["open"]
    assert told["gates"][1]["reason"] == "it is not written yet"
    assert told["runs"][0]["reason"] == "gate 'preview'"
    assert not (standing.experiment.gates.ledger).exists()  # what opens it records it


def test_a_plan_of_an_earlier_configuration_is_not_to_be_approved(standing):
    standing.plan()
    standing.edit(learning_rate=1e-4)
    told = standing.tell()
    assert told["gates"][0]["approve"] is None
    assert "written again" in told["gates"][0]["reason"]
    assert standing.phases()["plan"] == ("waiting", 0, 1)
    assert standing.phases()["resolve"] == ("waiting", 0, 1)


def test_phases_are_counted_from_their_files(started):
    assert started.phases() == {
        "resolve": ("done", 1, 1),
        "learn": ("done", 1, 1),
        "plan": ("done", 1, 1),
        "build": ("done", 8, 8),
        "validate": ("done", 8, 8),
        "preview": ("done", 4, 4),
        "generate": ("done", 2, 2),
        "train": ("waiting", 0, 2),
        "eval": ("waiting", 0, 3),
        "report": ("waiting", 0, 1),
    }


def test_what_is_built_from_an_earlier_configuration_does_not_count(started):
    started.edit(learning_rate=1e-4)
    phases = started.phases()
    # the data and the models asked as they are stay
    assert phases["build"][0] == phases["validate"][0] == "begun"
    assert phases["generate"] == ("done", 2, 2)


def test_a_built_file_counts_before_it_is_checked(started):
    (started.results / "validate/train/tiny_epochs-1.json").unlink()
    assert started.phases()["build"] == ("done", 8, 8)
    assert started.phases()["validate"] == ("begun", 7, 8)


def test_a_finished_experiment_is_done(started, capsys):
    started.finish(TRAIN, "train/tiny_epochs-4")
    started.finish(EVAL, "eval/tiny_epochs-4")
    files.write_json(started.results / "train/tiny_control/manifest.json", {"run": "tiny_control"})
    os.utime(started.results / "train/tiny_control/manifest.json", (1, 1))
    started.finish("eval/tiny_control")
    assert started.phases()["report"] == ("waiting", 0, 1)
    files.write_text(started.results / "report/report.html", "")
    told = started.tell()
    assert {run["state"] for run in told["runs"]} == {"done"}
    assert {run["cells"]["done"] for run in told["runs"]} == {2}
    assert {one["state"] for one in told["phases"]} == {"done"}
    text = started.text(capsys)
    assert "3 runs: 3 done" in text
    assert "to come" not in text


def test_a_run_is_trained_before_it_is_measured(started):
    started.finish(TRAIN)
    run = started.run(NAME)
    assert (run["state"], run["phase"], run["cells"]) == ("trained", "eval", {"done": 0, "all": 2})
    assert started.run("tiny_control")["state"] == "waiting"
    assert started.phases()["train"] == ("begun", 1, 2)


def test_scores_older_than_the_training_do_not_count(started):
    started.finish(EVAL, TRAIN)
    os.utime(started.works[EVAL].out, (1, 1))
    run = started.run(NAME)
    assert (run["state"], run["reason"]) == ("trained", "what it rests on is newer")


def test_an_edit_makes_a_trained_run_wait(started):
    started.finish(TRAIN, EVAL)
    assert started.run(NAME)["state"] == "done"
    started.edit(learning_rate=1e-4)
    run = started.run(NAME)
    assert (run["state"], run["reason"]) == ("waiting", "its configuration changed")


def test_a_local_training_tells_its_progress(started, process, capsys):
    started.begin(TRAIN, pid=process("train_run.py").pid, ago=-1)
    started.progress(TRAIN, 30, 120, seconds=2.0, ago=-2)
    run = started.run(NAME)
    assert (run["state"], run["phase"], run["attempts"]) == ("running", "train", 1)
    assert run["pid"] and run["job"] is None
    progress = run["progress"]
    assert (progress["step"], progress["steps"], progress["percent"]) == (30, 120, 25.0)
    assert (progress["seconds_left"], progress["loss"]) == (180.0, 1.5)
    assert re.search(
        rf"{NAME} +running +pid \d+ +\S+ +30/120 25% +3 min +0/2", started.text(capsys)
    )


def test_a_shard_tells_its_accepted_records(started, process, capsys):
    (started.results / "data/shards/0.json").unlink()
    owner = started.begin("generate/0", pid=process("generate_data.py").pid, ago=-1)
    folder = started.results / "data/shards/0"
    shard = Progress(folder, 66)
    shard.judged(10, 20)
    shard.told(26)
    told = files.read_json(folder / "progress.json")
    assert started.tell()["jobs"][-1]["progress"] is None  # an earlier attempt's
    files.write_json(folder / "progress.json", told | {"updated": told["updated"] + 5})
    job = started.tell()["jobs"][-1]
    assert (job["name"], job["state"], job["pid"]) == ("generate/0", "running", owner["pid"])
    assert (job["progress"]["step"], job["progress"]["steps"]) == (13, 66)
    assert re.search(r"generate/0 .* 13/66 20%", started.text(capsys))


def test_progress_of_an_earlier_attempt_is_not_told(started, process):
    started.progress(TRAIN, 30, 120, ago=60)
    started.begin(TRAIN, pid=process().pid, ago=-1)
    assert started.run(NAME)["progress"] is None


def test_progress_comes_from_the_newest_directory(started, process):
    started.begin(TRAIN, pid=process().pid, ago=-1)
    started.progress(TRAIN, 1, 10, ago=-2, key="aaaaaaaaaaaa")
    started.progress(TRAIN, 7, 10, ago=-3, key="bbbbbbbbbbbb")
    assert started.run(NAME)["progress"]["step"] == 7


def test_a_training_without_a_step_for_long_is_told(started, process, monkeypatch):
    started.begin(TRAIN, pid=process().pid, ago=-1)
    started.progress(TRAIN, 30, 120, ago=-2)
    now = status.time.time()
    monkeypatch.setattr("lockgate.activity.time.time", lambda: now + 1000)
    assert started.run(NAME)["reason"] == "no step since 17 min"


def test_an_attempt_whose_process_is_gone_failed(started, process):
    one = process()
    started.begin(TRAIN, pid=one.pid, ago=-1)
    one.kill()
    one.wait()
    started.log(TRAIN, "step 1\nstep 2\n")
    run = started.run(NAME)
    assert (run["state"], run["reason"]) == ("failed", "died: its process was killed")
    assert run["lines"] == ["step 1", "step 2"]


def test_a_process_that_began_later_is_another(started, process):
    started.begin(TRAIN, pid=process().pid, ago=3600)
    assert started.run(NAME)["state"] == "failed"


def test_an_attempt_on_another_machine_is_not_checked(started):
    started.begin(TRAIN, pid=1, host="elsewhere")
    run = started.run(NAME)
    assert (run["state"], run["node"]) == ("running", "elsewhere")
    assert run["reason"] == "not checked: it began on elsewhere"


def test_a_failed_run_shows_the_end_of_its_log(started, capsys):
    started.end(TRAIN, started.begin(TRAIN), "failed", "the loss is not a number")
    progress = "\r".join(f"\x1b[32m{n}%\x1b[0m" for n in range(100))
    started.log(TRAIN, f"{progress}\nloading\n\nERROR: x: the loss is not a number\nHint: less\n")
    run = started.run(NAME)
    assert (run["state"], run["reason"]) == ("failed", "failed: the loss is not a number")
    assert run["lines"] == ["ERROR: x: the loss is not a number", "Hint: less"]
    text = started.text(capsys)
    assert f"  log: {started.works[TRAIN].log}\n  | ERROR: x" in text
    assert "Run the pipeline again" in text


def test_a_log_without_an_error_shows_its_last_lines(started):
    started.end(TRAIN, started.begin(TRAIN), "failed", "x")
    started.log(TRAIN, "".join(f"{number}%\rline {number}\n" for number in range(20)))
    assert started.run(NAME)["lines"] == [f"line {number}" for number in range(12, 20)]


def test_a_failure_with_an_earlier_configuration_does_not_count(started):
    started.end(TRAIN, started.begin(TRAIN), "failed", "x")
    started.edit(learning_rate=1e-4)
    run = started.run(NAME)
    assert (run["state"], run["attempts"]) == ("waiting", 0)


def test_a_job_that_runs_with_an_earlier_configuration_is_told(started, process):
    started.begin(TRAIN, pid=process().pid, ago=-1)
    started.edit(learning_rate=1e-4)
    run = started.run(NAME)
    assert (run["state"], run["reason"]) == ("running", "with an earlier configuration")


@pytest.mark.parametrize("outcome", ["stopped", "cancelled"])
def test_a_stopped_run_continues_when_run_again(started, capsys, outcome):
    owner = started.begin(TRAIN)
    started.progress(TRAIN, 30, 120)
    started.end(TRAIN, owner, outcome, "it is saved at step 30")
    run = started.run(NAME)
    assert (run["state"], run["reason"]) == ("stopped", f"{outcome}: it is saved at step 30")
    assert run["progress"]["step"] == 30
    assert run["progress"]["seconds_left"] is None
    assert "the rest continues" in started.text(capsys)


def test_the_second_attempt_is_counted(started, process, capsys):
    started.end(TRAIN, started.begin(TRAIN), "out of time", "x")
    started.begin(TRAIN, pid=process().pid, ago=-1)
    assert started.run(NAME)["attempts"] == 2
    assert "running (2nd try)" in started.text(capsys)


def test_a_job_that_is_refused_before_its_attempt_failed(started):
    started.log(TRAIN, "ERROR: ledger.jsonl: 'train/x' is not approved\nHint: run it again\n")
    run = started.run(NAME)
    assert (run["state"], run["attempts"]) == ("failed", 0)
    assert run["reason"] == "ledger.jsonl: 'train/x' is not approved"
    spec = started.works[TRAIN].spec
    os.utime(started.works[TRAIN].log, (spec.stat().st_mtime - 9,) * 2)  # of an earlier build
    assert started.run(NAME)["state"] == "waiting"


def test_an_evaluation_is_told(started, process, capsys):
    started.finish(TRAIN)
    owner = started.begin(EVAL, pid=process().pid, ago=-1)
    run = started.run(NAME)
    assert (run["state"], run["phase"]) == ("evaluating", "eval")
    started.end(EVAL, owner, "failed", "x")
    assert started.run(NAME)["state"] == "failed"
    assert re.search(rf"{NAME} +failed, eval", started.text(capsys))


def test_a_pending_job_is_told_with_slurms_reason(started, capsys):
    started.slurm(("12", "PENDING", "Resources", "", COMMENT))
    run = started.run(NAME)
    assert (run["state"], run["job"], run["reason"]) == ("pending", "12", "Resources")
    assert started.tell()["slurm"] is True
    assert re.search(rf"{NAME} +pending +12 +0/2 +Resources", started.text(capsys))


@pytest.mark.parametrize("reason", ["JobHeldAdmin", "launch_failed_requeued_held"])
def test_a_held_job_is_told_with_the_command_that_lets_it_go(started, capsys, reason):
    started.slurm(("12", "PENDING", reason, "", COMMENT))
    assert "scontrol release 12\n" in started.text(capsys)
    started.slurm(("12", "PENDING", "Priority", "", COMMENT))
    assert "scontrol release" not in started.text(capsys)


def test_a_pending_retry_says_how_the_attempt_before_ended(started):
    started.end(TRAIN, started.begin(TRAIN, job="11"), "out of memory", "x")
    started.slurm(("12", "PENDING", "Priority", "", COMMENT))
    run = started.run(NAME)
    assert (run["state"], run["reason"]) == ("pending", "Priority; before: out of memory")


def test_a_job_of_another_directory_or_experiment_is_not_ours(started):
    started.slurm(("12", "PENDING", "Resources", "", COMMENT, "/elsewhere"))
    assert started.run(NAME)["state"] == "waiting"
    started.slurm(("12", "PENDING", "Resources", "", COMMENT))
    queue = started.binaries / "queue"
    queue.write_text(queue.read_text().replace("addition_method", "other"))
    assert started.run(NAME)["state"] == "waiting"


def test_tasks_of_an_array_are_listed_until_they_begin(started, capsys):
    comment = "rule_train_wildcards_tiny_epochs-4"  # of the first alone
    tasks = [(f"12_{number}", "PENDING", "Priority", "", comment) for number in (1, 2)]
    started.slurm(*tasks)
    told = started.tell()
    assert {run["state"] for run in told["runs"]} == {"waiting"}
    assert [(one["job"], one["rule"]) for one in told["queue"]] == [
        ("12_1", "train"),
        ("12_2", "train"),
    ]
    assert "SLURM job 12: 2 of train, pending (Priority)" in started.text(capsys)
    started.slurm(tasks[0], ("12_2", "RUNNING", "None", "gpu1", comment))
    started.begin(TRAIN, job="12_2")
    run = started.run(NAME)
    assert (run["state"], run["job"], run["node"]) == ("running", "12_2", "gpu1")
    assert [one["job"] for one in started.tell()["queue"]] == ["12_1"]


def test_a_job_of_slurm_that_runs_is_told_with_its_node(started):
    started.slurm(("12", "RUNNING", "None", "gpu2", COMMENT))
    run = started.run(NAME)
    assert (run["state"], run["job"], run["progress"]) == ("running", "12", None)
    started.begin(TRAIN, job="12", host="gpu2", ago=60)
    started.progress(TRAIN, 5, 10)
    run = started.run(NAME)
    assert (run["state"], run["job"], run["node"]) == ("running", "12", "gpu2")
    assert (run["pid"], run["reason"]) == (None, "")
    assert run["progress"]["percent"] == 50


def test_a_job_that_slurm_put_back_is_pending(started):
    started.slurm(("12", "PENDING", "BeginTime", "", COMMENT))
    started.begin(TRAIN, job="12", host="gpu2")
    run = started.run(NAME)
    assert (run["state"], run["reason"]) == ("pending", "BeginTime; it was put back")


def test_a_failed_job_that_is_still_ending_failed(started):
    started.end(TRAIN, started.begin(TRAIN, job="12"), "failed", "x")
    started.slurm(("12", "COMPLETING", "None", "gpu2", COMMENT))
    assert started.run(NAME)["state"] == "failed"


@pytest.mark.parametrize(
    ("state", "outcome"),
    [("TIMEOUT", "out of time"), ("OUT_OF_MEMORY", "out of memory"), ("NODE_FAIL", "node failed")],
)
def test_slurm_says_how_a_job_died(started, state, outcome):
    started.slurm()
    (started.binaries / "jobs").write_text(f"12|12|{state}|None|gpu1|1:00:00|2000M|{COMMENT}\n")
    started.begin(TRAIN, job="12", host="gpu1")
    run = started.run(NAME)
    assert (run["state"], run["job"]) == ("failed", "12")
    assert run["reason"] == f"{outcome}: SLURM says {state}"


def test_where_slurm_does_not_answer_a_job_is_not_checked(started, capsys):
    started.slurm(fails=True)
    started.begin(TRAIN, job="12", host="gpu1")
    run = started.run(NAME)
    assert (run["state"], run["job"]) == ("running", "12")
    assert run["reason"] == "not checked: SLURM does not answer"
    assert started.tell()["slurm"] is False
    assert "SLURM does not answer" in started.text(capsys)


def test_jobs_of_the_preview_and_the_data_are_told(standing, process, capsys):
    standing.plan()
    standing.approve("plan")
    standing.begin("generate/0", pid=process().pid, ago=-1)
    jobs = {job["name"]: job["state"] for job in standing.tell()["jobs"]}
    assert jobs.pop("generate/0") == "running"
    assert set(jobs.values()) == {"waiting"}
    assert {name.split("/")[0] for name in jobs} == {
        "preview_data",
        "preview_train",
        "preview_eval",
    }
    text = standing.text(capsys)
    assert re.search("generate/0 +running", text)
    assert "preview_data" not in text


def test_half_written_files_are_passed_over(started, process):
    owner = started.begin(TRAIN, pid=process().pid, ago=-1)
    started.progress(TRAIN, 5, 10, ago=-2)
    path = started.works[TRAIN].out.parent / "attempts.jsonl"
    path.write_text(path.read_text() + '{"event": "end", "ti')
    (started.works[TRAIN].out.parent / "0123456789ab/progress.json").write_text('{"step": 6, "st')
    (started.results / "plan/plan.json").write_text('{"finger')
    started.works[EVAL].out.parent.mkdir(parents=True)
    started.works[EVAL].out.write_text('{"run": ')
    run = started.run(NAME)
    assert (run["state"], run["pid"], run["progress"]) == ("running", owner["pid"], None)
    gate = started.tell()["gates"][0]
    assert (gate["open"], gate["approve"]) == (False, None)
    assert "plan.json" in gate["reason"]


def test_a_run_whose_model_is_not_here_is_blocked(project, standing):
    several = {"model": ["tiny", "other"], "epochs": [1]}
    values = project.values(models__other={"path": "models/none"}, training__variables=several)
    standing.source.write_text(yaml.safe_dump(values))
    standing.read()
    runs = {run["name"]: run for run in standing.tell()["runs"]}
    blocked = [run for run in runs.values() if run["state"] == "blocked"]
    assert blocked and all(name.startswith("other") for name in (run["name"] for run in blocked))
    assert "models/none" in blocked[0]["reason"]
    assert blocked[0]["log"] is None
    assert standing.phases()["train"] == ("waiting", 0, 1)


def test_a_snakemake_that_runs_here_is_named(started, process):
    lock = started.results / ".lock"
    assert started.tell()["snakemake"] is None
    lock.write_text(str(process("something").pid))
    assert started.tell()["snakemake"] is None
    one = process("snakemake", "--profile", "local")
    lock.write_text(str(one.pid))
    assert started.tell()["snakemake"] == one.pid
    lock.write_text("not a number")
    assert started.tell()["snakemake"] is None


def test_many_runs_are_counted_and_those_that_move_are_shown(project, binaries, process, capsys):
    source = Path(project.source)
    values = project.values(training__seeds=list(range(30)), training__max_runs=100)
    source.write_text(yaml.safe_dump(values))
    standing = Standing(project.source, binaries)
    standing.begin("train/tiny_epochs-1_seed-7", pid=process().pid, ago=-1)
    text = standing.text(capsys)
    assert "61 runs: 60 waiting, 1 running" in text
    assert [line.split()[0] for line in text.splitlines() if "seed-" in line] == [
        "tiny_epochs-1_seed-7"
    ]
    assert max(map(len, text.splitlines())) <= 120


def test_every_key_of_the_json_is_described(started, capsys):
    cli.main(["status", "--json", "--configfile", str(started.source)])
    told = json.loads(capsys.readouterr().out)
    keys = {*told, *told["phases"][0], *told["gates"][0], *told["runs"][0], *told["jobs"][0]}
    described = set(re.findall(r"`(\w+)`", status.__doc__))
    assert keys - described == set()


def test_a_configuration_that_is_not_there_is_named(binaries, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["status"])
    assert ended.value.code == 1
    assert "config/config.yaml" in capsys.readouterr().err


@pytest.fixture
def chain(project, binaries):
    return Standing("config/examples/chain.yaml", binaries)


def test_a_chain_is_told_by_its_stages(chain, process, capsys):
    names = list(chain.experiment.stages)
    assert [run["name"] for run in chain.tell()["runs"]] == names
    chain.plan()
    chain.approve("plan")
    chain.build()
    assert chain.phases()["build"] == ("done", 2 * len(names), 2 * len(names))
    chain.finish(*(f"stage/{name}" for name in names))
    assert {run["state"] for run in chain.tell()["runs"]} == {"done"}
    assert chain.phases()["stages"] == ("done", len(names), len(names))
    # the training again: what rests on it is to run again
    training = next(name for name in names if chain.works[f"stage/{name}"].teller)
    chain.works[f"stage/{training}"].out.unlink()
    chain.begin(f"stage/{training}", pid=process().pid, ago=-1)
    below = Path("0123456789ab", "checkpoint_lora", "work", "run")
    chain.progress(f"stage/{training}", 3, 4, ago=-2, key=str(below))
    run = chain.run(training)
    assert (run["kind"], run["state"], run["progress"]["step"]) == ("stage", "running", 3)
    assert chain.run(names[-1])["state"] == "waiting"
    assert chain.run(names[0])["state"] == "done"
    assert re.search(rf"{training} +running +pid", chain.text(capsys))
