"""Files are written whole, locks are the kernel's, digests are stable."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from lockgate import files
from lockgate.errors import LockgateError

HOLDER = """
import sys, time
from lockgate.files import locked
with locked(sys.argv[1], "busy"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_whole(tmp_path, monkeypatch, step):
    path = tmp_path / "file.txt"
    files.write_text(path, "old")

    def fail(*_arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space left"):
        files.write_text(path, "new and longer")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_makes_its_directory_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a" / "b" / "file.json"
    files.write_json(path, {"ü": [1]})
    assert files.read_json(path) == {"ü": [1]}
    assert list(path.parent.iterdir()) == [path]


def test_yaml_keeps_the_order_of_keys_below_its_comment(tmp_path):
    path = tmp_path / "file.yaml"
    files.write_yaml(path, {"b": 1, "a": 2}, header="one\n\ntwo")
    assert path.read_text() == "# one\n#\n# two\nb: 1\na: 2\n"


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path, holder):
    path = tmp_path / "lock"
    with pytest.raises(LockgateError) as error, files.locked(path, "it runs already", hint="wait"):
        pass
    assert str(error.value) == f"{path}: it runs already (process {holder.pid})\nHint: wait"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with files.locked(path, "it runs already"):
        assert path.read_text() == str(os.getpid())


def test_a_lock_is_free_after_an_error_in_its_block(tmp_path):
    with pytest.raises(ZeroDivisionError), files.locked(tmp_path / "lock", "busy"):
        raise ZeroDivisionError
    with files.locked(tmp_path / "lock", "busy"):
        pass


def test_where_there_are_no_locks_it_is_said_and_the_work_goes_on(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with files.locked(tmp_path / "lock", "busy"):
        pass
    assert "has no locks; not checked whether another process" in capsys.readouterr().err


def test_a_digest_depends_on_values_not_on_the_order_of_keys():
    one = files.digest({"a": 1, "b": {"c": [1, 2], "d": "ü"}})
    assert one == files.digest({"b": {"d": "ü", "c": [1, 2]}, "a": 1})
    assert one != files.digest({"a": 1, "b": {"c": [2, 1], "d": "ü"}})
    assert len(one) == 12


def test_a_digest_is_the_same_on_every_machine():
    # printf '{"a":1}' | sha256sum
    assert files.digest({"a": 1}) == "015abd7f5cc5"


@pytest.mark.parametrize(
    ("line", "what"),
    [('{"a": ', "line 3 is not valid JSON"), ("[1]", "line 3 is list, not an object")],
)
def test_a_broken_line_is_named(tmp_path, line, what):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"a": 1}}\n\n{line}\n{{"a": 2}}\n')
    with pytest.raises(LockgateError) as error:
        files.read_jsonl(path)
    assert error.value.what.startswith(what)
    assert error.value.where == str(path)
    assert error.value.hint


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b"])
def test_a_line_separator_within_a_text_is_no_end_of_line(tmp_path, separator):
    rows = [{"text": f"one{separator}two"}, {"text": "three"}]
    files.write_jsonl(tmp_path / "rows.jsonl", rows)
    assert files.read_jsonl(tmp_path / "rows.jsonl") == rows


def test_unreadable_text_is_named(tmp_path):
    with pytest.raises(LockgateError, match="No such file or directory"):
        files.read_text(tmp_path / "gone")
    (tmp_path / "latin").write_bytes("ü".encode("latin-1"))
    with pytest.raises(LockgateError, match="not UTF-8"):
        files.read_text(tmp_path / "latin")
