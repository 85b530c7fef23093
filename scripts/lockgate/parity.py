"""Is a model asked as it was taught? Prompts of training and of evaluation, by token ids."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lockgate import cells, lengths, models, tools
from lockgate.data import hub, projection, records
from lockgate.errors import LockgateError
from lockgate.matrix import Matrix
from lockgate.prompts import asked, inserted, on, tokenize_row
from lockgate.runs import Run
from lockgate.scoring import question
from lockgate.weights import is_adapter

ROWS = 8
"""Rows of an existing dataset that are rendered."""

_DAYS = (datetime(2001, 2, 3, 4, 5), datetime(2010, 11, 12, 13, 14))
"""Two moments that differ in every part of a date."""

_READ = "read the prompts in its first log"

_STAND_IN: dict[str, Any] = {"prompt": "What is asked here?", "completion": "An answer."}

_EARLIER = [
    {"role": "user", "content": "What was asked before?"},
    {"role": "assistant", "content": "An earlier answer."},
]

Check = tuple[str, bool | None, str, str]
"""Name, whether it is good (None: not checked), what was compared, and the fix."""


@dataclass(frozen=True)
class Form:
    """One way in which a model is taught and asked.

    Attributes:
        trained: system prompt of the training rows.
        evaluated: system prompt of the evaluation.
        trained_key: the configuration's key that sets the first.
        evaluated_key: the key that sets the second.
        rows: the run's own templates of rows, as name and text.
        question: the task's own template of the prompt; None: the row's prompt as it is.
    """

    trained: str | None
    evaluated: str | None
    trained_key: str = "training.system_prompt"
    evaluated_key: str = "evaluation.system_prompt"
    rows: tuple[tuple[str, str], ...] = ()
    question: str | None = None


def checks(matrix: Matrix) -> list[Check]:
    """For each model: the forms in which its runs are taught and asked, and what its template does.

    A tuned run and its control have the base model's tokenizer, and are asked the same.
    """
    rows, source = _rows(matrix)
    found: list[Check] = []
    for run in matrix.runs.values():
        if unknown := _taught_otherwise(run, matrix):
            found.append((f"parity of {run.name}", None, unknown, _READ))
    for model in dict.fromkeys(run.model for run in matrix.runs.values()):
        used = forms(matrix, model)
        tokenizer, why = _tokenizer(model, matrix)
        for number, (form, names) in enumerate(used.items(), 1):
            name = f"parity of {model}" + (f", {number} of {len(used)}" if len(used) > 1 else "")
            told = f"{source}; {_listed(names)}"
            if tokenizer is None:
                found.append(_unrendered(name, form, f"{why}; {_listed(names)}", model))
            else:
                # a stand-in has none of the fields that a template asks for
                templates = dict(form.rows) if "fields" in rows[0] else {}
                own = projection.revise(rows, templates, "data.rows of these runs")
                try:
                    good, compared, fix = compare(tokenizer, own, form)
                except LockgateError as error:  # a task's template, on a stand-in without fields
                    found.append((name, None, f"{told}: {form.evaluated_key}: {error.what}", _READ))
                    continue
                found.append((name, good, f"{told}: {compared}", fix))
        if tokenizer is not None:
            found += template_checks(tokenizer, model, list(used))
            found += lengths.checks(matrix, model, tokenizer)
    for task in matrix.config.evaluation.tasks:
        if task.task is not None:
            told = "its own file may change the prompts of the rows"
            found.append((f"parity of task {task.name}", None, told, _READ))
    return found


def forms(matrix: Matrix, model: str) -> dict[Form, list[str]]:
    """The different forms among a model's runs and their tasks, each with its runs' names."""
    config = matrix.config
    listed = "runs" if config.training.runs else "variables.system_prompt"
    varies = any("system_prompt" in run.varied for run in matrix.runs.values())
    trained_key = f"training.{listed if varies else 'system_prompt'}"
    found: dict[Form, list[str]] = {}
    for run in matrix.runs.values():
        if run.model != model or _taught_otherwise(run, matrix):
            continue
        for task in cells.tasks(run, config):
            prompt, key = run.system_prompt, trained_key
            if task.system_prompt:
                number = config.evaluation.tasks.index(task)
                prompt, key = task.system_prompt, f"evaluation.tasks[{number}].system_prompt"
            elif config.evaluation.system_prompt:
                prompt, key = config.evaluation.system_prompt, "evaluation.system_prompt"
            rows = tuple(sorted(run.rows.items()))
            if task.prompt:
                key = f"evaluation.tasks[{config.evaluation.tasks.index(task)}].prompt"
            form = Form(run.system_prompt, prompt, trained_key, key, rows, task.prompt)
            names = found.setdefault(form, [])
            names += [run.name] if run.name not in names else []
    return found


def _taught_otherwise(run: Run, matrix: Matrix) -> str:
    """Why nobody here knows the prompts that a run was taught; empty: they are the data's rows."""
    if run.kind == "eval-only":
        return "it was taught before, in a way that is not known here"
    adapter = tools.get("training", matrix.config.training.tool, matrix.source)
    own_dataset = getattr(adapter, "own_dataset", lambda parameters: False)
    if run.trained and own_dataset(run.parameters):
        return "it is taught by a dataset component of the user's own"
    return ""


def compare(tokenizer: Any, rows: list[dict[str, Any]], form: Form) -> tuple[bool, str, str]:
    """Whether the ids of each evaluated prompt are the first ids of its training row.

    Returns:
        Whether they are, what was compared (with the first difference), and the fix.
    """
    taught: list[list[int]] = []
    fed: list[list[int]] = []
    with on(_DAYS[0]):
        for row in rows:
            for prompt, key in (
                (form.trained, form.trained_key),
                (form.evaluated, form.evaluated_key),
            ):
                refused = _refusal(tokenizer, row, prompt, key)
                if refused:
                    return False, *refused
            ids, count = tokenize_row(tokenizer, row, form.trained)
            taught.append(ids[:count])
            shown, history = question(form.question, row), row.get("history", ())
            fed.append(asked(tokenizer, shown, form.evaluated, history))
        note = _note(tokenizer, form.trained, fed[0])
    pairs = list(zip(taught, fed, strict=True))
    unequal = [pair for pair in pairs if pair[0] != pair[1]]
    if unequal:
        told = f"{len(unequal)} of {len(rows)} prompts differ"
        told = f"{told}, {_difference(tokenizer, *unequal[0])}"
        other = "data.rows.prompt" if form.question else form.trained_key
        fix = f"leave {form.evaluated_key} out, or give {other} the same text"
        return False, told, fix
    told = f"the same {sum(map(len, fed))} token ids in training and evaluation"
    return True, f"{told}{note}", ""


def template_checks(tokenizer: Any, model: str, used: list[Form]) -> list[Check]:
    """What a template does to every prompt alike: put in the date, leave out the system prompt."""
    if tokenizer.chat_template is None:
        return []
    keys = {form.trained: form.trained_key for form in used}
    keys = {form.evaluated: form.evaluated_key for form in used} | keys
    found: list[Check] = []
    dropped, dated = [], None
    for prompt, key in keys.items():
        try:
            early, late = (_shown(tokenizer, prompt, day) for day in _DAYS)
            other = _shown(tokenizer, f"{prompt} Briefly.", _DAYS[0]) if prompt else None
        except Exception:  # `compare` tells of it
            continue
        dropped += [key] if prompt and prompt.strip() and early == other else []
        dated = dated or ((prompt, early, late) if early != late else None)
    name = f"no date in the prompts of {model}"
    if dated is None:
        found.append((name, True, f"the same on {_DAYS[0]:%F} and on {_DAYS[1]:%F}", ""))
    else:
        told = _difference(tokenizer, dated[1], dated[2], [f"on {day:%F}" for day in _DAYS])
        told = f"the template puts today's date into the prompt, {told}"
        found.append((name, False, told, _undated(tokenizer, model, dated[0])))
    name = f"the template of {model} shows the system prompt"
    if dropped:
        keys_named = " and ".join(dropped)
        fix = f"leave {keys_named} out, or put the text into data.rows.prompt"
        found.append((name, False, f"it leaves out {keys_named}", fix))
    elif any(keys):
        found.append((name, True, "another system prompt gives other token ids", ""))
    return found


def _rows(matrix: Matrix) -> tuple[list[dict[str, Any]], str]:
    """Rows to render, spread over the user's file where there is one, and what they are."""
    section = matrix.config.data
    if section.files is None or not hub.is_here(section.files):
        several = section.rows is not None and section.rows.messages is not None
        row = _STAND_IN | ({"history": _EARLIER} if several else {})
        return [row], "one stand-in row, for there are no data yet"
    found = records.read(section.files)[: section.records]
    templates = section.rows.model_dump() if section.rows else None
    chosen = records.spread(found, ROWS)
    rows = projection.project(chosen, templates, f"data.files {section.files}")
    return rows, f"{len(chosen)} of {len(found)} rows of {section.files}"


def _tokenizer(name: str, matrix: Matrix) -> tuple[Any, str]:
    """The base model's tokenizer, or None and why there is none."""
    from transformers import AutoTokenizer

    if name in matrix.missing:
        return None, matrix.missing[name].what
    model = matrix.config.models[name]
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        path = models.locate(name, model, matrix.source)
        if path is None:
            options["revision"] = model.revision or "main"
            return AutoTokenizer.from_pretrained(str(model.hub), **options), ""
        if is_adapter(path):
            return _tokenizer(str(model.base), matrix)
        if path.is_file():
            options["gguf_file"] = path.name
            path = path.parent
        return AutoTokenizer.from_pretrained(str(path), **options), ""
    except LockgateError:
        raise
    except Exception as error:  # the library raises a dozen kinds, on anything amiss in the files
        if model.hub:
            return None, f"{model.hub} is on the hub and not here"
        said = str(error).strip().splitlines() or [type(error).__name__]
        return None, f"its tokenizer does not load ({_cut(said[0], 100)})"


def _unrendered(name: str, form: Form, why: str, model: str) -> Check:
    """Without a tokenizer: the system prompts as texts."""
    if form.trained != form.evaluated:
        told = f"{form.trained_key} is {_quoted(form.trained)}, {form.evaluated_key} is "
        told += f"{_quoted(form.evaluated)}; token ids were not compared: {why}"
        fix = f"leave {form.evaluated_key} out, or give {form.trained_key} the same text"
        return name, False, told, fix
    fix = f"have its files here (models.{model}) and plan again, to compare token ids"
    return name, None, why, fix


def _refusal(
    tokenizer: Any, row: dict[str, Any], system_prompt: str | None, key: str
) -> tuple[str, str] | None:
    """What the template says against a row, and the fix; None where it renders it."""

    def error(system: str | None) -> str | None:
        try:
            tokenize_row(tokenizer, row, system)
        except Exception as raised:  # a template may raise what any expression raises
            return _cut(" ".join(str(raised).split()) or type(raised).__name__, 160)
        return None

    said = error(system_prompt)
    if said is None:
        return None
    if system_prompt and error(None) is None:
        told = f"the template refuses the system prompt of {key} ({said})"
        return told, f"leave {key} out, or put its text into data.rows.prompt"
    told = f"the chat template cannot render a row ({said})"
    return told, "mend the chat template in a copy of the model, named by models.*.path"


def _note(tokenizer: Any, system_prompt: str | None, ids: list[int]) -> str:
    """What a reader of equal ids should know besides."""
    if tokenizer.chat_template is None:
        began = ids[:1] == [tokenizer.bos_token_id]
        start = f", after {_quoted(tokenizer.bos_token)}" if began else ""
        return f"; no chat template: plain text{start}"
    extra = inserted(tokenizer) if system_prompt is None else ""
    return f"; template inserts: {_quoted(_cut(extra, 160))}" if extra else ""


def _shown(tokenizer: Any, system_prompt: str | None, day: datetime) -> list[int]:
    with on(day):
        return asked(tokenizer, _STAND_IN["prompt"], system_prompt)


def _undated(tokenizer: Any, model: str, system_prompt: str | None) -> str:
    """How to be rid of the date."""
    if system_prompt is None:
        try:
            early, late = (_shown(tokenizer, "Be brief.", day) for day in _DAYS)
        except Exception:
            early, late = [0], [1]
        if early == late:
            return "give training.system_prompt a text: the template then leaves the date out"
    return (
        f"in a copy of the model's directory (name it in models.{model}.path), write a fixed "
        "date in place of strftime_now(...) in chat_template.jinja or tokenizer_config.json"
    )


def _difference(
    tokenizer: Any,
    one: list[int],
    other: list[int],
    sides: tuple[str, str] | list[str] = ("trained on", "asked"),
) -> str:
    """The first token that differs, and both texts around it."""
    at = next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
    shown = []
    for side, ids in zip(sides, (one, other), strict=True):
        context = tokenizer.decode(ids[max(0, at - 6) : at])[-30:]
        shown.append(f"{side} {_quoted(_cut(context + tokenizer.decode(ids[at : at + 81]), 80))}")
    return f"first at token {at}: {', '.join(shown)}"


def _quoted(text: str | None) -> str:
    """A text in one line that Markdown leaves as it is."""
    return "none" if text is None else f"`{repr(text).replace('`', chr(39))}`"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"runs {', '.join(names[:3])}{more}"
