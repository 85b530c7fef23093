"""Files of a folder are gathered first, each once."""

from pathlib import Path

import pytest

from lockgate.errors import LockgateError
from lockgate.scaffold.contents import Contents


@pytest.fixture
def contents(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Contents("my.yaml")


def test_files_are_written_as_they_are_and_scripts_can_be_run(contents):
    Path("own.bin").write_bytes(b"\xff\r\n")
    contents.put("a/b.txt", "text\n")
    contents.put("a/b.txt", "text\n")  # the same again
    contents.put("run.sh", "exit 3\n")
    contents.copy("c/own.bin", Path("own.bin"))
    contents.write(Path("out"))
    assert Path("out/a/b.txt").read_text() == "text\n"
    assert Path("out/c/own.bin").read_bytes() == b"\xff\r\n"
    assert Path("out/run.sh").stat().st_mode & 0o111
    assert not Path("out/a/b.txt").stat().st_mode & 0o111


def test_two_files_of_one_name_are_refused(contents):
    contents.put("train.py", "1\n")
    Path("train.py").write_text("2\n")
    with pytest.raises(LockgateError, match="two files of the folder would be train.py") as caught:
        contents.copy("train.py", Path("train.py"))
    assert caught.value.where == "my.yaml"


@pytest.mark.parametrize(
    "name", ["results/a.csv", "logs/a", "data/tool/a", "data/made/a", "data/train.jsonl"]
)
def test_a_file_where_the_folder_writes_is_refused(contents, name):
    Path("a").write_text("")
    with pytest.raises(LockgateError, match="the folder's own commands write"):
        contents.copy(name, Path("a"))
    contents.copy(f"mine/{name}", Path("a"))


def test_a_file_that_cannot_be_read_is_refused(contents):
    with pytest.raises(LockgateError, match="cannot read absent: No such file"):
        contents.copy("absent", Path("absent"))


def test_programs_of_another_environment_are_not_the_folders(contents):
    for name in ("train.py", "mine/rows.py", "run.sh"):
        contents.put(name, name)
    contents.set_apart(("mine/rows.py",))
    assert contents.programs() == {"train.py": b"train.py"}


def test_places_are_found_by_their_line(contents):
    contents.put("a.txt", "1\n2 /home/ada/x\n/home/ada")
    contents.put("b.txt", "other/home/ada /home/ada-2")
    assert contents.naming({"/home/ada", "/"}) == ["a.txt, line 2"]
    assert contents.naming({"/"}) == []
