"""Making a shard: as many accepted records as are asked for, or an honest shortfall."""

import json
from pathlib import Path

import pytest

from lockgate import tools
from lockgate.config.data import Data
from lockgate.data import generation
from lockgate.errors import LockgateError
from lockgate.files import digest, read_json, write_yaml
from lockgate.jobs import RECIPE_VERSION
from lockgate.tools import Column


class Maker:
    """Makes records that are bad as it is told, keeping what it made in its directory."""

    def __init__(self, bad=lambda number: False):
        self.bad, self.asked, self.most, self.failure = bad, [], 10**9, None

    def describe(self, design, data):
        return [Column("text", "written"), Column("check", "validator", passed="ok")]

    def generate(self, design, data, shard, endpoint, work, told=None):
        wanted = data["records"] // data["shards"]
        self.asked.append(wanted)
        self.work = work
        if wanted > self.most:
            raise self.failure
        told(wanted)
        return [
            {"number": n, "text": f"{n}", "check": {"ok": not self.bad(n)}} for n in range(wanted)
        ]

    def usage(self, work):
        return {"requests": 7, "input_tokens": 70, "output_tokens": 700}

    def versions(self):
        return {"maker": "1"}


class Shard:
    """A built and approved document of a shard, and its maker."""

    def __init__(self, monkeypatch, maker):
        self.maker = maker
        monkeypatch.setattr(tools, "get", lambda *_: maker)

    def make(self, shard=0, **changes):
        rows = {"prompt": "{{ number }}", "completion": "{{ text }}"}
        data = Data(**{"tool": "maker", "design": {}, "records": 20, "rows": rows, **changes})
        document = {
            "recipe_version": RECIPE_VERSION,
            **data.model_dump(),
            "design_sha256": digest(""),
            "input_files": {},
            "model_identity": None,
        }
        Path("build/data").mkdir(parents=True, exist_ok=True)
        Path("design").write_text("")
        write_yaml("build/data/data.yaml", document)
        item = f"data/data:{digest(document)}"
        lines = [json.dumps({"gate": gate, "items": [item]}) for gate in ("plan", "preview")]
        Path("ledger").write_text("\n".join(lines) + "\n")
        out = Path(f"data/shards/{shard}.json")
        generation.generate_data(
            Path("build/data/data.yaml"), Path("design"), [], shard, Path("ledger"), 1, out
        )
        return read_json(out)


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda maker: Shard(monkeypatch, maker)


def test_what_is_all_right_is_made_once(start):
    shard = start(Maker())
    told = shard.make()
    assert [record["number"] for record in told["records"]] == list(range(20))
    assert (told["made"], told["refused"], told["usage"]["requests"]) == (20, {}, 7)
    assert shard.maker.asked == [20]
    assert next(iter(told)) == "item"


def test_shards_share_the_records(start):
    shard = start(Maker())
    counts = [len(shard.make(number, records=20, shards=3)["records"]) for number in range(3)]
    assert counts == [6, 6, 8]


def test_refused_records_are_made_up_for_at_the_rate_so_far(start):
    shard = start(Maker(bad=lambda n: n % 4 == 0))
    told = shard.make()
    numbers = [record["number"] for record in told["records"]]
    assert numbers == [n for n in range(27) if n % 4][:20]
    # five are missing at 15 of 20: 8 more, of which the last ones are not needed
    assert shard.maker.asked == [20, 29]
    assert (told["made"], told["refused"]) == (27, {"validator check says no": 7})


def test_a_shortfall_says_how_many_and_why_and_what_to_change(start):
    shard = start(Maker(bad=lambda n: n % 10))
    with pytest.raises(LockgateError) as error:
        shard.make(1, records=40, shards=2)
    assert error.value.what == (
        "accepted 6 of 20 records (shard 2 of 2): of 60 made, 54 were refused: "
        "validator check says no (54)"
    )
    assert error.value.where == "data.accept"
    assert "accept.valid, or raise accept.most (3 now)" in error.value.hint
    assert not Path("data/shards/1.json").exists()
    attempt = Path("data/shards/1/attempts.jsonl").read_text()
    assert "accepted 6 of 20" in attempt


def test_nothing_accepted_ends_at_the_limit(start):
    shard = start(Maker(bad=lambda n: True))
    with pytest.raises(LockgateError, match="accepted 0 of 20 .* of 140 made, 140 were refused"):
        shard.make(accept={"most": 7})
    assert shard.maker.asked == [20, 40, 80, 140]


def test_a_few_that_are_missing_are_tried_for_up_to_the_limit(start):
    # 19 of the first 20, then none for a long time
    shard = start(Maker(bad=lambda n: 19 <= n < 55))
    assert len(shard.make()["records"]) == 20
    asked = shard.maker.asked
    assert asked[-1] == 60 and len(asked) < 7
    assert asked == sorted(asked)


def test_a_call_that_goes_on_says_so(start):
    shard = start(Maker())
    assert shard.make()["continued"] is False
    shard.maker.work.mkdir(parents=True)
    assert shard.make()["continued"] is True


def test_a_tool_that_makes_no_more_is_told_with_what_was_accepted(start):
    maker = Maker(bad=lambda n: n % 2)
    maker.most, maker.failure = 30, LockgateError("made 30 of 43 records", where="x", hint="y")
    with pytest.raises(LockgateError) as error:
        start(maker).make()
    assert error.value.what == "accepted 10 of 20 records, of 20 made; made 30 of 43 records"
    assert (error.value.where, error.value.hint) == ("x", "y")


def test_what_does_not_shape_the_records_keeps_them(start):
    shard = start(Maker())
    shard.make()
    kept = shard.maker.work
    for change in (
        {"accept": {"most": 5}},
        {"records": 30},
        {"rows": {"prompt": "x", "completion": "y"}},
        {"licence": "MIT"},
        {"splits": {"train": 0.7, "validation": 0.1, "test": 0.2}},
    ):
        shard.make(**change)
        assert shard.maker.work == kept, change
    for change in ({"seed": 1}, {"shards": 2}):
        shard.make(**change)
        assert shard.maker.work != kept, change


def test_an_endpoints_price_keeps_the_records_and_its_model_does_not(start):
    shard, places = start(Maker()), []
    endpoint = {"url": "http://127.0.0.1:9/v1", "model": "a"}
    for change in ({}, {"price": {"input": 1, "output": 2}}, {"model": "b"}):
        shard.make(endpoint=endpoint | change)
        places.append(shard.maker.work)
    assert places[0] == places[1] != places[2]
