"""Records that survive crashes: counting and topping up, with a stand-in for the tool."""

import errno
import json
import subprocess
from pathlib import Path

import pytest

from lockgate.errors import LockgateError
from lockgate.tools.data_designer import records


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(records, "PAUSE", 0)


class Tool:
    """Writes row groups as the tool does: by its resume, which fills only missing groups.

    Args:
        drop: records lost in each new group; of one that lost all there is no file.
        crash: calls that end after one new group.
    """

    def __init__(self, drop=(), crash=()):
        self.calls, self.drop, self.crash = [], list(drop), crash

    def run(self, *arguments, env=None, look=None):
        import pyarrow
        import pyarrow.parquet

        words = [str(argument) for argument in arguments]
        given = {word: words[at + 1] for at, word in enumerate(words) if word.startswith("--")}
        dataset = Path(given["--artifact-path"]) / given["--dataset-name"]
        self.calls.append({**given, **env})
        assert (given["--resume"] == "always") == dataset.exists()
        run = Path(given["--run-config"]).read_text()
        size = int(run.split("buffer_size:")[1].split()[0])
        total = int(given["--num-records"])
        folder = dataset / "parquet-files"
        folder.mkdir(parents=True, exist_ok=True)
        original = total
        metadata = dataset / "metadata.json"
        if given["--resume"] == "always":
            # refuses what it cannot read, or what is smaller than before, as the tool does
            known = json.loads(metadata.read_text())
            original = known["original_target_num_records"]
            assert known["buffer_size"] == size
            assert known["target_num_records"] <= total
        sizes = [size] * (original // size) + [original % size] * bool(original % size)
        more = total - original
        sizes += [size] * (more // size) + [more % size] * bool(more % size)
        for group, rows in enumerate(sizes):
            path = folder / f"batch_{group:05d}.parquet"
            if path.exists():
                continue
            rows = max(0, rows - (self.drop.pop(0) if self.drop else 0))
            if rows:
                table = [{"id": f"{env['LOCKGATE_SEED']}-{group}-{row}"} for row in range(rows)]
                pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), path)
            metadata.write_text(
                json.dumps(
                    {
                        "target_num_records": total,
                        "original_target_num_records": original,
                        "buffer_size": size,
                    }
                )
            )
            if len(self.calls) in self.crash:
                return subprocess.CompletedProcess([], 1, "❌  Dataset creation failed: crash\n")
        return subprocess.CompletedProcess([], 0, "✅  Dataset created\n")


def make(tool, work, wanted=20, shard=0):
    work.mkdir(exist_ok=True)
    return records.create(tool, Path("design.py"), wanted, 3, shard, 2, work)


def test_all_records_are_made_in_one_call(tmp_path):
    tool = Tool()
    assert len(make(tool, tmp_path)) == 20
    assert len(tool.calls) == 1


def test_nothing_is_called_when_all_is_there(tmp_path):
    make(Tool(), tmp_path)
    again = Tool()
    assert len(make(again, tmp_path)) == 20
    assert again.calls == []


def test_a_crash_keeps_finished_groups_and_draws_new_samples(tmp_path):
    tool = Tool(crash=(1,))
    made = [record["id"] for record in make(tool, tmp_path)]
    assert len(made) == len(set(made)) == 20
    seeds = [call["LOCKGATE_SEED"] for call in tool.calls]
    assert len(set(seeds)) == 2, "the samplers would repeat the first rows"
    assert [name.split("-")[0] for name in made] == [seeds[0]] * 16 + [seeds[1]] * 4


def test_the_seed_depends_on_the_shard(tmp_path):
    tools = [Tool(), Tool()]
    for shard, tool in enumerate(tools):
        make(tool, tmp_path / str(shard), shard=shard)
    assert tools[0].calls[0]["LOCKGATE_SEED"] != tools[1].calls[0]["LOCKGATE_SEED"]


@pytest.mark.parametrize("state", ["missing", "broken", "empty"])
def test_metadata_lost_in_a_crash_costs_no_records(tmp_path, state):
    work = tmp_path / "work"
    with pytest.raises(AssertionError):
        make(Interrupted(), work)
    metadata = work / "dataset" / "metadata.json"
    if state == "missing":
        metadata.unlink()
    else:
        metadata.write_text("{" if state == "broken" else "{}")
    tool = Tool()
    made = make(tool, work)
    assert len(made) == 20
    assert tool.calls[0]["--resume"] == "always"


class Interrupted(Tool):
    """Ends in the middle of its first call, as a killed job does."""

    def run(self, *arguments, env=None, look=None):
        self.crash = (1,)
        super().run(*arguments, env=env)
        raise AssertionError("killed")


def test_a_file_cut_short_is_made_again(tmp_path):
    with pytest.raises(AssertionError):
        make(Interrupted(), tmp_path)
    (only,) = (tmp_path / "dataset" / "parquet-files").glob("*.parquet")
    only.write_bytes(only.read_bytes()[:50])
    assert len(make(Tool(), tmp_path)) == 20
    assert (tmp_path / f"{only.name}.bad").stat().st_size == 50


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO, errno.EMFILE, errno.EACCES])
@pytest.mark.parametrize("reader", ["read_metadata", "read_table"])
def test_a_file_that_cannot_be_read_now_is_kept(tmp_path, monkeypatch, code, reader):
    import pyarrow.parquet

    made = make(Tool(), tmp_path)

    def fails(path):
        raise OSError(code, "not now")

    with monkeypatch.context() as patched:
        patched.setattr(pyarrow.parquet, reader, fails)
        with pytest.raises(LockgateError, match="not now") as error:
            make(Tool(), tmp_path)
    assert error.value.where.endswith("batch_00000.parquet")
    assert "run again" in error.value.hint
    assert make(Tool(), tmp_path) == made


def test_a_file_whose_values_are_broken_is_told(tmp_path):
    make(Tool(), tmp_path)
    first = tmp_path / "dataset/parquet-files/batch_00000.parquet"
    content = bytearray(first.read_bytes())
    content[4:40] = b"x" * 36  # its footer, with the number of rows, is whole
    first.write_bytes(content)
    with pytest.raises(LockgateError, match="cannot be read") as error:
        make(Tool(), tmp_path)
    assert error.value.where == str(first)
    assert "move it away" in error.value.hint
    first.unlink()
    assert len(make(Tool(), tmp_path)) == 20


def test_dropped_records_are_topped_up(tmp_path):
    tool = Tool(drop=[3, 1, 2])
    made = [record["id"] for record in make(tool, tmp_path)]
    assert len(made) == len(set(made)) == 20
    # 20 asked, 4 lost: 5 more, as one of them may be lost too; two are, so 2 more in a new group
    assert [call["--num-records"] for call in tool.calls] == ["20", "25", "38"]


def test_a_group_that_was_lost_and_made_later_moves_no_record(tmp_path):
    with pytest.raises(LockgateError, match="made 320 of 640"):
        make(Tool(drop=[0, 64] * 5 + [64] * 200), tmp_path, wanted=640)
    first = make(Tool(), tmp_path, wanted=320)
    more = make(Tool(), tmp_path, wanted=640)
    assert more[:320] == first
    assert len({record["id"] for record in more}) == 640
    assert make(Tool(), tmp_path, wanted=640) == more


def test_a_short_last_group_that_is_there_is_not_counted_on(tmp_path):
    for wanted in (20, 23, 24, 60, 61, 200):
        made = make(Tool(), tmp_path, wanted=wanted)
        assert len({record["id"] for record in made}) == wanted


def test_more_records_later_keep_the_first_ones(tmp_path):
    first = make(Tool(), tmp_path)
    more = make(Tool(), tmp_path, wanted=30)
    assert more[:20] == first
    assert len(more) == 30
    assert make(Tool(), tmp_path, wanted=5) == first[:5]


def test_too_few_records_after_all_calls_is_an_error_that_counts(tmp_path):
    tool = Tool(drop=[13, 3] + [16] * 100)
    with pytest.raises(LockgateError, match="made 4 of 20 records") as error:
        make(tool, tmp_path)
    assert "kept" in error.value.hint
    assert len(tool.calls) == 1 + records.FRUITLESS
    assert len(list(tmp_path.rglob("*.parquet"))) == 2


def test_slow_progress_ends_too(tmp_path):
    tool = Tool(drop=[199] * 1000)
    with pytest.raises(LockgateError, match="of 2000 records"):
        make(tool, tmp_path, wanted=2000)
    assert len(tool.calls) <= records.STARTS


def test_the_tools_last_words_are_in_the_error(tmp_path):
    with pytest.raises(LockgateError, match="the tool's last message: Dataset creation failed"):
        make(Tool(drop=[16] * 100, crash=range(100)), tmp_path)
