"""What each job asks for, from the experiment's files."""

import json
import os

import pytest

from lockgate import allocation, attempts, cluster, estimates
from lockgate.allocation import Allocation
from lockgate.attempts import DIED, OUT_OF_MEMORY, OUT_OF_TIME, STOPPED
from lockgate.config.resources import Resources
from lockgate.files import write_json, write_text
from lockgate.heavy import RULES
from lockgate.plan import ESTIMATE_FIELDS

PREVIEWS = {("preview_train", "shape"): ["a", "b"], ("preview_eval", "tiny"): ["a", "control"]}


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def row(run, phase, minutes, memory_mb):
    return estimates.row(run, phase, 1, 1, minutes * 60, "a guess", memory_mb=memory_mb)


class Place:
    """The results of an experiment, with the files that a test wants there."""

    def __init__(self, root):
        self.root = root

    def plan(self, *rows):
        flat = [{**one, **one["seconds"]} for one in rows]
        text = estimates.to_csv([*flat, {"phase": "all", "high": 9e9}], ESTIMATE_FIELDS)
        write_text(self.root / "plan/estimates.csv", text)

    def review(self, *rows, **more):
        write_json(self.root / "preview/review.json", {"estimates": rows, **more})

    def tried(self, place, *outcomes, item="train/a:1", job=None):
        """Attempts: an outcome each (None: nothing was written), and what they were given."""
        path = self.root / place / attempts.NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as handle:
            for number, (outcome, memory_mb, minutes) in enumerate(outcomes):
                line = {"time": number, "job": job, "host": "elsewhere", "pid": number}
                begin = {"item": item, "memory_mb": memory_mb, "minutes": minutes}
                handle.write(json.dumps({"event": "begin", **begin, **line}) + "\n")
                if outcome:
                    end = {"event": "end", "outcome": outcome, "detail": "", **line}
                    handle.write(json.dumps(end) + "\n")

    def asks(self, rule="train", name="a", attempt=1, **more):
        found = self.allocation(**more)
        return found.memory_mb(rule, name, attempt), found.minutes(rule, name, attempt)

    def allocation(self, shards=1, main=True, **resources):
        digest = "{}:1".format
        return Allocation(self.root, Resources(**resources), digest, PREVIEWS, shards, main)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "results")


def test_without_estimates_the_usual_is_asked_for(place):
    for rule in RULES:
        assert place.asks(rule) == (4000, 120)


def test_a_run_asks_for_what_the_plan_expects_of_it(place):
    place.plan(row("a", "train", 60, 2000), row("a", "eval", 20, None), row("b", "train", 1, 1))
    assert place.asks("train") == (3100, 95)
    assert place.asks("eval") == (4000, 35)
    assert place.asks("train", "b") == (2000, 10)


def test_what_the_preview_measured_comes_first_run_by_run(place):
    place.plan(row("a", "train", 60, 2000), row("b", "train", 60, 2000))
    place.review(row("a", "train", 600, 10_000))
    assert place.asks("train") == (13_500, 905)
    assert place.asks("train", "b") == (3100, 95)


def test_a_preview_asks_for_the_largest_of_its_runs_and_not_for_their_time(place):
    place.plan(row("a", "train", 30, 2000), row("b", "train", 900, 4000), row("a", "eval", 2, 800))
    assert place.asks("preview_train", "shape") == (5700, 120)
    assert place.asks("preview_eval", "tiny") == (2000, 10)
    assert place.asks("preview_train", "shape", runtime_minutes=500) == (5700, 500)


def test_another_preview_does_not_ask_for_what_the_last_one_measured(place):
    place.review(row("a", "train", 30, 2000))
    place.plan(row("a", "train", 30, 4000))
    assert place.asks("preview_train", "shape")[0] == 5700
    assert place.asks("train")[0] == 3100
    place.review(row("a", "train", 30, 3000))
    assert place.asks("preview_train", "shape")[0] == 4400


def test_shards_share_the_time(place):
    place.plan(row(None, "generate", 60, 2000))
    assert place.asks("generate", "1", shards=3) == (3100, 35)
    assert place.asks("preview_data", "", shards=3) == (3100, 95)


def test_a_stage_asks_for_what_its_reduced_run_held(place):
    stages = [{"stage": "a", "peak_memory_mb": 20_000}, {"stage": "b", "peak_memory_mb": 10}]
    write_json(place.root / "preview/review.json", {"stages": stages})
    assert place.asks("stage", "a") == (26_500, 120)
    assert place.asks("stage", "b") == (4000, 120)


def test_estimates_are_read_anew_when_they_change(place):
    place.plan(row("a", "train", 60, 2000))
    found = place.allocation()
    assert found.minutes("train", "a", 1) == 95
    place.plan(row("a", "train", 40, 2000))
    os.utime(place.root / "plan/estimates.csv", ns=(1, 1))
    assert found.minutes("train", "a", 1) == 65


def test_each_attempt_that_ran_out_doubles_what_it_ran_out_of(place):
    place.plan(row("a", "train", 60, 2000))
    place.tried("train/a", (OUT_OF_MEMORY, 3100, 95))
    assert place.asks() == (6200, 95)
    place.tried("train/a", (OUT_OF_TIME, 6200, 95), (STOPPED, 6200, 190))
    assert place.asks() == (6200, 190)
    assert place.asks("eval") == (4000, 120)


def test_what_the_configuration_says_also_grows(place):
    place.tried("train/a", (OUT_OF_MEMORY, 900, 3), (OUT_OF_TIME, 1800, 3))
    assert place.asks(memory_mb=900, runtime_minutes=3) == (1800, 6)
    assert place.asks(memory_mb=1000, runtime_minutes=4) == (1000, 4)


def test_another_configuration_begins_anew(place):
    place.tried("train/a", (OUT_OF_MEMORY, 4000, 120), item="train/a:old")
    assert place.asks() == (4000, 120)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_its_own_history(place, rule):
    directory = attempts.place(place.root / RULES[rule].result.format("a"))
    item = RULES[rule].document.format("a") + ":1"
    place.tried(directory.relative_to(place.root), (OUT_OF_MEMORY, 4000, 120), item=item)
    assert place.asks(rule)[0] == 8000


def test_what_happened_is_read_anew_for_each_attempt(place):
    found = place.allocation()
    assert found.memory_mb("train", "a", 1) == 4000
    place.tried("train/a", (OUT_OF_MEMORY, 4000, 120))
    assert found.memory_mb("train", "a", 1) == 4000
    assert found.memory_mb("train", "a", 2) == 8000


class Commands:
    """SLURM's commands as programs that print what a test says, and count their calls."""

    def __init__(self, root):
        self.root = root / "bin"
        self.root.mkdir()

    def say(self, name, text):
        (self.root / f"{name}.txt").write_text(text)
        program = self.root / name
        program.write_text(
            f'#!/bin/bash\necho >> {self.root}/{name}.calls\necho "$(<{self.root}/{name}.txt)"\n'
        )
        program.chmod(0o755)

    def calls(self, name):
        path = self.root / f"{name}.calls"
        return len(path.read_text()) if path.exists() else 0


@pytest.fixture
def commands(tmp_path):
    return Commands(tmp_path)


def test_slurm_says_how_silent_attempts_ended_and_is_asked_once_for_all(place, commands):
    dead = "{0}|{0}|{1}|None|n1|1:00:00|4000M|rule".format
    commands.say("squeue", dead("7", "OUT_OF_MEMORY") + "\n" + dead("8", "TIMEOUT"))
    place.tried("train/a", (None, 4000, 120), job="7")
    place.tried("eval/a", (STOPPED, 4000, 120), item="eval/a:1", job="8")
    found = place.allocation()
    assert (found.memory_mb("train", "a", 1), found.minutes("train", "a", 1)) == (8000, 120)
    assert (found.memory_mb("eval", "a", 1), found.minutes("eval", "a", 1)) == (4000, 240)
    assert commands.calls("squeue") == 1


def test_a_partition_is_the_ceiling_and_asked_once(place, commands):
    commands.say("sinfo", "main*|up|1:00:00|2|8|16000|gpu:4\nlong|up|2-0|2|8|32000|gpu:4")
    place.review(row("a", "train", 600, 20_000))
    found = place.allocation()
    assert [found.memory_mb("train", "a", 1), found.minutes("train", "a", 1)] == [16_000, 60]
    assert commands.calls("sinfo") == 1
    assert place.asks(partition="long") == (26_500, 905)
    place.tried("train/a", (OUT_OF_MEMORY, 16_000, 60))
    assert "no node of partition main has more" in found.exhausted("train", "a")
    assert found.exhausted("eval", "a") == ""


def test_what_has_the_longest_way_to_go_waits_least(place):
    long, short = row("a", "train", 60, 1000), row("b", "train", 20, 1000)
    place.plan(long, row("a", "eval", 20, 800), short, row("b", "eval", 60, 800))
    found = place.allocation(gpus=2)
    # minutes with margin: 95 + 35 before and after, then 35 + 95; and 1.3 for two GPUs
    # the control is not trained, whatever that would take
    assert found.nice("train", "a", 1, 2) == found.nice("train", "b", 1, 2) == 0
    assert found.nice("eval", "b", 1, 1) == round(99 * (1 - 95 / 169))
    assert found.nice("eval", "a", 1, 1) == round(99 * (1 - 35 / 169))


def test_inside_a_job_it_is_what_the_job_was_given(place, commands, monkeypatch):
    commands.say("squeue", "6200M|1:30:00|1:00:00|rule_train")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert place.asks(main=False) == (6200, 90)
    assert place.asks() == (4000, 120)
    commands.say("squeue", "")
    assert place.asks(main=False) == (4000, 120)


def test_memory_of_a_job_is_told_in_any_unit(commands):
    for text, memory in (("4000M", 4000), ("4G", 4096), ("1.5G", 1536), ("0", None)):
        commands.say("squeue", f"{text}|UNLIMITED|UNLIMITED|mine")
        assert cluster.given("7") == cluster.Given(memory, None, None, False)


def test_a_job_past_its_limit_has_no_time_left(commands):
    commands.say("squeue", "4000M|1:00|INVALID|rule_train")
    assert cluster.given("7") == cluster.Given(4000, 1, 0, True)


def test_an_unknown_end_changes_nothing(place):
    place.tried("train/a", (DIED, 4000, 120), (None, 4000, 120))
    assert place.asks() == (4000, 120)


def test_previews_stand_for_the_runs_that_can_start(project):
    runs = project.read().runs
    found = allocation.stands_for(runs.values())
    tuned = [run for run in runs.values() if run.trained]
    assert found["preview_train", tuned[0].shape] == [run.name for run in tuned]
    assert found["preview_eval", tuned[0].untouched] == list(runs)
