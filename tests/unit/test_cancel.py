"""Ending the jobs of an experiment."""

import signal
from pathlib import Path

import pytest

from lockgate import attempts, cli, process
from lockgate.errors import LockgateError
from standing import Standing, sleeper

ONE, FOUR = "tiny_epochs-1", "tiny_epochs-4"
COMMENT = "rule_train_wildcards_"


@pytest.fixture
def standing(project, tmp_path, monkeypatch):
    """A project, with an empty directory for SLURM's commands as the PATH."""
    path = tmp_path / ".bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    return Standing(project.source, path)


@pytest.fixture
def cancel(standing, capsys):
    """A function that runs the command and gives stdout and stderr."""

    def run(*names):
        cli.main(["cancel", *names, "--configfile", str(standing.source)])
        told = capsys.readouterr()
        return told.out, told.err

    return run


@pytest.fixture
def refused(cancel, capsys):
    """A function that gives the message with which the command ends."""

    def run(*names):
        with pytest.raises(SystemExit) as ended:
            cancel(*names)
        assert ended.value.code == 1
        return capsys.readouterr().err

    return run


@pytest.fixture
def processes(standing):
    """Two trainings that run on this machine."""
    made = {name: sleeper(name) for name in (ONE, FOUR)}
    for name, one in made.items():
        standing.begin(f"train/{name}", pid=one.pid, ago=-1)
    yield made
    for one in made.values():
        one.kill()
        one.wait()


def asked(standing):
    """What `scancel` was called with."""
    path = standing.binaries / "asked"
    return path.read_text().split() if path.exists() else []


def accepting(standing):
    standing.command("scancel", f'echo "$@" >> {standing.binaries / "asked"}')


def test_a_local_training_is_told_to_end_and_the_others_go_on(cancel, processes):
    out, err = cancel(ONE)
    assert processes[ONE].wait(10) == -signal.SIGTERM
    assert processes[FOUR].poll() is None
    assert out == f"train/{ONE}: process {processes[ONE].pid} is told to end\n"
    assert "reports these jobs as failed" in err


def test_without_a_name_everything_is_ended(cancel, processes, standing):
    other = sleeper("generate")
    standing.begin("generate/0", pid=other.pid, ago=-1)
    out, _ = cancel()
    for one in (*processes.values(), other):
        assert one.wait(10) == -signal.SIGTERM
    assert len(out.splitlines()) == 3


def test_nothing_to_end_is_no_fault(cancel):
    assert cancel() == ("Nothing of this experiment runs or waits in a queue.\n", "")
    assert cancel(ONE) == (f"{ONE}: nothing of it runs or waits in a queue\n", "")


def test_a_process_that_is_not_the_attempts_is_left_alone(cancel, standing):
    other = sleeper()
    standing.begin(f"train/{ONE}", pid=other.pid, ago=3600)  # it began before this process
    out, _ = cancel(ONE)
    assert "nothing of it runs" in out
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_process_on_another_machine_is_only_named(cancel, standing):
    standing.begin(f"train/{ONE}", pid=4711, host="elsewhere")
    out, err = cancel(ONE)
    assert "process 4711 on elsewhere, which cannot be reached" in out
    assert err == ""


def test_an_unknown_run_is_refused_before_anything_ends(refused, processes):
    message = refused(ONE, "tiny_epoch-4")
    assert "there is no run 'tiny_epoch-4'" in message
    assert FOUR in message
    assert all(one.poll() is None for one in processes.values())


def test_jobs_that_wait_and_jobs_that_run_are_cancelled(cancel, standing):
    accepting(standing)
    standing.slurm(
        ("11", "RUNNING", "None", "gpu1", COMMENT + ONE),
        ("12", "PENDING", "Priority", "", COMMENT + ONE),  # the one above is left over
        ("13", "PENDING", "Priority", "", COMMENT + FOUR),
    )
    standing.begin(f"train/{ONE}", job="11", host="gpu1")
    out, _ = cancel(ONE)
    assert out == f"train/{ONE}: SLURM jobs 11, 12 cancelled\n"
    assert asked(standing) == ["11", "12"]


def test_tasks_of_an_array_that_wait_are_cancelled_with_the_rest(cancel, standing):
    accepting(standing)
    tasks = [(f"12_{number}", "PENDING", "Priority", "", COMMENT + FOUR) for number in (1, 2)]
    standing.slurm(*tasks)
    out, _ = cancel(FOUR)
    assert "nothing of it runs" in out  # which of the tasks it is, nobody knows
    assert asked(standing) == []
    out, _ = cancel()
    assert "SLURM jobs 12_1, 12_2 cancelled" in out
    assert asked(standing) == ["12_1", "12_2"]


@pytest.mark.parametrize("begun", [False, True])
def test_a_retry_does_not_begin_what_was_cancelled(cancel, standing, monkeypatch, begun):
    accepting(standing)
    standing.slurm(("12", "RUNNING" if begun else "PENDING", "None", "", COMMENT + ONE))
    owner = standing.begin(f"train/{ONE}", job="12") if begun else None
    cancel(ONE)
    if begun:  # it saved what it had, and said so
        standing.end(f"train/{ONE}", owner, "stopped", "saved")
    standing.slurm()
    assert standing.run(ONE)["state"] == "stopped"
    assert standing.run(ONE)["reason"] == "cancelled: by `lockgate cancel`"
    work = standing.works[f"train/{ONE}"]
    monkeypatch.setattr(process, "granted", process.Granted(attempt=2))
    with (
        pytest.raises(LockgateError, match="was cancelled"),
        attempts.attempt(work.out, work.item, "it is being trained"),
    ):
        pass
    monkeypatch.setattr(process, "granted", process.Granted(attempt=1))  # of the next call
    with attempts.attempt(work.out, work.item, "it is being trained"):
        assert standing.run(ONE)["state"] == "running"


def test_what_slurm_refuses_is_told(refused, standing):
    standing.command("scancel", "echo 'scancel: error: Access denied' >&2; exit 1")
    standing.slurm(("12", "PENDING", "Priority", "", COMMENT + ONE))
    message = refused(ONE)
    assert "Access denied" in message
    assert "scancel 12" in message


def test_where_slurm_does_not_answer_that_is_told(cancel, standing):
    standing.slurm(fails=True)
    out, err = cancel()
    assert "SLURM does not answer" in out
    assert err == ""


def test_a_stage_of_a_chain_is_ended(project, tmp_path, capsys, standing):
    source = Path("config/examples/chain.yaml")
    chain = Standing(source, standing.binaries)
    name = list(chain.experiment.stages)[0]
    one = sleeper()
    chain.begin(f"stage/{name}", pid=one.pid, ago=-1)
    cli.main(["cancel", name, "--configfile", str(source)])
    assert one.wait(10) == -signal.SIGTERM
    with pytest.raises(SystemExit):
        cli.main(["cancel", "nothing", "--configfile", str(source)])
    assert "there is no stage 'nothing'" in capsys.readouterr().err
