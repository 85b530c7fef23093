"""Files of datasets on the Hub: `hf://datasets/OWNER/NAME@COMMIT/PATH`, fetched once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError

SECONDS = 10
"""So long the Hub may take to answer."""

_PREFIX = "hf://"
_FORM = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)(?:@([^/]+))?/(.+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HINT = "write hf://datasets/OWNER/NAME@COMMIT/path/in/it.jsonl"


def is_hub(files: Any) -> bool:
    """It names a file on the Hub, not one here."""
    return str(files or "").startswith(_PREFIX)


def parse(files: str) -> tuple[str, str, str]:
    """Dataset, commit and path within it.

    Raises:
        LockgateError: for another form, or where no commit pins the content.
    """
    form = _FORM.fullmatch(files)
    if form is None:
        raise LockgateError(
            f"'{files}' names no file of a dataset on the Hub", where="data.files", hint=_HINT
        )
    name, revision, path = form.groups()
    if revision is None or not _COMMIT.fullmatch(revision):
        given = f"'{revision}' is a branch, a tag or part of a commit" if revision else "none"
        raise LockgateError(
            f"no commit pins the content of {name} ({given})",
            where="data.files",
            hint=f"{_HINT}; COMMIT is the 40 hexadecimal digits that the dataset's history shows: "
            "a branch or tag can come to mean other records, which the approval would not cover",
        )
    return name, revision, path


def is_here(files: str) -> bool:
    """It is a path, or has been fetched."""
    return not is_hub(files) or _cached(*parse(files)) is not None


def local(files: str, root: Path = Path()) -> Path:
    """Where a file is here; one on the Hub is fetched into Hugging Face's cache if it is not there.

    Args:
        files: a path, or as `parse` takes it.
        root: the directory that relative paths start from.

    Raises:
        LockgateError: if it cannot be fetched.
    """
    if not is_hub(files):
        return root / files
    name, revision, path = parse(files)
    import huggingface_hub as hub

    if known := _cached(name, revision, path):
        return known
    told: dict[str, Any] = {"repo_type": "dataset", "revision": revision}
    try:
        # the download alone would try for minutes to reach a Hub that does not answer
        hub.get_hf_file_metadata(hub.hf_hub_url(name, path, **told), timeout=SECONDS)
        return Path(hub.hf_hub_download(name, path, etag_timeout=SECONDS, **told))
    except Exception as error:  # the library raises a dozen kinds, all of them about the Hub
        raise LockgateError(
            f"cannot fetch {path} of the dataset {name}: {_reason(error)}",
            where="data.files",
            hint="check the name and the network; for a private dataset set HF_TOKEN; offline, "
            "fetch the file elsewhere and give its path",
        ) from None


def _cached(name: str, revision: str, path: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, path, revision=revision, repo_type="dataset")
    except ValueError as error:  # HFValidationError
        raise LockgateError(
            f"no dataset on the Hub can be called '{name}': {_reason(error)}",
            where="data.files",
            hint=_HINT,
        ) from None
    return Path(found) if isinstance(found, str) else None


def _reason(error: Exception) -> str:
    """What went wrong, without the library's advice."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
