"""What all records will take, from a few that were made."""

import pytest

from lockgate.data import trial

DOCUMENT = {
    "files": None,
    "records": 100,
    "shards": 2,
    "accept": {"most": 3},
    "endpoint": {"price": {"input": 0.5, "output": 2}},
}


def made(records=8, timed=24, usage=None):
    return trial.Trial([{}] * records, [{}] * timed, 10.0, 0.5, usage, [])


def test_the_start_is_taken_out_of_the_time_of_a_record():
    # 5 s to start, 0.5 s a record
    assert trial.rate((8, 9.0), (40, 25.0)) == (0.5, False)
    assert trial.rate((40, 25.0), (8, 9.0)) == (0.5, False)
    assert trial.rate((8, 9.0), (40, 25.0), (8, 1.0)) == (0.125, False)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((6, 6.9), (24, 12.9)),  # one start took 6 s more than the other
        ((8, 12.0), (24, 7.0)),
        ((24, 7.0), (24, 7.1)),
        ((8, 1.0), (24, 13.0)),  # a start of less than nothing
        ((0, 7.0), (24, 8.0)),
    ],
)
def test_the_chance_of_two_starts_is_not_the_time_of_a_record(one, other):
    assert trial.rate(one, other, (8, 0.02)) == (0.0025, False)
    bound, at_most = trial.rate(one, other)
    assert at_most and bound == max(one, other)[1] / 24


class Quick:
    """A tool that takes 7 s to start, and no time for a record."""

    def __init__(self):
        self.timed = 0

    def preview(self, design, document, running, out):
        return [{}] * document["preview_records"]

    def generate(self, design, document, shard, running, work):
        self.timed = document["records"]
        return [{}] * self.timed

    def usage(self, work):
        return None


@pytest.mark.parametrize(
    ("records", "shown", "timed"),
    [
        (100_000, 8, 24),
        (100, 8, 20),
        (50, 8, 16),
        (100_000, 24, 48),
        (100_000, 13, 26),
        (10, 8, 10),
    ],
)
def test_twice_the_samples_take_the_time(tmp_path, monkeypatch, records, shown, timed):
    clock = iter([1.0, 8.0, 8.0, 15.0])
    monkeypatch.setattr(trial.process, "seconds", lambda: next(clock))
    tool = Quick()
    found = trial.make(tool, tmp_path, {**DOCUMENT, "records": records}, shown, None, tmp_path)
    assert tool.timed == len(found.timed) == timed
    assert found.at_most and found.seconds_per_record == 7 / max(timed, shown)
    assert trial.estimate(DOCUMENT, found, 1)["at_most"]


def test_the_pace_that_a_tool_tells_is_taken(tmp_path, monkeypatch):
    clock = iter([1.0, 8.0, 8.0, 15.0])
    monkeypatch.setattr(trial.process, "seconds", lambda: next(clock))
    tool = Quick()
    tool.pace = lambda work: (8, 0.016)
    found = trial.make(tool, tmp_path, {**DOCUMENT, "records": 100_000}, 8, None, tmp_path)
    assert (found.seconds_per_record, found.at_most) == (0.002, False)
    assert found.start_seconds == pytest.approx(1 + 7 - 24 * 0.002)


def test_records_that_are_refused_take_their_time_too():
    found = trial.estimate(DOCUMENT, made(), 24)  # 3 of 4
    assert (found["wanted"], found["records_to_make"], found["short"]) == (100, 134, 0)
    assert found["seconds"] == 2 * 10 + 134 * 0.5
    assert (found["accepted"], found["made"]) == (24, 32)


@pytest.mark.parametrize(
    ("accepted", "to_make", "short"), [(32, 100, 0), (8, 300, 25), (0, 300, 100)]
)
def test_the_records_to_make_are_bounded(accepted, to_make, short):
    found = trial.estimate(DOCUMENT, made(), accepted)
    assert (found["records_to_make"], found["short"]) == (to_make, short)


def test_tokens_and_cost_are_those_of_all_records_that_are_made():
    usage = {"requests": 64, "input_tokens": 3200, "output_tokens": 640}
    found = trial.estimate(DOCUMENT, made(usage=usage), 16)  # 200 records to make
    assert (found["input_tokens"], found["output_tokens"]) == (20_000, 4_000)
    assert found["cost"] == pytest.approx((20_000 * 0.5 + 4_000 * 2) / 1e6)
    assert not found["at_least"]
    found = trial.estimate(DOCUMENT, made(usage={**usage, "untold_calls": 1}), 16)
    assert found["at_least"] and found["input_tokens"] == 20_000


@pytest.mark.parametrize("endpoint", [None, {"price": None}])
def test_what_is_not_known_is_not_made_up(endpoint):
    usage = {"requests": 64, "input_tokens": 3200, "output_tokens": 640}
    assert trial.estimate({**DOCUMENT, "endpoint": endpoint}, made(usage=usage), 32)["cost"] is None
    found = trial.estimate(DOCUMENT, made(), 32)
    assert found["input_tokens"] is found["output_tokens"] is found["cost"] is None


def test_a_dataset_is_only_read():
    document = {**DOCUMENT, "files": "own.jsonl", "records": None, "endpoint": None}
    found = trial.estimate(document, trial.Trial([{}] * 300, [], 2.0, 0.0, None, []), 300)
    assert (found["wanted"], found["records_to_make"], found["seconds"]) == (300, 300, 2.0)
