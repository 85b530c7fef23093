"""What a design says of its records' columns, declared or built by the user's own script."""

from pathlib import Path

import pytest

from lockgate.errors import LockgateError
from lockgate.tools import Column, get
from lockgate.tools.data_designer import columns, references

TOOL = get("data", "data_designer", "test")
SCRIPT = """
import data_designer.config as dd
import pandas
from pydantic import BaseModel

print("a script may print")


class Pair(BaseModel):
    question: str


@dd.custom_column_generator(required_columns=["topic"], side_effect_columns=["more"])
def shout(row):
    row["loud"], row["more"] = row["topic"].upper(), 1
    return row


def load_config_builder():
    builder = dd.DataDesignerConfigBuilder(
        model_configs=[dd.ModelConfig(alias="w", model="tiny", provider="endpoint")]
    )
    builder.with_seed_dataset(dd.DataFrameSeedSource(df=pandas.DataFrame({"text": ["a"]})))
    values = {"values": ["bread", "rain"]}
    builder.add_column(
        name="topic", column_type="sampler", sampler_type="category", params=values
    )
    builder.add_column(dd.CustomColumnConfig(name="loud", generator_function=shout))
    builder.add_column(
        name="pair",
        column_type="llm-structured",
        prompt="{{ topic }} {{ text }}",
        model_alias="w",
        output_format=Pair,
    )
    return builder
"""


def sampler(name, kind, **params):
    more = params.pop("more", {})
    return {"name": name, "column_type": "sampler", "sampler_type": kind, "params": params, **more}


def describe(*columns, **design):
    data = {"design": {"columns": list(columns), **design}}
    return {column.name: column for column in TOOL.describe(Path("design.py"), data)}


@pytest.mark.parametrize(
    ("column", "asked"),
    [
        (sampler("x", "category", values=["a", "b"]), {"a": 0.5, "b": 0.5}),
        (sampler("x", "category", values=["a", "b"], weights=[1, 3]), {"a": 0.25, "b": 0.75}),
        (sampler("x", "category", values=[1, 2.5]), {"1.0": 0.5, "2.5": 0.5}),
        (sampler("x", "category", values=["a", "a", "b"]), {"a": 2 / 3, "b": 1 / 3}),
        (sampler("x", "bernoulli", p=0.25), {"0": 0.75, "1": 0.25}),
        (sampler("x", "binomial", n=2, p=0.5), {"0": 0.25, "1": 0.5, "2": 0.25}),
        (
            sampler("x", "bernoulli", p=0.5, more={"convert_to": "float"}),
            {"0.0": 0.5, "1.0": 0.5},
        ),
        (sampler("x", "uniform", low=0, high=1), None),
        (
            sampler(
                "x",
                "category",
                values=["a"],
                more={"conditional_params": {"y > 1": {"values": ["b"]}}},
            ),
            None,
        ),
    ],
)
def test_shares_are_those_that_the_sampler_draws(column, asked):
    assert describe(column)["x"].asked == asked


def test_shares_of_a_subcategory_are_of_all_records():
    column = describe(
        sampler("kind", "category", values=["fruit", "tool"], weights=[3, 1]),
        sampler(
            "thing",
            "subcategory",
            category="kind",
            values={"fruit": ["apple", "pear", "fig"], "tool": ["saw"]},
        ),
    )["thing"]
    assert column.asked == {"apple": 0.25, "pear": 0.25, "fig": 0.25, "saw": 0.25}


def test_each_column_has_its_role_and_what_it_is_made_of():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    found = describe(
        sampler("topic", "category", values=["a"]),
        {
            "name": "text",
            "column_type": "llm-code",
            "prompt": "{{ topic }}",
            "with_trace": "all_messages",
        },
        {
            "name": "made",
            "column_type": "llm-structured",
            "prompt": "{{ text }} {{ topic }}",
            "output_format": schema,
        },
        {
            "name": "mark",
            "column_type": "llm-judge",
            "prompt": "{{ made.a }}",
            "scores": [{"name": "clear", "description": "x", "options": {"1": "no"}}],
        },
        {"name": "valid", "column_type": "validation", "target_columns": ["text"]},
        {"name": "joined", "column_type": "expression", "expr": "{{ text }}!"},
        {"name": "hidden", "column_type": "expression", "expr": "x", "drop": True},
    )
    assert {name: column.role for name, column in found.items()} == {
        "topic": "sampled",
        "text": "written",
        "text__trace": "derived",
        "made": "structured",
        "mark": "judge",
        "valid": "validator",
        "joined": "derived",
    }
    assert found["made"].schema == schema
    assert found["mark"].scores == {"clear": "clear.score"}
    assert found["valid"].passed == "is_valid"


def test_text_that_is_dropped_counts_where_it_is_shown():
    found = describe(
        {"name": "draft", "column_type": "llm-text", "prompt": "x", "drop": True},
        {"name": "loud", "column_type": "expression", "expr": "{{ draft }}!", "drop": True},
        {"name": "answer", "column_type": "expression", "expr": "{{ loud }}"},
        {"name": "other", "column_type": "expression", "expr": "{{ answer }}"},
    )
    assert {name: one.role for name, one in found.items()} == {
        "answer": "written",
        "other": "derived",
    }


def test_text_that_is_dropped_may_be_asked_about():
    found = describe(
        {"name": "draft", "column_type": "llm-text", "prompt": "x", "drop": True},
        *(
            {"name": f"e{number}", "column_type": "expression", "expr": text}
            for number, text in enumerate(
                (
                    "{{ 'long' if draft | length > 50 else '' }}",
                    "{% if 'a' in draft %}yes{% endif %}",
                    "{{ draft | length }}",
                    "{{ draft is defined }}",
                    "{{ draft if draft | length > 50 else '' }}",
                    "{{ draft if draft else 'none' }}",
                    "{% for line in draft %}{{ line }}{% endfor %}",
                )
            )
        ),
    )
    assert [one.role for one in found.values()] == ["derived"] * 4 + ["written"] * 3


def test_turns_that_each_need_all_before_them_are_described_at_once():
    turns = [
        {
            "name": f"turn{number}",
            "column_type": "llm-text",
            "prompt": " ".join(f"{{{{ turn{before} }}}}" for before in range(number)),
        }
        for number in range(40)
    ]
    looked = []
    needs = references.needs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "needs", lambda column: looked.append(column) or needs(column))
        assert len(describe(*turns)) == 40
    assert len(looked) <= 2 * len(turns)


def test_what_needs_the_trace_of_a_skipped_column_is_skipped_too():
    found = describe(
        {
            "name": "text",
            "column_type": "llm-text",
            "prompt": "x",
            "skip": {"when": "true"},
            "with_trace": "all_messages",
        },
        {"name": "after", "column_type": "llm-text", "prompt": "{{ text__trace }}"},
    )
    assert found["after"].skipped == (None,)


def test_a_column_that_is_skipped_says_what_stands_there():
    found = describe(
        sampler("topic", "category", values=["a"]),
        {
            "name": "text",
            "column_type": "llm-text",
            "prompt": "{{ topic }}",
            "skip": {"when": "{{ topic == 'a' }}", "value": "none"},
        },
        {"name": "mark", "column_type": "llm-judge", "prompt": "{{ text }}"},
        {
            "name": "joined",
            "column_type": "expression",
            "expr": "{{ text }}",
            "propagate_skip": False,
        },
    )
    assert {name: one.skipped for name, one in found.items()} == {
        "topic": (),
        "text": ("none",),
        "mark": (None,),
        "joined": (),
    }


@pytest.mark.parametrize("processor", [True, False])
def test_a_dropped_validator_cannot_say_which_records_are_valid(processor):
    check = {"name": "valid", "column_type": "validation", "target_columns": ["a"]}
    design = {"columns": [sampler("a", "category", values=["x"]), check]}
    if processor:
        design["processors"] = [{"processor_type": "drop_columns", "column_names": ["val*"]}]
    else:
        check["drop"] = True
    columns.check_kept(design, {"valid": False})
    with pytest.raises(LockgateError, match="column 'valid' is dropped") as error:
        columns.check_kept(design, {"valid": True})
    assert error.value.where == "data.design.columns[1]"


@pytest.mark.parametrize(
    ("values", "to", "asked"),
    [
        ([1, 2], "float", {"1.0", "2.0"}),
        ([1.2, 2.0], "int", {"1", "2"}),
        ([1, 2.5], None, {"1.0", "2.5"}),
        ([1, 2], "str", {"1", "2"}),
    ],
)
def test_values_are_asked_for_as_the_records_have_them(values, to, asked):
    more = {"convert_to": to} if to else {}
    found = describe(sampler("n", "category", values=values, more=more))
    assert set(found["n"].asked) == asked


def test_seed_columns_come_first(tmp_path):
    (tmp_path / "seed.csv").write_text("doc,title\nx,y\n")
    source = {"source": {"seed_type": "local", "path": str(tmp_path / "seed.csv")}}
    found = describe(sampler("topic", "category", values=["a"]), seed_config=source)
    assert [(one.name, one.role) for one in found.values()] == [
        ("doc", "seed"),
        ("title", "seed"),
        ("topic", "sampled"),
    ]


def test_the_users_script_is_asked_what_it_builds(tmp_path):
    (tmp_path / "mine.py").write_text(SCRIPT)
    found = TOOL.describe(tmp_path / "mine.py", {"script": "mine.py"})
    assert found[:2] == [
        Column("text", "seed"),
        Column("topic", "sampled", asked={"bread": 0.5, "rain": 0.5}),
    ]
    names = {column.name: column for column in found}
    assert list(names) == ["text", "topic", "loud", "more", "pair"]
    assert names["pair"].schema["properties"]["question"]["type"] == "string"
    told = TOOL.notes(tmp_path / "mine.py", {"script": "mine.py"})
    assert "that the script reads" in told[0] and "LOCKGATE_SEED" in told[1]
    assert all(note.startswith("not checked: ") for note in told)


def test_a_name_that_no_column_of_a_script_has_is_told(tmp_path):
    (tmp_path / "mine.py").write_text(SCRIPT.replace("{{ text }}", "{{ txt }}"))
    with pytest.raises(LockgateError, match="column 'pair' needs 'txt'") as error:
        TOOL.fields({"script": "mine.py"}, tmp_path)
    assert error.value.where == "data.script"
    assert error.value.hint == "did you mean 'text'?"


def test_a_script_whose_model_uses_tools_is_refused(tmp_path):
    text = SCRIPT.replace('model_alias="w",', 'model_alias="w", tool_alias="search",')
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(LockgateError, match="column 'pair' uses tools") as error:
        TOOL.fields({"script": "mine.py"}, tmp_path)
    assert error.value.where == "data.script" and "data.files" in error.value.hint


def test_a_script_that_fails_is_one_message(tmp_path):
    (tmp_path / "mine.py").write_text("def load_config_builder():\n    raise OSError('boom')\n")
    with pytest.raises(LockgateError, match="boom") as error:
        TOOL.describe(tmp_path / "mine.py", {"script": "mine.py"})
    assert error.value.where == "data.script"
    assert "Traceback" not in str(error.value)
