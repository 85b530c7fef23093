"""How far a shard is: the line in the log, and what others read."""

import pytest

from lockgate.data import progress


@pytest.fixture
def clock(monkeypatch):
    """Time that the test lets pass."""

    class Clock:
        now = 1_000_000_000.0

    monkeypatch.setattr(progress.time, "time", lambda: Clock.now)
    return Clock


def test_records_that_nobody_judged_count_at_the_rate_so_far(tmp_path, clock):
    shard = progress.Progress(tmp_path, 100)
    shard.told(10)
    clock.now += 20
    shard.told(50)
    told = progress.progress(tmp_path / progress.NAME)
    assert told == {"step": 50, "steps": 100, "seconds_per_step": 0.5, "updated": clock.now}
    shard.judged(25, 50)
    shard.told(70)
    assert progress.progress(tmp_path / progress.NAME)["step"] == 35
    shard.told(1000)
    assert progress.progress(tmp_path / progress.NAME)["step"] == 100


def test_the_time_of_the_last_record_stays_while_nothing_happens(tmp_path, clock):
    shard = progress.Progress(tmp_path, 100)
    shard.told(0)
    clock.now += 5
    shard.told(7)
    since = clock.now
    clock.now += 500
    shard.told(7)
    assert progress.progress(tmp_path / progress.NAME)["updated"] == round(since, 2)


def test_a_line_says_rate_and_time_left_every_ten_seconds(tmp_path, clock, capsys):
    shard = progress.Progress(tmp_path, 300)
    for made in (0, 10, 20, 30):
        shard.told(made)
        clock.now += 6
    assert capsys.readouterr().out == "20 of 300 records (7%), 20 made, 1.67 a second, 3 min left\n"


def test_other_files_tell_nothing(tmp_path):
    (tmp_path / "attempts.jsonl").write_text("{}")
    assert progress.progress(tmp_path / "attempts.jsonl") is None
    assert progress.progress(tmp_path / progress.NAME) is None
    (tmp_path / progress.NAME).write_text("{")
    assert progress.progress(tmp_path / progress.NAME) is None
