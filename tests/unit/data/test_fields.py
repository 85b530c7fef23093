"""Fields that the configuration names are those that a design's records will have."""

import pytest

from lockgate.data import fields
from lockgate.errors import LockgateError
from lockgate.tools import Column

COLUMNS = [
    Column("topic", "sampled"),
    Column("pair", "structured"),
    Column("mark", "judge", scores={"clear": "clear.score"}),
]
ACCEPT = {"valid": True, "complete": True, "scores": {}, "when": None, "most": 3}
ROWS = {"prompt": "{{ topic }}", "completion": "{{ pair.answer }}"}


def section(accept=(), **changes):
    return {
        "rows": ROWS,
        "axes": None,
        "group": None,
        "accept": {**ACCEPT, **dict(accept)},
        **changes,
    }


@pytest.mark.parametrize(
    "data",
    [
        section(),
        section(axes=["topic", "pair.kind"], group="topic"),
        section(rows={"messages": "pair.chat"}),
        section(rows={"prompt": "{% for i in range(3) %}{{ i }}{% endfor %}", "completion": "x"}),
        section(accept={"scores": {"mark.clear": 2}, "when": "pair.answer | length > topic | int"}),
    ],
)
def test_fields_that_columns_give_are_taken(data):
    fields.check(data, COLUMNS)


@pytest.mark.parametrize(
    ("data", "key", "hint"),
    [
        (section(rows={**ROWS, "prompt": "{{ topics }}"}), "rows.prompt", "'topic'"),
        (section(rows={"messages": "chat"}), "rows.messages", "topic, pair, mark"),
        (section(axes=["topic", "topik"]), "axes[1]", "'topic'"),
        (section(group="document"), "group", "topic, pair, mark"),
        (section(accept={"when": "pear.answer"}), "accept.when", "'pair'"),
        (section(accept={"when": "pair >"}), "accept.when", "no braces"),
        (section(accept={"scores": {"mark.cler": 2}}), "accept.scores", "'mark.clear'"),
    ],
)
def test_another_field_is_refused_with_its_key(data, key, hint):
    with pytest.raises(LockgateError) as error:
        fields.check(data, COLUMNS)
    assert error.value.where == f"data.{key}"
    assert hint in error.value.hint
