"""What the installed tool offers: for messages, and for editors that complete a design."""

import json

import jsonschema
import pytest
import yaml

from lockgate.config import editor
from lockgate.config.reference import ROOT
from lockgate.tools.data_designer import schemas

COLOUR = {
    "name": "colour",
    "column_type": "sampler",
    "sampler_type": "category",
    "params": {"values": ["red"]},
}
TEXT = {"name": "text", "column_type": "llm-text", "prompt": "x"}


@pytest.fixture(scope="module")
def learned():
    return schemas.learn()


def test_every_type_has_a_schema_with_the_fields_it_inherits(learned):
    assert {"sampler", "llm-text", "expression"} <= set(learned["column_types"])
    for told in learned["column_types"].values():
        assert {"name", "drop", "skip", "propagate_skip"} <= told["properties"].keys()
    assert "values" in learned["samplers"]["category"]["properties"]
    assert {"code", "drop_columns"} <= {*learned["validators"], *learned["processors"]}
    assert "name" in learned["processors"]["drop_columns"]["properties"]
    assert "target_column" in learned["constraints"]["scalar_inequality"]["properties"]
    json.dumps(learned)


def test_the_tools_own_words_are_kept(learned):
    assert f"v{learned['versions']['data-designer']}" in learned["context"]
    assert "LLMJudgeColumnConfig" in learned["context"]


@pytest.mark.parametrize(
    "design",
    [
        {"columns": [COLOUR, TEXT]},
        {"columns": [TEXT], "model_configs": [{"inference_parameters": {"max_tokens": 5}}]},
        {"columns": [COLOUR], "constraints": None, "seed_config": None},
        {
            "columns": [
                {
                    "name": "v",
                    "column_type": "validation",
                    "target_columns": ["text"],
                    "validator_type": "code",
                    "validator_params": {"code_lang": "python"},
                }
            ]
        },
    ],
)
def test_an_editor_takes_a_design_as_the_configuration_has_it(learned, design):
    jsonschema.validate(design, learned["design"])


@pytest.mark.parametrize(
    "column",
    [
        {**COLOUR, "params": {"valuez": ["red"]}},
        {**COLOUR, "params": {}},
        {**COLOUR, "column_type": "smpler"},
        {**TEXT, "promt": "x"},
        {**TEXT, "tool_alias": "search"},
    ],
)
def test_an_editor_finds_what_is_wrong(learned, column):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"columns": [column]}, learned["design"])


def test_the_whole_configurations_schema_has_the_design_in_it(learned):
    whole = editor.schema(learned["design"])
    jsonschema.Draft202012Validator.check_schema(whole)
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    jsonschema.validate(config, whole)
    config["data"]["design"]["columns"][0]["column_type"] = "smpler"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, whole)
    jsonschema.validate(config, editor.schema(None))
