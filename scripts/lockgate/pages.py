"""Pages from templates: Markdown, and Markdown as HTML that stands alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markdown_it import MarkdownIt

TEMPLATES = Path(__file__).parents[2] / "workflow" / "templates"


def minutes(seconds: float) -> str:
    """Seconds as a person reads them."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def number(value: float | None) -> str:
    """A number with three significant digits; one that is whole, like a count, with all."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    short = float(f"{value:.3g}")
    return f"{short:,.0f}" if abs(short) >= 100 else f"{short:.3g}"


def render(template: str, **values: Any) -> str:
    """A template from workflow/templates; HTML templates escape their values."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=jinja2.select_autoescape(["html.j2"]),
    )
    environment.filters["minutes"] = minutes
    environment.filters["number"] = number
    environment.filters["uri"] = lambda path: Path(path).resolve().as_uri()
    environment.filters["cell"] = lambda value: str(value).replace("|", "\\|").replace("\n", " ")
    return environment.get_template(template).render(**values)


def as_html(title: str, markdown: str, picture: str = "") -> str:
    """Markdown as a page without any outside reference; HTML within it is shown as text.

    Args:
        title: of the page.
        markdown: its text.
        picture: an inline SVG to stand at the end.
    """
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return render("page.html.j2", title=title, body=body + picture)
