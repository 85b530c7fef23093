"""Types chain, rows are of the kind that is read, and benchmarks are not trained on."""

import json

import pytest

from checked_chains import checks, only, stage, step
from lockgate.stages.model import Source
from lockgate.stages.rows import probe

SFT = step("sft/a", ["rows"], ["checkpoint_hf"], goals="sft", inputs={"rows": {"rows": "messages"}})
CURATE = step(
    "curate/a", ["raw_rows"], ["translated_rows"], inputs={"raw_rows": {"rows": ["messages"]}}
)
PACK = step("pack/a", ["rows"], ["packed"], inputs={"rows": {"rows": ["messages"]}})
SHARDED = step("sft/b", ["packed", "checkpoint_sharded"], ["checkpoint_sharded"], goals="sft")
CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}
PREFERENCE = {"prompt": "2 + 2", "chosen": "4", "rejected": "5"}
MCQ = {"question": "2 + 2", "options": ["3", "4"], "answer": "B"}


@pytest.fixture
def data(tmp_path):
    """Writes rows and gives the `probes` of them under the name `data.jsonl`."""

    def write(*rows):
        path = tmp_path / "data.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return {"data.jsonl": probe(str(path))}

    return write


def test_a_subtype_feeds_a_port_of_its_supertype():
    curated = stage("curate", CURATE, {"raw_rows": "data.jsonl"})
    check = checks("artifacts.chain", curated, stage("train", SFT, {"rows": curated}))[-1]
    assert check.status == "ok"
    assert check.compared == "translated_rows from curate is a kind of rows"


def test_a_wrong_type_is_told_with_the_step_that_converts_it():
    inputs = {
        "packed": "shards",
        "checkpoint_sharded": Source(type="checkpoint_hf", path="org/model"),
    }
    wrong = [c for c in checks("artifacts.chain", stage("train", SHARDED, inputs)) if c.fix]
    assert [check.status for check in wrong] == ["warning"]
    assert wrong[0].compared == (
        "checkpoint_hf from org/model is no checkpoint_sharded, which sft/b consumes"
    )
    assert "convert/shard" in wrong[0].fix


def test_a_wrong_type_without_a_conversion_is_told_what_is_needed():
    check = only("artifacts.chain", stage("train", SFT, {"rows": Source(type="exam", path="x")}))
    assert check.status == "warning"
    assert check.fix == "give it rows, or take a step that consumes exam"


def test_a_required_port_that_nothing_feeds_names_the_steps_that_would():
    check = only("artifacts.chain", stage("train", SFT), alternatives=[CURATE])
    assert (check.status, check.severity) == ("warning", "error")
    assert check.compared == "sft/a needs rows; nothing feeds it"
    assert "curate/a" in check.fix


def test_an_optional_port_that_nothing_feeds_is_a_note():
    check = only("artifacts.chain", stage("make", step("make/a", ["rows?"], ["packed"])))
    assert (check.status, check.severity) == ("ok", "note")


def test_the_notes_decide_what_is_required():
    own = step(
        "rl/a",
        ["rows"],
        inputs={"rows": {"required": False}, "checkpoint_hf": {"required": True}},
    )
    found = {check.compared: check.status for check in checks("artifacts.chain", stage("rl", own))}
    assert found == {
        "rows is optional and not fed": "ok",
        "rl/a needs checkpoint_hf; nothing feeds it": "warning",
    }


def test_an_input_from_a_later_stage_is_out_of_order():
    curated = stage("curate", CURATE, {"raw_rows": "data.jsonl"})
    check = checks("artifacts.chain", stage("train", SFT, {"rows": curated}), curated)[0]
    assert check.status == "warning"
    assert "curate comes later" in check.compared


def test_an_input_from_no_stage_at_all_is_told():
    source = Source(type="rows", path="x", stage="nobody")
    check = only("artifacts.chain", stage("train", SFT, {"rows": source}))
    assert "nobody is no stage of this chain" in check.compared


def test_an_input_that_a_stage_does_not_make_is_told():
    curated = stage("curate", CURATE, {"raw_rows": "data.jsonl"})
    source = Source(type="rows", path="x", stage="curate")
    check = checks("artifacts.chain", curated, stage("train", SFT, {"rows": source}))[-1]
    assert check.status == "warning"
    assert "curate makes translated_rows" in check.compared


def test_an_input_that_no_key_takes_is_told_what_the_step_does_read():
    notes = {"packed": {"required": False}, "rows": {"key": "data"}}
    own = step("sft/c", ["packed", "rows?"], inputs=notes)
    packed = stage("pack", PACK, {"rows": "data.jsonl"})
    found = checks("artifacts.chain", packed, stage("train", own, {"packed": packed}))
    assert [check.status for check in found] == ["ok", "warning", "ok"]
    assert found[1].compared == "packed from pack: no configuration key of sft/c takes it"
    assert found[1].fix.endswith("what this step does read: rows")


def test_rows_of_the_kind_that_is_read_are_fine(data):
    probes = data(CHAT, CHAT)
    check = only("artifacts.rows", stage("train", SFT, {"rows": "data.jsonl"}), probes=probes)
    assert check.status == "ok"
    assert check.compared.startswith("data.jsonl: 2 rows, each with `messages`")


def test_rows_of_another_kind_are_told_with_what_is_wanted(data):
    probes = data(PREFERENCE)
    check = only("artifacts.rows", stage("train", SFT, {"rows": "data.jsonl"}), probes=probes)
    assert check.status == "warning"
    assert check.compared == "data.jsonl: 1 rows, preference; sft/a reads messages"
    assert "`messages`, a list of `role` and `content`" in check.fix


def test_broken_rows_are_shown_with_file_and_line(data):
    probes = data(CHAT, CHAT, {"messages": []})
    check = only("artifacts.rows", stage("train", SFT, {"rows": "data.jsonl"}), probes=probes)
    assert check.status == "warning"
    assert "1 of 3 looked at are broken" in check.compared
    assert "data.jsonl:3: messages: empty" in check.fix


def test_rows_without_any_known_kind_are_told_with_their_fields(data):
    probes = data({"a": 1})
    check = only("artifacts.rows", stage("train", SFT, {"rows": "data.jsonl"}), probes=probes)
    assert "of no known kind (fields: a)" in check.compared


def test_a_file_without_rows_is_told(data):
    check = only("artifacts.rows", stage("train", SFT, {"rows": "data.jsonl"}), probes=data())
    assert (check.status, check.compared) == (
        "warning",
        "data.jsonl has no rows; sft/a reads messages",
    )


@pytest.mark.parametrize(
    ("path", "why"), [("org/data", "on the Hub, or absent"), ("absent.jsonl", "not here")]
)
def test_rows_that_are_not_here_are_not_checked(path, why):
    check = only("artifacts.rows", stage("train", SFT, {"rows": path}), probes={path: None})
    assert check.status == "not checked"
    assert why in check.fix


def test_rows_are_traced_through_stages_that_pass_them_on(data):
    curated = stage("curate", CURATE, {"raw_rows": "data.jsonl"})
    found = checks(
        "artifacts.rows", curated, stage("train", SFT, {"rows": curated}), probes=data(PREFERENCE)
    )
    assert [(check.stage, check.status) for check in found] == [
        ("curate", "warning"),
        ("train", "warning"),
    ]


def test_rows_that_a_stage_makes_are_checked_after_it_ran(data):
    make = step("make/a", ["rows"], ["raw_rows"], goals="generate")
    made = stage("make", make, {"rows": "data.jsonl"})
    check = only(
        "artifacts.rows", made, stage("train", SFT, {"rows": made}), probes=data(PREFERENCE)
    )
    assert check.status == "not checked"
    assert check.fix == "they are made by stage make: checked after it ran"


@pytest.mark.parametrize(("row", "status"), [({"a": 1}, "not checked"), (CHAT, "ok")])
def test_a_stage_that_reads_any_rows_may_make_others_of_them(row, status, data):
    split = stage("split", step("data/a", ["rows"], ["rows"]), {"rows": "data.jsonl"})
    train = stage("train", SFT, {"rows": split})
    assert only("artifacts.rows", split, train, probes=data(row)).status == status


@pytest.mark.parametrize("goal", ["sft", "translate"])
def test_questions_of_a_benchmark_are_neither_trained_on_nor_translated(goal, data):
    own = step("own/a", ["rows"], ["translated_rows"], goals=goal)
    check = only(
        "benchmark.as-training", stage("own", own, {"rows": "data.jsonl"}), probes=data(MCQ)
    )
    assert check.status == "warning"
    assert "data.jsonl has rows of multiple choice questions" in check.compared


def test_a_benchmark_is_known_by_its_supertypes_also_behind_a_preparation():
    source = Source(type="exam", path="exam.parquet")
    packed = stage("pack", PACK, {"rows": source})
    check = only("benchmark.as-training", packed, stage("train", SHARDED, {"packed": packed}))
    assert (check.stage, check.status) == ("train", "warning")
    assert "exam.parquet is exam" in check.compared


def test_a_step_for_benchmarks_may_translate_them():
    own = step("exam/translate", ["benchmark"], ["exam"], goals="translate")
    assert not checks("benchmark.as-training", stage("own", own, {"benchmark": "exam.parquet"}))


def test_training_data_is_no_benchmark(data):
    probes = data(CHAT)
    check = only("benchmark.as-training", stage("a", SFT, {"rows": "data.jsonl"}), probes=probes)
    assert check.status == "ok"
