"""What the tool tells while it runs, and an endpoint that goes away."""

import os

import pyarrow
import pyarrow.parquet
import pytest

from lockgate.errors import LockgateError
from lockgate.tools import Endpoint
from lockgate.tools.data_designer import command, watch

GONE = Endpoint("http://127.0.0.1:9/v1", "tiny")

LOG = """$ data-designer create
[06:18:17] [INFO] 📊 Progress [5.0s]:
[06:18:17] [INFO]   |-- 🥱 column 'text': 17/64 (27%) 3.4 rec/s
[06:18:17] [INFO]   |-- 🥱 column 'more': 12/64 (19%) 3.4 rec/s, 1 skipped
[06:18:18] [INFO] 🚀 (3/4) Dispatching with 16 records
[06:18:23] [INFO] 📊 Model usage summary:
[06:18:23] [INFO]   |-- model: mock
[06:18:23] [INFO]   |-- tokens: input=320, output=128, total=448, tps=41
[06:18:23] [INFO]   |-- requests: success=64, failed=1, total=65, rpm=353
"""

FAILURES = """
[06:19:24] [WARNING] Non-retryable failure on thing[rg=0, row=3]:   |----------
  | Cause: The model output from 'mock' could not be parsed into the requested format while running generation for column 'thing'. Validation detail: No JSON.
  | Solution: This is most likely temporary as we make additional attempts.
  |----------
[06:19:24] [WARNING] Non-retryable failure on thing[rg=0, row=2]:   |----------
  | Cause: The model output from 'mock' could not be parsed into the requested format while running generation for column 'thing'. Validation detail: No JSON.
  | Solution: This is most likely temporary as we make additional attempts.
  |----------
[06:19:24] [WARNING] Non-retryable failure on other[rg=0, row=2]: no such filter
"""  # noqa: E501


@pytest.fixture
def clock(monkeypatch):
    """Time that only a pause lets pass."""

    class Clock:
        now = 1000.0

        @classmethod
        def sleep(cls, seconds):
            cls.now += seconds

    monkeypatch.setattr(watch.time, "monotonic", lambda: Clock.now)
    monkeypatch.setattr(watch.time, "sleep", Clock.sleep)
    return Clock


def looker(tmp_path, rows, **options):
    """A watch at a tool that has finished `rows[0]` rows."""
    log = tmp_path / "create.log"
    log.touch()
    given = {"endpoint": None, "told": None} | options
    return watch.Watch(lambda: rows[0], log, **given)


def test_an_unfinished_groups_records_count_by_what_the_tool_tells(tmp_path, clock):
    told = []
    looking = looker(tmp_path, [8], told=told.append)
    (tmp_path / "create.log").write_text(LOG)
    looking.look()
    assert told == []  # too soon
    clock.now += watch.LOOK
    looking.look()
    assert told == [12]


def test_what_an_earlier_call_told_does_not_count(tmp_path, clock):
    (tmp_path / "create.log").write_text(LOG)
    told = []
    looking = looker(tmp_path, [8], told=told.append)
    clock.now += watch.LOOK
    looking.look()
    assert told == [8]


def test_a_tool_that_makes_nothing_is_ended(tmp_path, clock):
    rows = [8]
    looking = looker(tmp_path, rows, idle=900)
    for rows[0] in (9, 9):
        clock.now += 600
        looking.look()
    clock.now += 400
    with pytest.raises(LockgateError, match="no value was made in 15 minutes") as error:
        looking.look()
    assert "create.log" in error.value.hint


def test_a_tool_whose_endpoint_is_gone_is_ended(tmp_path, clock):
    rows = [8]
    looking = looker(tmp_path, rows, endpoint=GONE)
    clock.now += watch.REFUSED + 1
    rows[0] = 9
    looking.look()  # a group was finished: it was there
    for _ in range(2):
        clock.now += watch.REFUSED / 2
        looking.look()
    clock.now += watch.LOOK
    with pytest.raises(command.Unreachable):
        looking.look()


def test_a_busy_endpoint_may_be_silent_for_longer(tmp_path, clock, monkeypatch):
    def silent(endpoint):
        raise command.Unreachable("no answer") from TimeoutError()

    monkeypatch.setattr(command, "check_endpoint", silent)
    looking = looker(tmp_path, [8], endpoint=GONE)
    clock.now += watch.SILENT
    looking.look()
    clock.now += watch.LOOK
    with pytest.raises(command.Unreachable):
        looking.look()


def test_an_endpoint_is_waited_for_until_it_answers(clock, monkeypatch, capsys):
    began = clock.now

    def back_after_a_minute(endpoint):
        if clock.now < began + 60:
            raise command.Unreachable("no answer from there", hint="is it running?")

    monkeypatch.setattr(command, "check_endpoint", back_after_a_minute)
    watch.wait_for(GONE)
    assert capsys.readouterr().out == (
        "no answer from there: waited for, up to 10 min\nhttp://127.0.0.1:9/v1 answers after 61 s\n"
    )
    watch.wait_for(GONE)
    assert capsys.readouterr().out == ""


def test_an_endpoint_that_stays_away_ends_it_after_ten_minutes(clock):
    began = clock.now
    with pytest.raises(command.Unreachable, match="for 10 minutes") as error:
        watch.wait_for(GONE)
    assert error.value.where == "data.endpoint.url"
    assert clock.now - began == watch.WAIT


def test_a_refused_key_ends_it_at_once(clock, monkeypatch):
    def refused(endpoint):
        raise LockgateError("refuses the key")

    monkeypatch.setattr(command, "check_endpoint", refused)
    began = clock.now
    with pytest.raises(LockgateError, match="refuses the key"):
        watch.wait_for(GONE)
    assert clock.now == began


def test_failures_are_counted_by_column_and_cause():
    found = watch.causes(FAILURES)
    (column, cause), count = found.most_common(1)[0]
    assert (column, count) == ("thing", 2)
    assert cause == (
        "The model output from 'mock' could not be parsed into the requested format. "
        "Validation detail: No JSON."
    )
    assert found["other", "no such filter"] == 1
    assert watch.causes(LOG) == {}


def test_usage_is_added_up(tmp_path):
    (tmp_path / "a.log").write_text(LOG + LOG)
    (tmp_path / "b.log").write_bytes(b"$ data-designer create x.py\nkilled \xff\n")
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    known = {"requests": 130, "input_tokens": 640, "output_tokens": 256}
    assert watch.usage(logs) == {**known, "untold_calls": 1}
    assert watch.usage(logs[:1]) == {**known, "untold_calls": 0}
    assert watch.usage(logs[1:]) is None
    assert watch.usage([]) is None


def test_the_pace_leaves_out_the_tools_start(tmp_path):
    work = tmp_path / "shard-0-key"
    folder = work / "dataset/parquet-files"
    folder.mkdir(parents=True)
    for group, (rows, at) in enumerate([(16, 100.0), (4, 103.5), (16, 101.5)]):
        path = folder / f"batch_{group:05d}.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"id": list(range(rows))}), path)
        os.utime(path, (at, at))
        (work / "create.log").write_text("$ data-designer create\n")
        assert watch.pace(tmp_path) == (None, (4, 3.5), (20, 3.5))[group]
    (work / "create.log").write_text(LOG.replace("5.0s", "4.0s") + LOG.split("\n", 1)[1])
    assert watch.pace(tmp_path) == (36, 5.0), "what the tool tells counts first"
    (work / "create.log").write_text(LOG + LOG)  # the second call took its start in between
    assert watch.pace(tmp_path) is None
    assert watch.pace(tmp_path / "nothing") is None


def test_usage_of_several_aliases_of_one_model_is_not_whole(tmp_path):
    log = tmp_path / "a.log"
    checks = "".join(
        f"[06:18:16] [INFO]   |-- Checking 'mock' in provider named 'p' for model alias '{alias}'\n"
        for alias in ("writer", "judge", "writer")
    )
    called, rest = LOG.split("\n", 1)
    log.write_text(f"{called}\n{checks}{rest}")
    assert watch.usage([log]) == {
        "requests": 65,
        "input_tokens": 320,
        "output_tokens": 128,
        "untold_calls": 1,
    }
    log.write_text(log.read_text().replace("model: mock", "model: a\n[INFO]   |-- model: mock"))
    assert watch.usage([log])["untold_calls"] == 0
    nothing = "Model usage summary:\n[INFO]   |-- no model usage recorded\n"
    log.write_text(f"{called}\n{checks}{nothing}{LOG}")
    assert watch.usage([log])["untold_calls"] == 0
