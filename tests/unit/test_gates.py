"""When a gate is open, and what the ledger remembers."""

import json
import os
import shlex

import pytest

from lockgate.errors import LockgateError
from lockgate.files import file_digest, write_json
from lockgate.gates import (
    HOURS,
    Gates,
    again,
    approved_hours,
    hours_item,
    owner,
    read_ledger,
    require,
)

ITEMS = ["runs table:1", "train/a:1"]


class Desk:
    """One experiment's gates, its documents and its markers."""

    def __init__(self, root):
        self.root = root
        self.needed = {"plan": list(ITEMS), "preview": ["data/data:1"]}
        self.fingerprint = "now"
        self.approvers = None
        self.blocked = ""

    @property
    def gates(self):
        return Gates(
            self.root / "results",
            self.root / "approvals",
            self.needed,
            self.fingerprint,
            self.approvers,
            self.blocked,
        )

    def write(self, gate="plan", covers=None, age=100, **more):
        """Write a gate's document, `age` seconds ago."""
        path = self.gates.document(gate)
        covers = self.needed[gate] if covers is None else covers
        write_json(path, {"covers": covers, "fingerprint": self.fingerprint, **more})
        self._date(path, age)
        return path

    def mark(self, gate="plan", text="", age=50):
        """Create a gate's marker, `age` seconds ago."""
        path = self.gates.marker(gate)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        self._date(path, age)
        return path

    def approve(self, gate="plan", **document):
        """Write, mark and record."""
        self.write(gate, **document)
        self.mark(gate)
        self.gates.record(gate)

    @staticmethod
    def _date(path, age):
        os.utime(path, (1_800_000_000 - age,) * 2)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def closed(desk, gate="plan"):
    """Why a gate is closed, and whether the user is to approve anything."""
    state = desk.gates.state(gate)
    assert not state.open
    return state.reason, state.to_approve


@pytest.mark.parametrize("gate", ["plan", "preview"])
def test_without_a_document_it_is_closed(desk, gate):
    assert closed(desk, gate) == ("it is not written yet", True)


@pytest.mark.parametrize("gate", ["plan", "preview"])
def test_without_a_marker_it_is_closed(desk, gate):
    desk.write(gate)
    assert closed(desk, gate) == ("it waits for your approval", True)
    desk.gates.record(gate)
    assert read_ledger(desk.gates.ledger) == []


@pytest.mark.parametrize("gate", ["plan", "preview"])
def test_a_marker_that_is_not_older_opens_it(desk, gate):
    desk.write(gate, age=50)
    desk.mark(gate, age=50)
    assert desk.gates.state(gate).open


def test_a_marker_that_is_older_does_not(desk):
    desk.write(age=50)
    marker = desk.mark(age=51)
    assert closed(desk) == (f"the marker {marker} is older than the document", True)


@pytest.mark.parametrize("length", [8, 12, 64])
def test_a_marker_that_names_this_document_may_be_older(desk, length):
    digest = file_digest(desk.write(age=50))
    desk.mark(text=f"digest: '{digest[:length]}'\n", age=1000)
    assert desk.gates.state("plan").open


def test_a_marker_that_names_another_document_does_not_open_it(desk):
    desk.write()
    marker = desk.mark(text="digest: 'ffff0000ffff'\n")
    assert closed(desk) == (f"the marker {marker} names another document (ffff0000ffff)", True)


def test_a_marker_that_names_too_little_does_not_open_it(desk):
    digest = file_digest(desk.write())
    desk.mark(text=f"digest: '{digest[:7]}'\n")
    assert "names another document" in closed(desk)[0]


@pytest.mark.parametrize("text", ["digest: [", "approved!", "- digest"])
def test_a_marker_that_is_no_yaml_mapping_does_not_open_it(desk, text):
    desk.write()
    marker = desk.mark(text=text)
    reason, to_approve = closed(desk)
    assert reason.startswith(f"the marker {marker} is neither empty nor YAML (")
    assert to_approve


def test_only_an_approvers_marker_opens_it(desk):
    desk.write()
    marker = desk.mark()
    me = owner(marker)
    desk.approvers = ["nobody-else"]
    assert closed(desk) == (
        f"the marker {marker} belongs to {me}, who is not among the approvers (nobody-else)",
        True,
    )
    desk.gates.record("plan")
    assert read_ledger(desk.gates.ledger) == []
    desk.approvers = ["nobody-else", me]
    assert desk.gates.state("plan").open


def test_the_ledger_alone_is_enough(desk):
    desk.approve()
    desk.gates.marker("plan").unlink()
    assert desk.gates.state("plan").open
    desk.approve("preview")
    desk.gates.marker("preview").unlink()
    desk.gates.document("preview").unlink()
    assert desk.gates.state("preview").open


def test_a_document_written_again_with_the_same_items_stays_approved(desk):
    desk.approve()
    desk.write(age=0, note="another text")
    assert desk.gates.state("plan").open


def test_what_is_approved_already_is_not_asked_for_again(desk):
    desk.approve()
    desk.needed["plan"] = ITEMS[:1]
    desk.write(age=0)
    assert desk.gates.state("plan").open


def test_a_new_item_closes_it(desk):
    desk.approve()
    desk.needed["plan"].append("train/b:1")
    assert closed(desk) == ("it has to be written again first", True)
    desk.write(age=0)
    assert "older than the document" in closed(desk)[0]
    desk.mark(age=0)
    assert desk.gates.state("plan").open


def test_an_item_approved_at_one_gate_is_not_approved_at_the_other(desk):
    desk.needed["plan"] = desk.needed["preview"]
    desk.approve()
    assert desk.gates.recorded("plan") == ["data/data:1"]
    assert closed(desk, "preview") == ("it is not written yet", True)


def test_a_plan_of_another_configuration_closes_it_without_a_new_approval(desk):
    desk.approve()
    desk.fingerprint = "later"
    assert closed(desk) == ("it has to be written again first", False)
    desk.gates.document("plan").unlink()
    assert closed(desk) == ("it is not written yet", False)
    desk.needed["plan"].append("train/b:1")
    assert closed(desk)[1] is True


def test_the_ledger_tells_who_approved_what(desk):
    document = desk.write()
    marker = desk.mark(text="by: Ada\nnote: fine\nother: 1\n")
    desk.gates.record("plan")
    (entry,) = read_ledger(desk.gates.ledger)
    assert entry["gate"] == "plan"
    assert entry["items"] == ITEMS
    assert entry["document"] == file_digest(document)[:12]
    assert (entry["by"], entry["note"]) == ("Ada", "fine")
    assert (entry["uid"], entry["owner"]) == (os.getuid(), owner(marker))
    assert entry["marker_mtime"] == marker.stat().st_mtime
    assert "other" not in entry


def test_an_approval_is_recorded_once(desk):
    desk.approve()
    desk.gates.record("plan")
    assert len(read_ledger(desk.gates.ledger)) == 1


def test_gates_open_in_order(desk):
    desk.write("preview")
    desk.mark("preview")
    assert [(state.gate, state.open) for state in desk.gates.advance()] == [("plan", False)]
    assert read_ledger(desk.gates.ledger) == []
    desk.write()
    desk.mark()
    assert all(state.open for state in desk.gates.advance())
    assert [entry["gate"] for entry in read_ledger(desk.gates.ledger)] == ["plan", "preview"]


def test_a_last_line_cut_by_a_crash_is_left_out_and_does_not_spoil_the_next(desk):
    desk.approve()
    whole = desk.gates.ledger.read_text()
    desk.needed["plan"].append("train/b:1")
    desk.approve(covers=[*ITEMS, "train/b:1"])
    second = desk.gates.ledger.read_text().removeprefix(whole)
    desk.gates.ledger.write_text(whole + second[: len(second) // 2])
    assert desk.gates.recorded("plan") == ITEMS

    desk.gates.record("plan")
    assert desk.gates.recorded("plan") == [*ITEMS, *ITEMS, "train/b:1"]
    assert len(read_ledger(desk.gates.ledger)) == 2


def test_a_whole_last_line_without_its_end_counts(desk):
    desk.approve()
    desk.gates.ledger.write_text(desk.gates.ledger.read_text().rstrip("\n"))
    desk.approve("preview")
    assert [entry["gate"] for entry in read_ledger(desk.gates.ledger)] == ["plan", "preview"]


def test_hours_within_an_approved_ceiling_are_not_asked_for_again(desk):
    ledger = desk.gates.ledger
    assert approved_hours(ledger) is None
    ceiling = hours_item(ledger, 2.0)
    assert ceiling == f"{HOURS} 3"
    desk.approve(covers=[*ITEMS, ceiling])
    assert approved_hours(ledger) == 3
    assert hours_item(ledger, 3.0) == ceiling
    desk.write(covers=[*ITEMS, hours_item(ledger, 2.9)], age=0)
    assert desk.gates.state("plan").open


def test_hours_beyond_the_approved_ceiling_close_it(desk):
    ledger = desk.gates.ledger
    desk.approve(covers=[*ITEMS, hours_item(ledger, 2.0)])
    assert hours_item(ledger, 3.1) == f"{HOURS} 4.65"
    desk.write(covers=[*ITEMS, hours_item(ledger, 3.1)], age=0)
    assert "older than the document" in closed(desk)[0]
    desk.mark(age=0)
    desk.gates.record("plan")
    assert approved_hours(ledger) == 4.65
    assert hours_item(ledger, 2.0) == f"{HOURS} 3"


def test_a_job_refuses_what_no_approval_covers(desk):
    desk.approve()
    require(desk.gates.ledger, "plan", "train/a:1")
    for gate, item in [("plan", "train/a:2"), ("preview", "train/a:1"), ("plan", "train/a")]:
        with pytest.raises(LockgateError) as error:
            require(desk.gates.ledger, gate, item)
        assert error.value.what == f"'{item}' is not approved at gate '{gate}'"
        assert error.value.where == str(desk.gates.ledger)
        assert error.value.hint


def test_a_job_without_a_ledger_refuses(tmp_path):
    with pytest.raises(LockgateError, match="is not approved"):
        require(tmp_path / "ledger.jsonl", "plan", "train/a:1")


def test_the_message_says_what_to_review_and_what_to_type(desk):
    desk.write()
    text = desk.gates.message(desk.gates.state("plan"))
    marker = desk.gates.marker("plan")
    assert f"Review:   file://{desk.root / 'results/plan/plan.html'}" in text
    assert f"Approve:  mkdir -p {marker.parent} && touch {marker}" in text


def test_the_message_asks_for_no_approval_where_none_is_needed(desk):
    desk.approve()
    desk.fingerprint = "later"
    text = desk.gates.message(desk.gates.state("plan"))
    assert "Approve:" not in text
    assert "run the same command again" in text


def test_a_ledger_is_one_json_object_a_line(desk):
    desk.approve()
    desk.approve("preview")
    lines = desk.gates.ledger.read_text().splitlines()
    assert [json.loads(line)["gate"] for line in lines] == ["plan", "preview"]


def test_a_ledger_cut_within_a_character_is_still_read(tmp_path):
    line = json.dumps({"gate": "plan", "items": ["a"], "by": "Jürgen"}, ensure_ascii=False).encode()
    cut = line[: line.index("ü".encode()) + 1]
    (tmp_path / "l").write_bytes(line + b"\n" + cut)
    assert len(read_ledger(tmp_path / "l")) == 1


def test_an_approval_of_somebody_else_does_not_outlive_new_approvers(desk):
    desk.approve()
    assert desk.gates.state("plan").open
    desk.approvers = ["nobody-known-here"]
    assert "not among the approvers" in closed(desk)[0]


def test_a_link_to_somebodys_file_is_no_marker(desk, tmp_path):
    desk.write()
    marker = desk.mark()
    marker.rename(tmp_path / "other")
    marker.symlink_to(tmp_path / "other")
    assert "is a link" in closed(desk)[0]


def test_a_small_estimate_has_a_ceiling_above_it(tmp_path):
    assert float(hours_item(tmp_path / "ledger", 0.0001).split()[-1]) > 0.0001


def test_no_approval_opens_what_is_blocked(tmp_path):
    desk = Desk(tmp_path)
    desk.approve()
    desk.blocked = "it has no stages"
    state = desk.gates.state("plan")
    assert (state.open, state.blocked, state.to_approve) == (False, True, False)
    told = desk.gates.message(state)
    assert "it has no stages" in told and "Edit the configuration" in told
    assert "touch" not in told
    desk.blocked = ""
    assert desk.gates.state("plan").open


@pytest.mark.parametrize(
    ("typed", "call"),
    [
        ("--profile local -n", "snakemake --profile local --configfile my.yaml"),
        ("a.json --until plan -c2 -s W", "snakemake --snakefile W --cores 2 --configfile my.yaml"),
        ("--profile=a\\ b --configfile my.yaml", "snakemake --profile 'a b' --configfile my.yaml"),
        ("--cores", "snakemake --cores all --configfile my.yaml"),
        (
            "--configfile a.yaml my.yaml --config base_dir=shared x=1 -n",
            "snakemake --configfile a.yaml my.yaml --config base_dir=shared x=1",
        ),
    ],
)  # fmt: skip
def test_the_call_that_goes_on_to_the_end(typed, call):
    assert again(shlex.split(typed), "my.yaml") == call
