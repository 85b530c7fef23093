"""The artifact flow as Mermaid and as a picture: complete, safe, and nothing over anything."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.catalog.model import Step
from lockgate.stages.graph import mermaid, svg
from lockgate.stages.model import Source, Stage

NASTY = 'a"b<script>alert(1)</script>&amp; `x` 1. #35; ]|end'


def stage(name, inputs=(), outputs=("out",), inserted=False, step=""):
    """A stage; an input is an artifact's type and a stage's name, or `file:` and a path."""
    found = {}
    for kind, origin in inputs:
        if origin.startswith("file:"):
            found[kind] = Source(kind, origin.removeprefix("file:"))
        else:
            found[kind] = Source(kind, f"@results@/{origin}", stage=origin)
    return Stage(
        name=name,
        step=Step(id=step or f"do/{name}"),
        inserted=inserted,
        inputs=found,
        outputs={kind: f"@results@/stages/{name}/{kind}" for kind in outputs},
    )


LORA = [
    stage("tune", [("rows", "file:chat.jsonl"), ("hf", "file:maker/base")], ["adapter"]),
    stage("merge", [("adapter", "tune"), ("hf", "file:maker/base")], ["hf"], inserted=True),
    stage("convert", [("hf", "merge")], ["megatron"], inserted=True),
    stage("align", [("rows", "file:pairs.jsonl"), ("megatron", "convert")], ["megatron"]),
    stage("measure", [("megatron", "align")], ["scores"]),
]


def test_mermaid_has_every_box_and_every_arrow():
    lines = mermaid(LORA)
    assert lines[0] == "flowchart LR"
    assert mermaid(LORA) == lines
    boxes = {
        found[1]: (found[2], found[3])
        for line in lines
        if (found := re.fullmatch(r'  (n\d+)\(?\["(.*)"\]\)?:::(\w+)', line))
    }
    assert [kind for _, kind in boxes.values()] == [
        *("given", "given", "given"),
        *("stage", "inserted", "inserted", "stage", "stage", "output"),
    ]
    arrows = [re.fullmatch(r'  (n\d+) -->\|"(.*)"\| (n\d+)', line) for line in lines]
    told = [
        (boxes[one[1]][0].split("<br/>")[0], one[2], boxes[one[3]][0].split("<br/>")[0])
        for one in arrows
        if one
    ]
    assert sorted(told) == [
        ("align", "megatron", "measure"),
        ("chat.jsonl", "rows", "tune"),
        ("convert", "megatron", "align"),
        ("maker/base", "hf", "merge"),
        ("maker/base", "hf", "tune"),
        ("measure", "scores", "scores"),
        ("merge", "hf", "convert"),
        ("pairs.jsonl", "rows", "align"),
        ("tune", "adapter", "merge"),
    ]


def test_mermaid_labels_are_safe_whatever_a_file_is_called():
    lines = mermaid([stage("one", [(NASTY, f"file:{NASTY}\n```")], [NASTY], step="x/1. y")])
    for line in lines:
        assert "\n" not in line
        assert line.count('"') in (0, 2)
        inside = line.partition('"')[2].rpartition('"')[0].replace("<br/>", "")
        assert not re.search(r"[<>`|\[\](){}\\]|&", inside)
        assert "1. " not in inside
        # every # begins a code
        assert re.sub(r"#\d+;", "", inside).count("#") == 0


def shapes(text):
    """Boxes and labels as (left, top, right, bottom), and lines as lists of straight pieces."""
    root = ElementTree.fromstring(text)
    boxes, labels, lines = [], [], []
    for one in root.iter():
        if one.tag == "rect" and one.get("class") == "box":
            x, y = float(one.get("x")), float(one.get("y"))
            boxes.append((x, y, x + float(one.get("width")), y + float(one.get("height"))))
        if one.tag == "text":
            x, y, size = (float(one.get(key)) for key in ("x", "y", "font-size"))
            wide = 0.6 * size * len(one.text)
            (labels if one.get("class") == "label" else lines).append(
                (x, y - 0.8 * size, x + wide, y + 0.2 * size)
            )
    texts, lines = lines, []
    for path in root.iter("path"):
        if path.get("fill") == "none":
            lines += pieces(path.get("d"))
    return root, boxes, labels, texts, lines


def pieces(path):
    """Rectangles around the parts of a line (of a bend: around all of it)."""
    x = y = 0.0
    for command, numbers in re.findall(r"([MHVC])([^MHVC]*)", path):
        values = [float(value) for value in re.split(r"[ ,]+", numbers.strip())]
        to = {"M": values[:2], "H": [values[0], y], "V": [x, values[0]], "C": values[-2:]}[command]
        if command != "M":
            yield min(x, to[0]), min(y, to[1]), max(x, to[0]), max(y, to[1])
        x, y = to


def overlap(one, other, slack=0.5):
    return (
        one[0] < other[2] - slack
        and other[0] < one[2] - slack
        and one[1] < other[3] - slack
        and other[1] < one[3] - slack
    )


def check(stages):
    """Nothing lies over anything else, and nothing over the edge."""
    root, boxes, labels, texts, lines = shapes(svg(stages))
    _, _, width, height = map(float, root.get("viewBox").split())
    for left, top, right, bottom in [*boxes, *labels, *texts, *lines]:
        assert left >= 0 and top >= 0 and right <= width and bottom <= height
    for one, other in itertools.combinations([*boxes, *labels], 2):
        assert not overlap(one, other)
    for text in texts:
        assert any(
            box[0] <= text[0] and text[2] <= box[2] and box[1] <= text[1] and text[3] <= box[3]
            for box in boxes
        )
    for line, box in itertools.product(lines, boxes):
        flat = (line[0], line[1] - 1, line[2], line[3] + 1)
        assert not overlap(flat, box)
    return root, boxes, labels


def test_the_picture_has_every_box_and_one_label_an_artifact():
    root, boxes, labels = check(LORA)
    assert len(boxes) == 9
    assert len(labels) == 8
    texts = {one.text for one in root.iter("text")}
    assert {"tune", "do/merge", "chat.jsonl", "maker/base", "adapter", "scores"} <= texts
    dashed = [one for one in root.iter("rect") if one.get("stroke-dasharray")]
    assert len(dashed) == 2
    assert svg(LORA) == svg(LORA)


def test_the_picture_needs_nothing_from_outside_and_runs_nothing():
    text = svg([stage(NASTY, [("rows", f"file:{NASTY}")], step=NASTY), *LORA])
    assert "http" not in text
    assert "@import" not in text and "href" not in text and "url(" not in text
    tags = {one.tag for one in ElementTree.fromstring(text).iter()}
    assert tags == {"svg", "title", "rect", "path", "text", "g"}


def test_a_name_that_xml_cannot_hold_is_drawn_all_the_same():
    check([stage("one", [("rows", "file:a\x00b\x1b[31m\ud800\uffff.jsonl")])])


def test_a_long_chain_goes_on_in_bands_below():
    names = [f"step-{number}" for number in range(10)]
    stages = [
        stage(name, [("rows", f"file:{name}.jsonl"), ("artifact", before)] if before else [])
        for before, name in zip([None, *names], names, strict=False)
    ]
    root, boxes, _ = check(stages)
    assert float(root.get("width")) < 1500
    assert len({box[1] for box in boxes}) > 3


def test_one_stage_without_inputs_and_no_stage_at_all():
    _, boxes, labels = check([stage("measure")])
    assert (len(boxes), len(labels)) == (2, 1)
    assert svg([]) == ""
    assert mermaid([]) == ["flowchart LR"]


def test_wide_letters_get_the_room_they_take():
    _, plain, _ = check([stage("data")])
    _, wide, _ = check([stage("数据处理", step="x")])
    assert wide[0][2] - wide[0][0] > 4 * 2 * 0.6 * 13
    assert plain[0][0] == wide[0][0]


def test_what_the_user_gives_twice_is_drawn_once_and_lines_pass_by_the_boxes():
    root, boxes, _ = check(LORA)
    texts = [one.text for one in root.iter("text")]
    assert texts.count("maker/base") == 1


@st.composite
def chains(draw):
    names = [f"stage-{number}-{'x' * draw(st.integers(0, 30))}" for number in range(10)]
    kinds = ["a", "rows_of_data", "translated_mcq_benchmark_parquet"]
    some = st.lists(st.sampled_from(kinds), max_size=3, unique=True)
    stages = []
    for name in names[: draw(st.integers(1, 10))]:
        inputs = []
        for kind in draw(some):
            makers = [one.name for one in stages if kind in one.outputs]
            own = st.sampled_from([f"file:{kind}/{'y' * 20}", f"file:{name}.jsonl"])
            origin = draw(st.one_of(st.sampled_from(makers), own) if makers else own)
            inputs.append((kind, origin))
        stages.append(stage(name, inputs, draw(some), draw(st.booleans())))
    return stages


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(chains())
def test_nothing_lies_over_anything_else_in_any_chain(stages):
    check(stages)
    arrows = [line for line in mermaid(stages) if "-->" in line]
    taken = {
        (one.name, source.type, source.path) for one in stages for source in one.inputs.values()
    }
    assert len(arrows) >= len(taken)
