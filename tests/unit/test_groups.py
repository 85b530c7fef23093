"""Scores by group: what a part holds, how it is compared, and which fields there are."""

import pytest

from lockgate import comparison, groups
from lockgate.errors import LockgateError


def given(control, tuned, fields, tasks=("exact",), **more):
    """A plan grouped by `team`, its results, and the rows; scores by sample in order."""
    runs = [
        {"name": name, "kind": kind, "model": "m", "seed": None, "varied": {}, "parameters": {}}
        for name, kind in (("control", "control"), ("run", "fine-tuned"))
    ]
    epochs = {"control": None, "run": 0}
    plan = {
        "runs": runs,
        "cells": [{"run": r, "task": t, "epoch": e} for r, e in epochs.items() for t in tasks],
        "tasks": [{"name": task, "split": "test"} for task in tasks],
        "config_source": "my.yaml",
        "groups": ["team"],
        **more,
    }
    scores = {
        name: {
            "cells": [
                {
                    "task": task, "epoch": epochs[name], "metric": "exact", "seconds": 1.0,
                    "samples": [{"id": str(n), "score": float(s)} for n, s in enumerate(values)],
                }
                for task in tasks
            ]
        }
        for name, values in (("control", control), ("run", tuned))
    }  # fmt: skip
    rows = {("test", str(n)): {"fields": own} for n, own in enumerate(fields)}
    return plan, comparison.compare(plan, scores), rows


def teams(*names):
    return [{} if name is None else {"team": name} for name in names]


def test_a_group_is_compared_with_the_control_on_its_own_samples():
    fields = teams(*["a"] * 12, *["b"] * 8)
    (found,) = groups.split(*given([0] * 20, [1] * 9 + [0] * 3 + [0] * 8, fields))
    told = [(p.value, p.result.run["name"], p.n, p.score) for p in found.parts]
    assert told == [
        ("a", "control", 12, 0), ("a", "run", 12, 0.75),
        ("b", "control", 8, 0), ("b", "run", 8, 0),
    ]  # fmt: skip
    _, a, _, b = found.parts
    assert (a.difference.n, a.difference.difference) == (12, 0.75)
    assert a.difference.p_value == pytest.approx(2 / 2**9)
    assert a.low < 0.75 < a.high and a.method == "Wilson"
    assert (b.difference.difference, b.difference.p_value) == (0, 1)


def test_holm_counts_all_groups_of_a_field():
    fields = teams(*["a"] * 10, *["b"] * 10, *["c"] * 10)
    (found,) = groups.split(*given([0] * 30, [1] * 10 + [0] * 20, fields))
    corrected = [part.p_holm for part in found.parts if part.difference]
    assert corrected == pytest.approx([3 * 2 / 2**10, 1, 1])


def test_values_come_in_order_and_their_absence_last():
    (found,) = groups.split(*given([0] * 5, [1] * 5, teams(10, 9, None, 100, 9)))
    assert list(dict.fromkeys(part.value for part in found.parts)) == [
        "9", "10", "100", groups.NONE,
    ]  # fmt: skip
    (found,) = groups.split(*given([0] * 4, [1] * 4, teams("b", True, ["x"], "a")))
    assert list(dict.fromkeys(p.value for p in found.parts)) == ['["x"]', "a", "b", "true"]


def test_only_the_most_frequent_of_many_values_are_kept():
    names = [f"v{n:02d}" for n in range(groups.MOST + 5)]
    (found,) = groups.split(*given([0] * 27, [1] * 27, teams(*names, "v24", "v24")))
    assert found.values == groups.MOST + 5
    values = list(dict.fromkeys(part.value for part in found.parts))
    assert len(values) == groups.MOST and "v24" in values and values == sorted(values)


def test_samples_that_are_no_rows_are_not_split():
    plan, results, rows = given([0] * 4, [1] * 4, teams("a", "b", "a", "b"))
    strange = {(split, f"other-{key}"): row for (split, key), row in rows.items()}
    (found,) = groups.split(plan, results, strange)
    assert (found.parts, found.unknown) == ([], ["exact"])


def test_each_task_is_split_on_its_own():
    plan = given([0] * 4, [1] * 4, teams("a", "b", "a", "b"), tasks=("exact", "f1"))
    (found,) = groups.split(*plan)
    assert [part.result.task for part in found.parts] == ["exact"] * 4 + ["f1"] * 4


@pytest.mark.parametrize(
    ("name", "hint"), [("taem", "did you mean 'team'?"), ("zzz", "rows have: team")]
)
def test_a_field_that_no_row_has_is_named(name, hint):
    plan, results, rows = given([0], [1], teams("a"), groups=["team", name])
    with pytest.raises(LockgateError) as error:
        groups.split(plan, results, rows)
    assert error.value.what == f"no row has the field '{name}'"
    assert error.value.where == "my.yaml: evaluation.groups[1]"
    assert error.value.hint == hint


def test_a_field_is_split_by_once():
    assert len(groups.split(*given([0], [1], teams("a"), groups=["team", "team"]))) == 1


def test_without_groups_nothing_is_split():
    assert groups.split(*given([0], [1], teams("a"), groups=[])) == []


def test_the_page_shows_the_best_of_many_runs():
    plan, results, rows = given([0] * 4, [1] * 4, teams("a", "b", "a", "b"))
    (found,) = groups.split(plan, results, rows)
    assert groups.shown(found.parts) == found.parts
    control, good = results
    weak = comparison.Result({**good.run, "name": "weak"}, "exact", 0, score=0.5, control=control)
    part = found.parts[1]
    many = [
        *found.parts[:2],
        *(groups.Part(weak, "team", "a", 2, 0.5, 0, 1, "") for _ in range(groups.LONGEST)),
    ]
    assert groups.shown(many) == [found.parts[0], part]


def test_groups_change_no_document_and_no_approval(project):
    before, after = project.read(), project.read(evaluation__groups=["a"])
    assert after.documents == before.documents
    assert after.items == before.items
    assert after.fingerprint != before.fingerprint, "the plan is written again"
