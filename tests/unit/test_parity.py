"""Parity of prompts: each trap on a real tokenizer, and the plan's records of them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate import journal, parity, plan
from lockgate.config.data import Rows
from lockgate.parity import Form, compare, template_checks
from lockgate.prompts import asked, inserted, tokenize, tokenize_row
from tiny_model import make_tiny_model

ROWS = [
    {"prompt": "Which team answers?", "completion": "billing"},
    {"prompt": "Label the sentence: red", "completion": "good"},
]
TURNS = (
    "{% for message in messages %}"
    "{{ '<|start|>' + message['role'] + '\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
DATED = "{{ '<|start|>system\nToday is ' + strftime_now('%d %B %Y') + '<|end|>\n' }}" + TURNS
DATED_DEFAULT = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{% if messages[0]['role'] != 'system' %}{{ 'It is ' + date_string + '. ' }}{% endif %}" + TURNS
)
FIXED = DATED.replace("strftime_now('%d %B %Y')", "'26 July 2024'")
DROPS = "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}" + TURNS
REFUSES = (
    "{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}" + TURNS
)
THINKS = (
    "{% for message in messages %}"
    "{{ '<|start|>' + message['role'] + '\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n<think>\n\n</think>\n\n' }}{% endif %}"
)
NO_ANSWERS = "{{ raise_exception('no') if messages[-1]['role'] == 'assistant' }}" + TURNS
SEAM = "{{ messages[0]['content'] + ' Answer: ' }}{{ messages[1]['content'] if messages[1] }}"
ASKS_FOR_THINKING = (
    "{% if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}"
    "{{ 'thinking ' if enable_thinking else 'plain ' }}" + TURNS
)


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for name in ("template", "plain"):
        make_tiny_model(root / name, chat_template=name == "template")
    return root


@pytest.fixture
def load(directories):
    """A tokenizer read from its files: the tiny model's own, one without template, or another."""
    from transformers import AutoTokenizer

    def read(kind, template=None):
        tokenizer = AutoTokenizer.from_pretrained(directories / kind, local_files_only=True)
        tokenizer.chat_template = template or tokenizer.chat_template
        return tokenizer

    return read


def found(tokenizer, *forms):
    return {
        name: (good, told, fix)
        for name, good, told, fix in template_checks(tokenizer, "tiny", list(forms))
    }


HISTORY = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
SEVERAL = {**ROWS[0], "history": HISTORY}


@pytest.mark.parametrize("kind", ["template", "plain"])
@pytest.mark.parametrize("system_prompt", [None, "Be brief."])
def test_only_the_last_answer_of_several_turns_is_learned(load, kind, system_prompt):
    tokenizer = load(kind)
    ids, count = tokenize_row(tokenizer, SEVERAL, system_prompt)
    assert ids[:count] == asked(tokenizer, SEVERAL["prompt"], system_prompt, HISTORY)
    learned = tokenizer.decode(ids[count:], skip_special_tokens=True)
    assert learned.strip() == "billing"
    before = tokenizer.decode(ids[:count])
    places = [before.index(text) for text in ("Hi.", "Hello.", "Which team answers?")]
    assert places == sorted(places)
    assert ("Be brief." in before) == (system_prompt is not None)
    good, told, _ = compare(tokenizer, [SEVERAL], Form(system_prompt, system_prompt))
    assert good and told.startswith(f"the same {count} token ids in training and evaluation")


def test_a_template_that_refuses_several_turns_is_told_of(load):
    once = "{{ raise_exception('one turn only') if messages | length > 2 }}" + TURNS
    assert compare(load("template", once), ROWS, Form(None, None))[0]
    good, told, _ = compare(load("template", once), [SEVERAL], Form(None, None))
    assert not good
    assert told == "the chat template cannot render a row (one turn only)"


def test_a_default_system_prompt_is_the_same_in_both_and_is_told_of(load):
    good, told, fix = compare(load("template"), ROWS, Form(None, None))
    assert good and fix == ""
    assert told.endswith("template inserts: `'You are a tiny helper'`")
    count = sum(len(asked(load("template"), row["prompt"], None)) for row in ROWS)
    assert told.startswith(f"the same {count} token ids in training and evaluation")


def test_a_given_system_prompt_takes_the_place_of_the_default(load):
    good, told, _ = compare(load("template"), ROWS, Form("One word.", "One word."))
    assert good and "inserts" not in told


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (TURNS, ""),
        (FIXED, "system\nToday is 26 July 2024"),
        ("{{ 'Below is a task.\n' }}" + TURNS, "Below is a task."),
        (REFUSES, ""),
        ("{{ raise_exception('never') }}", ""),
    ],
)
def test_what_a_template_inserts_is_what_stands_before_the_first_turn_only(load, template, text):
    assert inserted(load("template", template)) == text


@pytest.mark.parametrize("template", [DATED, DATED_DEFAULT])
def test_a_date_in_the_prompt_is_a_warning_though_both_are_equal_today(load, template):
    tokenizer = load("template", template)
    good, told, _ = compare(tokenizer, ROWS, Form(None, None))
    assert good and "2001" in told, "the plan is the same on every day"
    good, told, fix = found(tokenizer, Form(None, None))["no date in the prompts of tiny"]
    assert not good
    assert told.startswith("the template puts today's date into the prompt, first at token ")
    assert "03 Feb" in told and "12 Nov" in told
    if template == DATED:
        assert "write a fixed date in place of strftime_now(...)" in fix
        assert "models.tiny.path" in fix
    else:  # it is only in the default system prompt
        assert fix.startswith("give training.system_prompt a text")
        assert found(tokenizer, Form("Be brief.", "Be brief."))["no date in the prompts of tiny"][0]


def test_a_fixed_date_is_none_of_today(load):
    good, told, _ = found(load("template", FIXED), Form(None, None))[
        "no date in the prompts of tiny"
    ]
    assert good and told == "the same on 2001-02-03 and on 2010-11-12"


def test_the_date_is_that_of_today_again_after_a_check(load):
    from datetime import datetime

    tokenizer = load("template", DATED)
    template_checks(tokenizer, "tiny", [Form(None, None)])
    assert str(datetime.now().year) in tokenizer.decode(asked(tokenizer, "a", None))


@pytest.mark.parametrize("system_prompt", [None, "One word."])
def test_a_base_model_gets_plain_text_after_one_first_token(load, system_prompt):
    tokenizer = load("plain")
    good, told, _ = compare(tokenizer, ROWS, Form(system_prompt, system_prompt))
    assert good and told.endswith("; no chat template: plain text, after `'<|start|>'`")
    ids, count = tokenize(tokenizer, "red", "good", system_prompt)
    assert ids[:count] == asked(tokenizer, "red", system_prompt)
    assert ids.count(tokenizer.bos_token_id) == 1
    text = f"{system_prompt}\n\nred" if system_prompt else "red"
    assert tokenizer.decode(ids) == f"<|start|>{text}good<|end|>"
    assert template_checks(tokenizer, "tiny", [Form(system_prompt, system_prompt)]) == []


@pytest.mark.parametrize("kind", ["template", "plain"])
def test_another_system_prompt_in_evaluation_is_shown_with_both_texts(load, kind):
    tokenizer = load(kind)
    good, told, fix = compare(tokenizer, ROWS, Form("Answer with one word.", "Answer at length."))
    assert not good
    assert told.startswith("2 of 2 prompts differ, first at token ")
    trained, evaluated = re.findall("`(.+?)`", told)
    assert "Answer with one word." in trained and "Answer at length." in evaluated
    assert max(len(trained), len(evaluated)) <= 90 and "\n" not in told
    assert fix == "leave evaluation.system_prompt out, or give training.system_prompt the same text"
    at = int(re.search(r"first at token (\d+)", told)[1])
    one = asked(tokenizer, ROWS[0]["prompt"], "Answer with one word.")
    other = asked(tokenizer, ROWS[0]["prompt"], "Answer at length.")
    assert one[:at] == other[:at] and one[at] != other[at]


def test_a_long_difference_is_cut(load):
    told = compare(load("plain"), ROWS, Form("a" * 500, "b" * 500))[1]
    assert len(told) < 300 and told.count("...") == 2


def test_a_blank_system_prompt_is_not_the_same_as_none(load):
    good, told, _ = compare(load("template"), ROWS, Form(" ", None))
    assert not good and "You are a tiny helper" in told
    good, told, _ = compare(load("template"), ROWS, Form(" ", " "))
    assert good and "inserts" not in told


def test_a_blank_system_prompt_that_a_template_drops_changes_nothing(load):
    tokenizer = load("template", DROPS)
    assert compare(tokenizer, ROWS, Form(" ", None))[0]
    assert "the template of tiny shows the system prompt" in found(tokenizer, Form(" ", None))


def test_a_dropped_system_prompt_is_a_warning(load):
    form = Form("One word.", "One word.")
    name = "the template of tiny shows the system prompt"
    assert found(load("template"), form)[name][0]
    good, told, fix = found(load("template", DROPS), form)[name]
    assert not good and told == "it leaves out training.system_prompt"
    assert fix == "leave training.system_prompt out, or put the text into data.rows.prompt"
    assert name not in found(load("template", DROPS), Form(None, None))


def test_an_answered_prompt_that_looks_otherwise_is_trained_in_its_open_form(load):
    tokenizer = load("template", THINKS)
    assert compare(tokenizer, ROWS, Form(None, None))[0]
    ids, _ = tokenize(tokenizer, "red", "good", None)
    assert tokenizer.decode(ids) == (
        "<|start|>user\nred<|end|>\n<|start|>assistant\n<think>\n\n</think>\n\ngood<|end|>\n"
    )


def test_a_token_across_the_seam_is_taught_in_two_so_that_nothing_is_twice(load):
    tokenizer = load("template", SEAM)
    whole = tokenizer("red Answer: team", add_special_tokens=False)["input_ids"]
    opened = asked(tokenizer, "red", None)
    assert whole[: len(opened)] != opened, "one token holds the blank and the word"
    ids, count = tokenize(tokenizer, "red", "team", None)
    assert ids[:count] == opened and tokenizer.decode(ids) == "red Answer: team"


def test_a_refused_system_role_names_the_key(load):
    tokenizer = load("template", REFUSES)
    assert compare(tokenizer, ROWS, Form(None, None))[0]
    good, told, fix = compare(tokenizer, ROWS, Form("One word.", "One word."))
    assert not good
    assert told == (
        "the template refuses the system prompt of training.system_prompt "
        "(System role not supported)"
    )
    assert fix == "leave training.system_prompt out, or put its text into data.rows.prompt"
    only = Form(None, "One word.", evaluated_key="evaluation.tasks[1].system_prompt")
    good, told, fix = compare(tokenizer, ROWS, only)
    assert not good and fix.startswith("leave evaluation.tasks[1].system_prompt out")


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('never') }}", "{% if %}", "{{ 1 // 0 }}", NO_ANSWERS],
)
def test_a_template_that_renders_nothing_is_a_warning(load, template):
    good, told, fix = compare(load("template", template), ROWS, Form("a", "a"))
    assert not good and told.startswith("the chat template cannot render a row (")
    assert "\n" not in told and fix.startswith("mend the chat template")
    checks = found(load("template", template), Form("a", "a"))
    assert all(good for good, _, _ in checks.values())


@pytest.mark.parametrize("kind", [None, TURNS, ASKS_FOR_THINKING, THINKS, "plain"])
@pytest.mark.parametrize("system_prompt", [None, " ", "Answer with {one} word."])
def test_the_ids_are_those_that_the_evaluator_feeds(directories, tmp_path, kind, system_prompt):
    """The real provider on real prompts; only what follows its tokens is left out."""
    from inspect_ai.model import ChatMessageSystem, ChatMessageUser
    from transformers import AutoTokenizer

    from lockgate.tools.inspect_ai.run import _model

    path = tmp_path / "model"
    shutil.copytree(directories / ("plain" if kind == "plain" else "template"), path)
    if kind not in (None, "plain"):
        (path / "chat_template.jinja").write_text(kind)
    tokenizer = AutoTokenizer.from_pretrained(path)
    api = _model({"seed": 0, "precision": "float32", "temperature": 0}, path, path, tokenizer).api
    for row in ROWS:
        system = [ChatMessageSystem(content=system_prompt)] if system_prompt else []
        text = api.hf_chat([*system, ChatMessageUser(content=row["prompt"])], [])
        fed = api.tokenizer(text, **api.tokenizer_call_args)["input_ids"]
        assert asked(tokenizer, row["prompt"], system_prompt) == fed
        ids, count = tokenize(tokenizer, row["prompt"], row["completion"], system_prompt)
        assert ids[:count] == fed and tokenizer.decode(ids).count(row["completion"]) == 1


# --- the plan's records


def of_model(project, directories, kind="template", template=None, **changes):
    shutil.rmtree(project.model.parent)
    shutil.copytree(directories / kind, project.model.parent)
    if template:
        (project.model.parent / "chat_template.jinja").write_text(template)
    return project.read(**changes)


def test_rows_of_the_users_file_are_compared_for_tuned_runs_and_control(project, directories):
    records = parity.checks(of_model(project, directories))
    assert [record[:2] for record in records] == [
        ("parity of tiny", True),
        ("no date in the prompts of tiny", True),
        ("rows of tiny fit", False),  # its system prompt takes most of `max_length`
        ("parity of task closeness", None),
    ]
    lines = len(project.records.read_text().splitlines())
    assert records[0][2].startswith(f"8 of {lines} rows of {project.records}; runs tiny_control, ")
    assert "tiny_epochs-1" in records[0][2] and "tiny_epochs-4" in records[0][2]


def test_fewer_rows_than_eight_are_all_compared(project, directories):
    project.records.write_text("".join(f'{{"a": {n}, "b": 1, "sum": 2}}\n' for n in range(3)))
    rows, told = parity._rows(project.read())
    assert [row["prompt"] for row in rows] == ["0 + 1 =", "1 + 1 =", "2 + 1 ="]
    assert told == f"3 of 3 rows of {project.records}"


def test_records_that_are_rows_are_compared_as_they_are(project):
    turns = [{"role": "user", "content": "red"}, {"role": "assistant", "content": "good"}]
    project.records.write_text(f"{json.dumps({'messages': turns})}\n" * 2)
    rows, told = parity._rows(project.read(data__rows=None))
    assert [(row["prompt"], row["completion"]) for row in rows] == [("red", "good")] * 2


def test_without_data_one_stand_in_row_is_compared_and_said_so(project, directories):
    matrix = of_model(project, directories)
    section = matrix.config.data.model_copy(update={"files": None})
    config = matrix.config.model_copy(update={"data": section})
    rows, told = parity._rows(type(matrix)(**{**vars(matrix), "config": config}))
    assert len(rows) == 1 and told == "one stand-in row, for there are no data yet"
    assert "history" not in rows[0]
    section = section.model_copy(update={"rows": Rows(messages="talk")})
    config = matrix.config.model_copy(update={"data": section})
    ((row,), _) = parity._rows(type(matrix)(**{**vars(matrix), "config": config}))
    assert len(row["history"]) == 2


def test_each_form_is_compared_once_and_names_the_keys_that_set_it(project, directories):
    tasks = [
        {"name": "one", "scorer": "exact"},
        {"name": "two", "scorer": "exact", "system_prompt": "Say two."},
    ]
    matrix = of_model(
        project, directories, evaluation__tasks=tasks, training__system_prompt="Say one."
    )
    one, two, *_ = parity.checks(matrix)
    assert one[:2] == ("parity of tiny, 1 of 2", True)
    assert two[:2] == ("parity of tiny, 2 of 2", False)
    assert two[3].startswith("leave evaluation.tasks[1].system_prompt out")


def test_a_system_prompt_that_varies_is_asked_as_each_run_was_taught(project, directories):
    matrix = of_model(
        project, directories, training__variables={"system_prompt": ["Say one.", "Say two."]}
    )
    used = parity.forms(matrix, "tiny")
    assert [(form.trained, form.evaluated) for form in used] == [
        ("Say one.", "Say one."),
        ("Say two.", "Say two."),
    ]
    assert all(len(names) == 2 for names in used.values()), "a tuned run, and its control"
    matrix = of_model(
        project,
        directories,
        training__variables={"system_prompt": ["Say one.", "Say two."]},
        evaluation__system_prompt="Say one.",
    )
    goods = [good for name, good, *_ in parity.checks(matrix) if name.startswith("parity of tiny")]
    assert goods == [True, False]


def test_a_prompt_of_the_task_is_another_than_was_taught(project, directories):
    def records(prompt, **changes):
        task = {"name": "sums", "scorer": "exact", "prompt": prompt}
        changed = of_model(project, directories, evaluation__tasks=[task], **changes)
        return [one for one in parity.checks(changed) if one[0].startswith("parity of tiny")]

    ((_, good, told, fix),) = records("Sum: {{ prompt }}")
    assert good is False and "Sum: 15 + 21 =" in told
    assert fix == "leave evaluation.tasks[0].prompt out, or give data.rows.prompt the same text"
    ((_, good, _, _),) = records("{{ prompt }}")
    assert good


def test_a_stand_in_without_the_fields_of_a_tasks_prompt_is_not_checked(project, directories):
    task = {"name": "sums", "scorer": "exact", "prompt": "{{ a }} and {{ b }}"}
    matrix = of_model(project, directories, evaluation__tasks=[task])
    (record,) = [one for one in parity.checks(matrix) if one[0] == "parity of tiny"]
    assert record[1] is False  # the file has both fields
    section = matrix.config.data.model_copy(update={"files": None})
    config = matrix.config.model_copy(update={"data": section})
    designed = type(matrix)(**{**vars(matrix), "config": config})
    (record,) = [one for one in parity.checks(designed) if one[0] == "parity of tiny"]
    assert record[1] is None and "evaluation.tasks[0].prompt: it cannot be filled" in record[2]


def test_what_was_taught_elsewhere_is_not_checked(project, directories):
    shutil.copytree(directories / "template", "models/older")
    changes = {"models__older": {"path": "models/older"}, "evaluation__models": ["older"]}
    matrix = of_model(project, directories, training__model="tiny", **changes)
    records = {name: good for name, good, *_ in parity.checks(matrix)}
    assert records["parity of older_eval-only"] is None and records["parity of tiny"] is True
    extra = {"dataset": {"_component_": "mine.rows"}}
    Path("mine.py").write_text("def rows(tokenizer): ...\n")
    changes = {"training__tool": "torchtune", "training__parameters__extra": extra}
    found = {
        name: told for name, good, told, _ in parity.checks(project.read(**changes)) if good is None
    }
    assert "dataset component" in found["parity of tiny_epochs-1"]


def test_a_model_on_the_hub_is_not_checked_but_its_system_prompts_are(project, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub = {"tiny": {"hub": "nobody-at-all/no-model"}}
    record, *_ = parity.checks(project.read(models=hub))
    assert record[:2] == ("parity of tiny", None)
    assert record[2].startswith("nobody-at-all/no-model is on the hub and not here; runs tiny_")
    record, *_ = parity.checks(project.read(models=hub, evaluation__system_prompt="Say one."))
    assert record[1] is False
    assert "training.system_prompt is none, evaluation.system_prompt is `'Say one.'`" in record[2]


def test_a_tokenizer_that_does_not_load_is_not_checked(project):
    record, *_ = parity.checks(project.read())
    assert record[:2] == ("parity of tiny", None)
    assert record[2].startswith("its tokenizer does not load (") and "models.tiny" in record[3]


def test_the_plan_records_and_logs_each_comparison(project, directories):
    log = journal.Journal()
    machine = {"memory_mb": 9e9, "partitions": [], "free_disk_mb": 9e9}
    resources = {"machine": machine, "resources": [], "prerequisites": []}
    matrix = of_model(project, directories, template=DATED, evaluation__system_prompt="Say one.")
    records = {record["name"]: record for record in plan._checks(matrix, resources, [], log)}
    assert records["parity of tiny"]["status"] == "warning"
    assert records["no date in the prompts of tiny"]["status"] == "warning"
    assert records["parity of task closeness"]["status"] == "not checked"
    logged = {entry["input"]: entry["result"] for entry in log.entries}
    for record in records.values():
        assert logged[f"{record['name']}: {record['compared']}"] == record["status"]
    json.dumps(records)


def test_nothing_heavy_is_imported_before_a_check_runs():
    code = "import sys; from lockgate import plan, parity; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "lockgate.parity" in loaded and not {"torch", "transformers"} & set(loaded)
