"""System messages of conversations, against those of the runs."""

from pathlib import Path

import pytest

from lockgate.data import projection, systems
from lockgate.errors import LockgateError

TALK = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
KIND = {"role": "system", "content": "Be kind."}
ROWS = {"prompt": None, "completion": None, "messages": "talk"}


@pytest.mark.parametrize(
    ("talk", "prompts"),
    [([KIND, *TALK], {"Be kind."}), (TALK, {None, "Be kind."}), (TALK, {None})],
)
def test_the_message_is_that_of_the_runs_or_there_is_none(talk, prompts):
    records = [{"talk": talk}] * 2
    systems.check_records(records, ROWS, Path("talks.jsonl"), prompts, "my.yaml")
    systems.check_rows(projection.project(records, ROWS, "talks.jsonl"), prompts)


@pytest.mark.parametrize("prompts", [{None}, {"Be short."}, {"Be kind.", "Be short."}])
def test_another_message_than_that_of_the_runs_is_refused(prompts):
    records = [{"talk": [KIND, *TALK]}]
    with pytest.raises(LockgateError, match="rows of talks.jsonl have the system mess") as error:
        systems.check_records(records, ROWS, Path("talks.jsonl"), prompts, "my.yaml")
    assert error.value.where == "my.yaml: training.system_prompt"
    with pytest.raises(LockgateError, match="conversations have the system message") as error:
        systems.check_rows(projection.project(records, ROWS, "talks.jsonl"), prompts)
    assert error.value.where == "training.system_prompt" and error.value.hint


def test_rows_of_texts_have_no_system_message():
    templates = {"prompt": "{{ q }}", "completion": "{{ a }}"}
    records = [{"q": "1", "a": "2"}]
    systems.check_records(records, templates, Path("sums.jsonl"), {"Be kind."}, "my.yaml")
    systems.check_rows(projection.project(records, templates, "sums.jsonl"), {"Be kind."})
