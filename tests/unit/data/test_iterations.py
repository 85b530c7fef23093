"""Previews that are kept one by one, and what changed between two."""

import shutil

import pytest

from lockgate.data import iterations
from lockgate.files import write_json, write_yaml


def review(item="data/data:1", accepted=4, words=10.0, **more):
    figures = {
        "records": 8,
        "accepted": accepted,
        "axes": [{"name": "kind", "distance": 0.1}, {"name": "free", "distance": None}],
        "validators": [{"column": "check", "rate": 0.5}],
        "judges": [{"column": "quality", "score": "depth", "mean": 3.0}],
        "columns": [
            {"name": "text", "kind": "text", "words": {"mean": words}, "distinct_2": 0.9},
            {"name": "kind", "kind": "empty"},
        ],
        "rows": {"count": accepted, "near_duplicates": {"rows": 2, "groups": 1}},
        **more,
    }
    return {"item": item, "figures": figures, "estimate": {"seconds_per_record": 0.5}}


def keep(root, item, **document):
    """One more preview; its name and the one before it."""
    name, previous = iterations.place(root, item)
    with iterations.kept(root, name) as folder:
        write_json(folder / iterations.REVIEW, review(item))
        write_yaml(folder / iterations.DOCUMENT, document)
    return name, previous and previous.name


def names(root):
    return sorted(path.name for path in root.iterdir())


def test_each_preview_is_kept_and_the_same_one_takes_its_own_place(tmp_path):
    assert keep(tmp_path, "a") == ("001", None)
    assert keep(tmp_path, "b") == ("002", "001")
    assert keep(tmp_path, "b", seed=1) == ("002", "001")
    assert keep(tmp_path, "a") == ("003", "002")
    assert names(tmp_path) == ["001", "002", "003"]
    assert "seed" in (tmp_path / "002" / iterations.DOCUMENT).read_text()


def test_the_thousandth_is_the_last_one(tmp_path):
    (tmp_path / "999").mkdir()
    write_json(tmp_path / "999" / iterations.REVIEW, review("a"))
    assert keep(tmp_path, "b") == ("1000", "999")
    assert keep(tmp_path, "c") == ("1001", "1000")


def test_a_copy_under_another_name_is_left_alone(tmp_path):
    keep(tmp_path, "a")
    shutil.copytree(tmp_path / "001", tmp_path / "001-good")
    assert keep(tmp_path, "b") == ("002", "001")
    assert names(tmp_path) == ["001", "001-good", "002"]


def test_one_that_fails_leaves_what_was_there(tmp_path):
    keep(tmp_path, "a", seed=1)
    name, _ = iterations.place(tmp_path, "a")
    with pytest.raises(RuntimeError), iterations.kept(tmp_path, name) as folder:
        (folder / "half").write_text("")
        raise RuntimeError
    assert names(tmp_path) == ["001"] and not (tmp_path / "001/half").exists()


@pytest.mark.parametrize("renamed", [True, False])
def test_what_a_killed_call_left_is_put_right(tmp_path, renamed):
    keep(tmp_path, "a", seed=1)
    (tmp_path / "001").rename(tmp_path / ".001.old")
    (tmp_path / (".001.99.new" if not renamed else "001")).mkdir()
    if renamed:
        write_json(tmp_path / "001" / iterations.REVIEW, review("a"))
    assert iterations.place(tmp_path, "a") == ("001", None)
    assert names(tmp_path) == ["001"]
    assert (tmp_path / "001" / iterations.DOCUMENT).exists() != renamed


def test_a_bound_of_the_time_is_no_figure_to_compare():
    told = review()
    assert "seconds a record" in iterations.headline(told)
    told["estimate"]["at_most"] = True
    assert "seconds a record" not in iterations.headline(told)


def kept(tmp_path, document, told):
    folder = tmp_path / "001"
    write_yaml(folder / iterations.DOCUMENT, document)
    write_json(folder / iterations.REVIEW, told)
    return folder


def test_the_first_one_differs_from_nothing():
    assert iterations.difference(None, {}, review()) is None


def test_changed_keys_are_named_by_their_path(tmp_path):
    def document(prompt, **more):
        columns = [{"name": "kind", "params": {"values": ["a", "b"]}}, {"name": "text", **prompt}]
        return {"seed": 1, "accept": {"scores": {}}, "design": {"columns": columns}, **more}

    before = document({"prompt": "Ask."}, design_sha256="1", group=None)
    after = document({"prompt": "Ask twice."}, design_sha256="2", group="kind")
    after["design"]["columns"].insert(0, {"name": "new", "params": {"values": [1]}})
    found = iterations.difference(kept(tmp_path, before, review()), after, review())
    assert found == {
        "name": "001",
        "keys": [
            {"name": "design.columns.text.prompt", "before": "Ask.", "after": "Ask twice."},
            {"name": "group", "before": None, "after": "kind"},
            {"name": "design.columns.new.name", "before": None, "after": "new"},
            {"name": "design.columns.new.params.values", "before": None, "after": "[1]"},
        ],
        "figures": [],
    }


def test_a_changed_script_is_told_by_its_digest(tmp_path):
    folder = kept(tmp_path, {"script": "d.py", "design_sha256": "1"}, review())
    found = iterations.difference(folder, {"script": "d.py", "design_sha256": "2"}, review())
    assert found["keys"] == [{"name": "design_sha256", "before": "1", "after": "2"}]


def test_members_without_names_go_by_their_place(tmp_path):
    folder = kept(tmp_path, {"a": [{"x": 1}, {"x": 2}]}, review())
    found = iterations.difference(folder, {"a": [{"x": 1}, {"x": 3}]}, review())
    assert found["keys"] == [{"name": "a.1.x", "before": "2", "after": "3"}]


def test_long_texts_are_shown_from_where_they_differ(tmp_path):
    start = "same " * 100
    folder = kept(tmp_path, {"prompt": start + "old" + " more" * 100}, review())
    found = iterations.difference(folder, {"prompt": start + "new"}, review())
    (change,) = found["keys"]
    assert change["before"].startswith("…") and change["before"].endswith("…")
    assert "same old more" in change["before"] and change["after"].endswith("same new")
    assert len(change["before"]) <= 202


def test_changed_figures_are_those_that_matter(tmp_path):
    folder = kept(tmp_path, {}, review())
    after = review(accepted=6, words=12.0, axes=[{"name": "kind", "distance": 0.05}], judges=[])
    found = iterations.difference(folder, {}, after)
    assert found["figures"] == [
        {"name": "accepted share", "before": 0.5, "after": 0.75},
        {"name": "kind: distance from what was asked", "before": 0.1, "after": 0.05},
        {"name": "quality.depth: mean score", "before": 3.0, "after": None},
        {"name": "text: mean words", "before": 10.0, "after": 12.0},
    ]
