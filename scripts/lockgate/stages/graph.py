"""The artifact flow of a chain: as Mermaid text, and as a picture that needs nothing else.

The picture is drawn in columns from left to right, each stage one column after what feeds it. An
arrow that passes a column has a row of its own there, so that no line crosses a box. Where the
columns are too wide for a page they go on in a band below.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lockgate.stages.model import RESULTS, Stage

PAGE = 1160  # pixels; columns beyond it go into the next band
_LINE, _PAD, _PORT, _ROW_GAP, _MARGIN = 18, 12, 18, 16, 16
_CELL = 0.61  # width of a monospaced character, in font sizes
_BEND, _LANE = 44, 9  # room for the bends between two columns, and between two turning lines
_LABEL = 11  # font size of what stands on arrows

_STYLES = {
    "given": 'rx="12" fill="#eeeeee" stroke="#777777"',
    "stage": 'rx="3" fill="#dbeafe" stroke="#1d4ed8"',
    "inserted": 'rx="3" fill="#f3f8ff" stroke="#1d4ed8" stroke-dasharray="6 4"',
    "output": 'rx="12" fill="#dcfce7" stroke="#15803d"',
}
_CLASSES = {
    "given": "fill:#eee,stroke:#777,color:#111",
    "stage": "fill:#dbeafe,stroke:#1d4ed8,color:#111",
    "inserted": "fill:#f3f8ff,stroke:#1d4ed8,color:#111,stroke-dasharray:6 4",
    "output": "fill:#dcfce7,stroke:#15803d,color:#111",
}


@dataclass(eq=False)
class _Node:
    """A box: its lines of text (the first is bold), and where it stands once it is laid out."""

    kind: str
    lines: list[str]
    title: str
    column: int = 0
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0


@dataclass(eq=False)
class _Net:
    """One artifact of one box, on its way to everybody who takes it."""

    source: _Node
    label: str
    targets: list[_Node] = field(default_factory=list)
    rows: dict[int, float] = field(default_factory=dict)  # its height in each column that it passes


def mermaid(stages: Sequence[Stage]) -> list[str]:
    """Lines of a Mermaid flowchart, the first of which names the kind of diagram."""
    nodes, nets = _flow(stages)
    names = {node: f"n{number}" for number, node in enumerate(nodes)}
    lines = ["flowchart LR"]
    for node in nodes:
        text = "<br/>".join(_quoted(line) for line in node.lines)
        left, right = ("[", "]") if node.kind in ("stage", "inserted") else ("([", "])")
        lines.append(f'  {names[node]}{left}"{text}"{right}:::{node.kind}')
    for net in nets:
        for target in net.targets:
            label = _quoted(net.label)
            lines.append(f'  {names[net.source]} -->|"{label}"| {names[target]}')
    used = {node.kind for node in nodes}
    return lines + [
        f"  classDef {kind} {style}" for kind, style in _CLASSES.items() if kind in used
    ]


def svg(stages: Sequence[Stage]) -> str:
    """The picture as an SVG element for a page; empty where there are no stages."""
    if not stages:
        return ""
    nodes, nets = _flow(stages)
    drawing = _Drawing(nodes, nets)
    return drawing.text(f"Artifact flow of {len(stages)} stages")


def _flow(stages: Sequence[Stage]) -> tuple[list[_Node], list[_Net]]:
    """Boxes and arrows: what the user brings, the stages, and what nobody takes any further."""
    boxes: dict[str, _Node] = {}
    for stage in stages:
        kind = "inserted" if stage.inserted else "stage"
        lines = [stage.name, stage.step.id, *(["inserted"] if stage.inserted else [])]
        boxes[stage.name] = _Node(kind, [_short(line) for line in lines], stage.why or stage.name)
    given: dict[tuple[str, str | None], _Node] = {}
    nets: dict[tuple[_Node, str], _Net] = {}
    for stage in stages:
        for source in stage.inputs.values():
            if source.stage is not None:
                origin = boxes[source.stage]
            else:
                below = f"model {source.model}" if source.model else "given"
                made = _Node("given", [_short(source.path), _short(below)], source.path)
                origin = given.setdefault((source.path, source.model), made)
            net = nets.setdefault((origin, source.type), _Net(origin, source.type))
            if boxes[stage.name] not in net.targets:
                net.targets.append(boxes[stage.name])
    last = []
    for stage in stages:
        for kind, path in stage.outputs.items():
            if (boxes[stage.name], kind) not in nets:
                shown = path.replace(RESULTS, "results")
                last.append(_Node("output", [_short(kind), _short(shown)], shown))
                nets[boxes[stage.name], kind] = _Net(boxes[stage.name], kind, [last[-1]])
    return [*given.values(), *boxes.values(), *last], list(nets.values())


class _Drawing:
    """Places the boxes, then writes them and the arrows between them."""

    def __init__(self, nodes: list[_Node], nets: list[_Net]) -> None:
        self.nodes, self.nets = nodes, nets
        self._columns()
        self.count = max(node.column for node in nodes) + 1
        self.outgoing: dict[_Node, list[_Net]] = {node: [] for node in nodes}
        self.incoming: dict[_Node, list[_Net]] = {node: [] for node in nodes}
        for net in nets:
            self.outgoing[net.source].append(net)
            for target in net.targets:
                self.incoming[target].append(net)
        self.widths = [
            max(self._width(node) for node in nodes if node.column == column)
            for column in range(self.count)
        ]
        self.labels = [
            max((_cells(net.label) for net in nets if net.source.column == column), default=0)
            * _CELL
            * _LABEL
            + 12
            for column in range(self.count)
        ]
        self._place()

    def _columns(self) -> None:
        """Stages come in order, so what feeds one already has its column."""
        feeds: dict[_Node, list[_Node]] = {}
        for net in self.nets:
            for target in net.targets:
                feeds.setdefault(target, []).append(net.source)
        for node in self.nodes:
            if node.kind != "given":
                node.column = 1 + max((one.column for one in feeds.get(node, [])), default=0)
        for node in self.nodes:
            if node.kind == "given":
                taken = [net.targets for net in self.nets if net.source is node]
                node.column = min(target.column for targets in taken for target in targets) - 1
        first = min(node.column for node in self.nodes)
        for node in self.nodes:
            node.column -= first

    @staticmethod
    def _width(node: _Node) -> float:
        bold, *others = node.lines
        text = max([_cells(bold) * 13, *(_cells(line) * _LABEL for line in others)])
        return text * _CELL + 2 * _PAD

    def _passing(self, column: int) -> list[_Net]:
        """Arrows that go on beyond a column that they do not start in."""
        return [
            net
            for net in self.nets
            if net.source.column < column < max(target.column for target in net.targets)
        ]

    def _turning(self, column: int) -> list[_Net]:
        """Arrows that cross the gap behind a column."""
        return [
            net
            for net in self.nets
            if net.source.column <= column < max(target.column for target in net.targets)
        ]

    def _place(self) -> None:
        """Give every box its place, and every passing arrow its row."""
        bands: list[list[int]] = [[]]
        right = 0.0
        for column in range(self.count):
            wide = self.widths[column] + self.labels[column] + _BEND
            if bands[-1] and right + self.widths[column] > PAGE:
                bands.append([])
                right = 0.0
            bands[-1].append(column)
            right += wide
        self.ends = [band[-1] for band in bands[:-1]]
        lanes = max((len(self._turning(column)) for column in self.ends), default=0)
        left = _MARGIN + lanes * _LANE + (_BEND / 2 if lanes else 0)
        self.left, self.gutters = left, dict[int, float]()
        self.width, top = 0.0, float(_MARGIN)
        for band in bands:
            x, bottom = left, top
            for column in band:
                bottom = max(bottom, self._stack(column, x, top))
                x += self.widths[column] + self.labels[column] + _BEND
            last = band[-1]
            turning = len(self._turning(last)) if last in self.ends else 0
            reach = self.labels[last] + turning * _LANE if turning else 0
            right = x - self.labels[last] - _BEND + reach
            self.width = max(self.width, right + _MARGIN)
            self.gutters[last] = bottom + _ROW_GAP
            top = bottom + 2 * _ROW_GAP + turning * _LANE
            self.height = bottom + _MARGIN

    def _stack(self, column: int, x: float, top: float) -> float:
        """Place one column; where it ends."""
        nodes = [node for node in self.nodes if node.column == column]
        for node in [node for node in nodes if node.kind != "given"]:
            top = self._box(node, x, top)
        for net in self._passing(column):
            net.rows[column] = top + _PORT / 2
            top += _PORT + _ROW_GAP / 2
        for node in [node for node in nodes if node.kind == "given"]:
            top = self._box(node, x, top)
        return top - _ROW_GAP

    def _box(self, node: _Node, x: float, top: float) -> float:
        ports = max(len(self.outgoing[node]), len(self.incoming[node]))
        node.x, node.y, node.width = x, top, self.widths[node.column]
        node.height = max(len(node.lines) * _LINE + _PAD, (ports + 1) * _PORT)
        for number, net in enumerate(self.outgoing[node], 1):
            net.rows[node.column] = top + node.height * number / (len(self.outgoing[node]) + 1)
        return top + node.height + _ROW_GAP

    def text(self, title: str) -> str:
        """The whole element."""
        size = f"{self.width:.0f}", f"{self.height:.0f}"
        parts = [
            f'<svg role="img" width="{size[0]}" height="{size[1]}" '
            f'viewBox="0 0 {size[0]} {size[1]}" style="max-width:100%;height:auto" '
            "font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\">",
            f"<title>{_text(title)}</title>",
            f'<rect class="page" width="{size[0]}" height="{size[1]}" fill="#ffffff"/>',
        ]
        lanes = {end: iter(range(len(self.nets))) for end in self.ends}
        for net in self.nets:
            parts += self._arrows(net, lanes)
        parts += [line for node in self.nodes for line in self._picture(node)]
        return "\n".join([*parts, "</svg>"])

    def _arrows(self, net: _Net, lanes: dict[int, Iterator[int]]) -> list[str]:
        """The line of one artifact: its label, then column by column to whoever takes it."""
        first, last = net.source.column, max(target.column for target in net.targets)
        start = net.source.x + net.source.width
        parts = [
            f'<text class="label" x="{start + 5:.1f}" y="{net.rows[first] - 4:.1f}" '
            f'font-size="{_LABEL}" fill="#333333">{_text(net.label)}</text>'
        ]
        for column in range(first, last):
            y, x = net.rows[column], self._x(column)
            edge = x + self.widths[column]
            bend = edge + self.labels[column]
            if column > first:
                parts.append(_line(f"M{x:.1f},{y:.1f} H{edge:.1f}"))
            lane = next(lanes[column]) if column in lanes else None
            ends = [
                (self._entry(target, net), True)
                for target in net.targets
                if target.column == column + 1
            ]
            if column + 1 < last:
                ends.append((net.rows[column + 1], False))
            for into, arrives in ends:
                parts += self._segment(edge, bend, y, column, into, arrives, lane)
        return parts

    def _segment(
        self,
        edge: float,
        bend: float,
        y: float,
        column: int,
        into: float,
        arrives: bool,
        lane: int | None,
    ) -> list[str]:
        """One line over the gap behind a column; behind a band's last one, around to the next."""
        x = self._x(column + 1)
        tip = x - 7 if arrives else x
        if lane is None:
            middle = (bend + tip) / 2
            curve = f"C{middle:.1f},{y:.1f} {middle:.1f},{into:.1f} {tip:.1f},{into:.1f}"
            path = f"M{edge:.1f},{y:.1f} H{bend:.1f} {curve}"
        else:
            side, back = bend + lane * _LANE, self.left - _BEND / 2 - lane * _LANE
            level = self.gutters[column] + lane * _LANE
            path = (
                f"M{edge:.1f},{y:.1f} H{side:.1f} V{level:.1f} H{back:.1f} V{into:.1f} H{tip:.1f}"
            )
        head = f'<path d="M{x:.1f},{into:.1f} l-8,-4 v8 z" fill="#555555"/>'
        return [_line(path), *([head] if arrives else [])]

    def _x(self, column: int) -> float:
        return next(node.x for node in self.nodes if node.column == column)

    def _entry(self, node: _Node, net: _Net) -> float:
        """Where a line comes in: the highest first, so that few lines cross."""
        lines = sorted(self.incoming[node], key=lambda one: one.rows[node.column - 1])
        return node.y + node.height * (lines.index(net) + 1) / (len(lines) + 1)

    def _picture(self, node: _Node) -> list[str]:
        parts = [
            f'<g><title>{_text(node.title)}</title><rect class="box" x="{node.x:.1f}" '
            f'y="{node.y:.1f}" width="{node.width:.1f}" height="{node.height:.1f}" '
            f"{_STYLES[node.kind]}/>"
        ]
        top = node.y + (node.height - len(node.lines) * _LINE) / 2 + 13
        for number, line in enumerate(node.lines):
            look = f'font-size="{_LABEL}"' if number else 'font-size="13" font-weight="bold"'
            parts.append(
                f'<text x="{node.x + _PAD:.1f}" y="{top + number * _LINE:.1f}" {look} '
                f'fill="#111111">{_text(line)}</text>'
            )
        return [*parts, "</g>"]


def _line(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="#555555" stroke-width="1.3"/>'


def _short(text: str, most: int = 34) -> str:
    """A text that fits a box: of a long one the beginning and, above all, the end."""
    if _cells(text) <= most:
        return text
    start, end = text[: most // 3], text
    while end and _cells(start) + 1 + _cells(end) > most:
        end = end[1:]
    return f"{start}…{end}"


def _cells(text: str) -> int:
    """Width in characters of a monospaced font; East Asian ones count twice."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _text(text: str) -> str:
    """Text for XML, which has no control characters."""
    return html.escape(re.sub(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]", "?", text))


def _quoted(text: str) -> str:
    """Text for a quoted Mermaid label: all that could mean something there is written as a code."""
    plain = re.sub(r"[\x00-\x1f\x7f]", " ", text)
    return re.sub(
        r"[^\w ./:@,=+…-]|[.+-](?= )", lambda found: f"#{ord(found[0])};", plain, flags=re.UNICODE
    )
