"""Every mistake in a design is one message that names the column and the key."""

from pathlib import Path

import pytest

from lockgate.errors import LockgateError
from lockgate.tools import get
from lockgate.tools.data_designer import checks

TOOL = get("data", "data_designer", "test")
COLOUR = {
    "name": "colour",
    "column_type": "sampler",
    "sampler_type": "category",
    "params": {"values": ["red", "green"]},
}
TEXT = {"name": "text", "column_type": "llm-text", "prompt": "A {{ colour }} thing."}
CODE = {
    "name": "valid",
    "column_type": "validation",
    "target_columns": ["colour"],
    "validator_type": "code",
    "validator_params": {"code_lang": "python"},
}
SUB = {
    "name": "shade",
    "column_type": "sampler",
    "sampler_type": "subcategory",
    "params": {"category": "colour", "values": {"red": ["rose"], "green": ["lime"]}},
}


def expression(name, text):
    return {"name": name, "column_type": "expression", "expr": text}


def section(*columns, **more):
    endpoint = {"url": "http://127.0.0.1:9/v1", "model": "tiny"}
    design = {"columns": [dict(column) for column in columns], **more}
    return {"records": 3, "design": design, "endpoint": endpoint}


def refused(data):
    """The error that comes while the pipeline is planned, without the tool."""
    with pytest.raises(LockgateError) as error:
        TOOL.render(data, Path())
    assert error.value.hint
    return error.value


def refused_by_the_tool(data):
    with pytest.raises(LockgateError) as error:
        TOOL.fields(data, Path())
    assert error.value.hint
    return error.value


@pytest.mark.parametrize(
    ("column", "key", "hint"),
    [
        ({**TEXT, "prompt": "{{ color }}"}, "prompt", "'colour'"),
        ({**TEXT, "system_prompt": "{{ color }}"}, "system_prompt", "'colour'"),
        ({**TEXT, "skip": {"when": "{{ colr == 1 }}"}}, "skip.when", "'colour'"),
        ({**TEXT, "prompt": "{{ colour "}, "prompt", "{{ name }}"),
        (expression("e", "{{ colours }}"), "expr", "'colour'"),
        ({**CODE, "target_columns": ["color"]}, "target_columns[0]", "'colour'"),
        (
            {**TEXT, "multi_modal_context": [{"modality": "image", "column_name": "picture"}]},
            "multi_modal_context[0].column_name",
            "colour, text",
        ),
        (
            {**SUB, "params": {"category": "color", "values": {}}},
            "params.category",
            "'colour'",
        ),
        (
            {**SUB, "params": {"category": "colour", "values": {"red": ["rose"]}}},
            "params.values",
            "add a list for 'green'",
        ),
        ({**TEXT, "tool_alias": "search"}, "tool_alias", "leave it out"),
        ({**SUB, "params": [1]}, "params", "mapping"),
        ({**TEXT, "side_effect_columns": 3}, "side_effect_columns", "list of names"),
    ],
)
def test_a_name_that_is_no_columns_is_found_while_planning(column, key, hint):
    error = refused(section(COLOUR, column))
    assert error.where == f"data.design.columns[1].{key}"
    assert f"column '{column['name']}'" in error.what
    assert hint in error.hint


@pytest.mark.parametrize(
    ("columns", "circle"),
    [
        ((expression("a", "{{ b }}"), expression("b", "{{ a }}")), "a needs b needs a"),
        ((expression("a", "{{ a }}"),), "a needs a"),
        (
            (expression("a", "{{ b }}"), expression("b", "{{ c }}"), expression("c", "{{ a }}")),
            "a needs b needs c needs a",
        ),
    ],
)
def test_a_circle_is_named(columns, circle):
    error = refused(section(COLOUR, *columns))
    assert circle in error.what
    assert error.where.startswith("data.design.columns[")


@pytest.mark.parametrize("url", ["http://u:pw@v/check", "http://v/check?key=s3cret", "http://v#k"])
def test_an_address_with_a_key_is_refused_and_not_repeated(url):
    remote = {**CODE, "validator_type": "remote", "validator_params": {"endpoint_url": url}}
    error = refused(section(COLOUR, remote))
    assert error.where == "data.design.columns[1].validator_params.endpoint_url"
    assert url not in f"{error}{error.what}{error.hint}"


def test_a_column_made_beside_another_can_be_referred_to():
    traced = {**TEXT, "extract_reasoning_content": True}
    data = section(COLOUR, traced, expression("why", "{{ text__reasoning_content }}"))
    assert "text__reasoning_content" in TOOL.render(data, Path())


@pytest.mark.parametrize(
    ("more", "key", "hint"),
    [
        (
            {"constraints": [{"target_column": "colr", "operator": "gt", "rhs": 1}]},
            "constraints[0].target_column",
            "'colour'",
        ),
        (
            {
                "processors": [
                    {"name": "p", "processor_type": "drop_columns", "column_names": ["color"]}
                ]
            },
            "processors[0].column_names[0]",
            "'colour'",
        ),
        (
            {
                "processors": [
                    {
                        "name": "p",
                        "processor_type": "schema_transform",
                        "template": {"all": ["{{ color }}"]},
                    }
                ]
            },
            "processors[0].template.all",
            "'colour'",
        ),
        ({"profilers": [{"model_alias": "endpont"}]}, "profilers[0].model_alias", "'endpoint'"),
        ({"tool_configs": []}, "tool_configs", "data.files"),
        (
            {"processors": [{"processor_type": "drop_columns", "column_names": 5}]},
            "processors[0].column_names",
            "list of names",
        ),
        (
            {"processors": [{"processor_type": "drop_columns", "column_names": [5]}]},
            "processors[0].column_names",
            "list of names",
        ),
    ],
)
def test_the_rest_of_the_design_is_checked_too(more, key, hint):
    error = refused(section(COLOUR, TEXT, **more))
    assert error.where == f"data.design.{key}"
    assert hint in error.hint


def test_a_pattern_drops_columns():
    drop = {"name": "p", "processor_type": "drop_columns", "column_names": ["col*"]}
    data = section(COLOUR, TEXT, processors=[drop])
    assert [column.name for column in TOOL.fields(data, Path())] == ["text"]


@pytest.mark.parametrize(
    ("column", "key", "what", "hint"),
    [
        ({**COLOUR, "column_type": "smpler"}, "column_type", "no column_type", "'sampler'"),
        ({**COLOUR, "sampler_type": "categry"}, "sampler_type", "not possible", "'category'"),
        ({**COLOUR, "params": {}}, "params.values", "missing", "learn/"),
        ({**COLOUR, "params": {"valuez": []}}, "params.valuez", "no such key", "'values'"),
        ({**COLOUR, "drp": True}, "drp", "no such key", "'drop'"),
        ({**CODE, "validator_type": "cod"}, "validator_type", "not possible", "'code'"),
        (
            {
                "name": "mark",
                "column_type": "llm-judge",
                "prompt": "x",
                "scores": [{"name": "a", "description": "b", "options": {"1": False}}],
            },
            "scores[0].options.1",
            "valid string",
            "quotes",
        ),
        (
            {
                **COLOUR,
                "sampler_type": "scipy",
                "params": {"dist_name": "nrm", "dist_params": {}},
            },
            "params.dist_name",
            "no distribution",
            "'norm'",
        ),
        (
            {
                **COLOUR,
                "sampler_type": "scipy",
                "params": {"dist_name": "norm", "dist_params": {"mu": 1}},
            },
            "params.dist_params",
            "mu",
            "scipy.stats.norm",
        ),
    ],
)
def test_the_tools_classes_are_asked_before_anything_is_built(column, key, what, hint):
    other = {**COLOUR, "name": "colour2"} if column["name"] == "colour" else COLOUR
    error = refused_by_the_tool(section(other, column))
    assert error.where == f"data.design.columns[1].{key}"
    assert f"column '{column['name']}'" in error.what
    assert what in error.what
    assert hint in error.hint


@pytest.mark.parametrize(
    ("more", "key", "what", "hint"),
    [
        ({"params": {"values": ["a", "b"], "weights": ["1", "2"]}}, "params.weights[0]", "", ""),
        ({"sampler_type": "bernoulli", "params": {"p": "0.3"}}, "params.p", "", ""),
        ({"sampler_type": "binomial", "params": {"n": "5", "p": 0.5}}, "params.n", "", ""),
        (
            {"params": {"values": ["a", "b"], "weights": [-1, 2]}},
            "params.weights",
            "must not be negative",
            "0 or more",
        ),
        (
            {"conditional_params": {"x == 1": {"values": ["a", "b"], "weights": [2, -1]}}},
            "conditional_params.x == 1.weights",
            "must not be negative",
            "0 or more",
        ),
        (
            {"sampler_type": "gaussian", "params": {"mean": 0, "stddev": -1}},
            "params.stddev",
            "must not be negative",
            "0 or more",
        ),
    ],
)
def test_parameters_are_numbers_that_can_be_drawn_with(more, key, what, hint):
    number = {"name": "x", "column_type": "sampler", "sampler_type": "uniform"}
    number["params"] = {"low": 0, "high": 1}
    error = refused_by_the_tool(section(number, {**COLOUR, **more}))
    assert error.where == f"data.design.columns[1].{key}"
    assert (what or "valid") in error.what and "column 'colour'" in error.what
    assert (hint or "without quotes") in error.hint


def test_a_models_settings_are_not_guessed():
    settings = {"inference_parameters": {"timeout": "60", "temperature": 1}}
    error = refused_by_the_tool(section(COLOUR, TEXT, model_configs=[settings]))
    assert error.where == "data.design.model_configs[0].inference_parameters.timeout"
    assert "without quotes" in error.hint
    settings["inference_parameters"]["timeout"] = 60
    TOOL.fields(section(COLOUR, TEXT, model_configs=[settings]), Path())


@pytest.mark.parametrize(
    ("column", "key", "what"),
    [
        (
            {**COLOUR, "params": {"values": ["a"], "weights": [float("inf")]}},
            "params.weights[0]",
            "inf",
        ),
        ({**COLOUR, "params": {"values": [float("nan")]}}, "params.values[0]", "nan"),
        ({**TEXT, "prompt": "a \ud83d"}, "prompt", "surrogate"),
        ({**SUB, "params": {"values": {"\ud83d": []}}}, "params.values", "surrogate"),
    ],
)
def test_what_no_script_can_hold_is_refused_first(column, key, what):
    error = refused(section({**COLOUR, "name": "other"}, column))
    assert error.where == f"data.design.columns[1].{key}"
    assert what in error.what and f"'{column['name']}'" in error.what
    str(error).encode()


def test_a_key_of_a_models_settings_is_checked():
    settings = {"inference_parameters": {"max_token": 5}}
    error = refused_by_the_tool(section(COLOUR, TEXT, model_configs=[settings]))
    assert error.where == "data.design.model_configs[0].inference_parameters.max_token"
    assert "'max_tokens'" in error.hint


def test_an_unknown_processor_is_named():
    error = refused_by_the_tool(
        section(COLOUR, processors=[{"name": "p", "processor_type": "drop_column"}])
    )
    assert error.where == "data.design.processors[0].processor_type"
    assert "'drop_columns'" in error.hint


def test_persons_need_a_dataset_that_is_at_hand(monkeypatch):
    person = {**COLOUR, "sampler_type": "person", "params": {}}
    monkeypatch.delenv(checks.PERSONS, raising=False)
    assert "person_from_faker" in refused_by_the_tool(section(person)).hint
    monkeypatch.setenv(checks.PERSONS, "here")
    assert TOOL.fields(section(person), Path())[0].role == "sampled"


def test_what_cannot_be_checked_is_said():
    columns = [
        {"name": "picture", "column_type": "image", "prompt": "{{ colour }}"},
        {**CODE, "validator_type": "remote", "validator_params": {"endpoint_url": "http://v"}},
        {"name": "made", "column_type": "llm-structured", "prompt": "x", "output_format": {}},
    ]
    data = section(COLOUR, *columns)
    told = TOOL.notes(Path("design.py"), data)
    names = ("picture", "http://v", "made")
    assert all(name in note for name, note in zip(names, told, strict=True))
    assert all(note.startswith("not checked: ") for note in told)
    data["design"]["seed_config"] = {
        "source": {"seed_type": "hf", "path": "datasets/a/b/c.csv"},
        "sampling_strategy": "shuffle",
    }
    data["shards"] = 4
    more = TOOL.notes(Path("design.py"), data)[: -len(names)]
    assert "shuffles" in more[0] and "a row for each of 4 shards" in more[1]
    assert "datasets/a/b/c.csv" in more[2]
    assert all(note.startswith("not checked: ") for note in more)
    del data["design"]["seed_config"]
    data["endpoint"]["constrain"] = True
    assert len(TOOL.notes(Path("design.py"), data)) == 2
    assert TOOL.notes(Path("design.py"), section(COLOUR, TEXT)) == []
