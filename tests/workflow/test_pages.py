"""The pages that people approve, in a real browser, before and after an edit of the design."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from project import Project, Result

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium")
DESIGN = {
    "columns": [
        {
            "name": "fruit",
            "column_type": "sampler",
            "sampler_type": "category",
            "params": {
                "values": ["fig", "kiwi", "apple <b>&amp;</b>", "梨"],
                "weights": [5, 3, 1, 1],
            },
        },
        {
            "name": "count",
            "column_type": "sampler",
            "sampler_type": "uniform",
            "params": {"low": 1, "high": 900},
            "convert_to": "int",
        },
    ]
}


@dataclass
class Look:
    """What share of a page is not of its commonest colour, what the browser says about it, and
    what it asks for elsewhere."""

    drawn: float
    console: list[str]
    requests: list[str]


def look(page: Path, folder: Path) -> Look:
    """Open a page in a browser of its own, without a network."""
    assert CHROMIUM, "chromium is not installed (Debian: apt-get install chromium)"
    folder.mkdir()
    picture, log = folder / "page.png", folder / "net.json"
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}",
            "--enable-logging=stderr", "--v=0", f"--log-net-log={log}", "--window-size=1280,3000",
            "--hide-scrollbars", f"--screenshot={picture}", page.resolve().as_uri(),
        ],
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert picture.exists(), done.stderr
    pixels = Image.open(picture).convert("RGB").getcolors(1 << 24) or []
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    own = (None, "not an origin")  # the browser's own requests
    return Look(
        1 - max(count for count, _ in pixels) / sum(count for count, _ in pixels),
        re.findall(r":CONSOLE[^\]]*\] (.*)", done.stderr),
        [event["url"] for event in events if "url" in event and event.get("initiator") not in own],
    )


def designed(config: dict[str, Any]) -> None:
    del config["data"]["files"]
    config["data"] |= {
        "tool": "data_designer",
        "records": 40,
        "preview_records": 6,
        "design": DESIGN,
        "accept": {"when": "count > 300", "most": 5},
        "rows": {"prompt": "What is {{ count }} of {{ fruit }}?", "completion": "{{ fruit }}"},
    }


def other_weights(config: dict[str, Any]) -> None:
    config["data"]["design"]["columns"][0]["params"]["weights"] = [1, 1, 4, 4]


def previewed(project: Project) -> Result:
    """Run to the gate `preview`, over the gate `plan`."""
    result = project.run()
    assert (result.status, result.closed) == (0, "plan"), result.output
    project.approve("plan")
    result = project.run()
    assert (result.status, result.closed) == (0, "preview"), result.output
    return result


@pytest.fixture(scope="module")
def project(tiny_new: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a design that was previewed once."""
    project = tiny_new.copy(tmp_path_factory.mktemp("pages") / "project")
    project.edit(designed)
    previewed(project)
    return project


@pytest.fixture(scope="module")
def edited(project: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Result]:
    """The same, approved, then previewed again with an edited design; the last call's result."""
    project = project.copy(tmp_path_factory.mktemp("edited") / "project")
    project.approve("preview")
    project.edit(other_weights)
    return project, previewed(project)


def review(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.results / "preview/data/review.json").read_text())
    return found


def test_an_edited_design_is_previewed_again_and_closes_the_gate(
    edited: tuple[Project, Result],
) -> None:
    project, result = edited
    shapes = {job for job in result.heavy if job.startswith("preview_") and ":" in job}
    assert result.heavy - shapes == {"build_data", "validate_data", "preview_data"}
    assert not (project.results / "data").exists()
    told = review(project)
    assert (told["iteration"], told["difference"]["name"]) == ("002", "001")
    assert told["difference"]["keys"] == [
        {
            "name": "design.columns.fruit.params.weights",
            "before": "[5, 3, 1, 1]",
            "after": "[1, 1, 4, 4]",
        }
    ]
    assert told["difference"]["figures"]
    iterations = project.results / "preview/data/iterations"
    assert sorted(path.name for path in iterations.iterdir()) == ["001", "002"]
    assert json.loads((iterations / "001/review.json").read_text())["iteration"] == "001"
    page = (project.results / "preview/data/review.html").read_text()
    assert "design.columns.fruit.params.weights" in page and "[5, 3, 1, 1]" in page


def test_the_page_says_the_command_that_creates_the_full_set(project: Project) -> None:
    approve, call = review(project)["command"]
    name, config = project.config["experiment"]["name"], project.config_path
    assert approve == f"mkdir -p approvals/{name} && touch approvals/{name}/preview.approved"
    assert call == (f"snakemake --profile local --configfile {config.relative_to(project.path)}")
    table = json.loads((project.results / "preview/review.json").read_text())["estimates"]
    assert review(project)["estimate"]["records_to_make"] > 40
    assert "are to be made to accept 40" in table[0]["basis"]


@pytest.mark.parametrize("name", ["review.html", "data/review.html", "data/browser/index.html"])
def test_a_page_in_a_browser(edited: tuple[Project, Result], name: str, tmp_path: Path) -> None:
    seen = look(edited[0].results / "preview" / name, tmp_path / "browser")
    assert seen.console == []
    assert seen.requests == []
    assert seen.drawn > 0.02, "the page is blank"


def test_each_link_of_the_pages_leads_somewhere(edited: tuple[Project, Result]) -> None:
    results = edited[0].results
    for name in ("review.html", "data/review.html", "data/iterations/001/review.html"):
        page = results / "preview" / name
        links = re.findall(r'href="([^"]+)"', page.read_text())
        assert len(links) >= 2
        for link in links:
            path = Path(link.removeprefix("file://")) if "file://" in link else page.parent / link
            later = path.name == "card.md"  # written with the full set
            assert link == "data:," or later or path.exists(), link


def test_a_page_that_does_not_stand_alone_is_found(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<img src="http://x.invalid/a.png"><script>throw new Error("no")</script>')
    seen = look(page, tmp_path / "browser")
    assert any("no" in line for line in seen.console)
    assert seen.requests == ["http://x.invalid/a.png"]
    assert seen.drawn < 0.001
