"""The `data` section: records to design or to read, and the rows they become."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from lockgate.config.section import Number, Section, Url


class Endpoint(Section):
    """The language model that writes text: an embedded server, or any OpenAI-compatible URL."""

    server: str | None = Field(
        default=None,
        description="Embedded server tool; each job that needs it starts its own on a free "
        "loopback port.",
    )
    url: Url | None = Field(
        default=None, description="Base URL of a running endpoint, like `http://host:8000/v1`."
    )
    model: str = Field(
        description="With `server`: a name under `models`. With `url`: the model's name there."
    )
    api_key_env: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable that holds the key (never the key itself).",
    )

    @model_validator(mode="after")
    def _is_one_kind(self) -> Endpoint:
        if (self.server is None) == (self.url is None):
            raise ValueError("give either server (embedded) or url")
        return self


class Rows(Section):
    """How a record becomes a training row; both are Jinja2 templates over its fields."""

    prompt: str = Field(min_length=1, description="What the model is given.")
    completion: str = Field(
        min_length=1, description="What it should answer; the loss is on this alone."
    )


class Splits(Section):
    """Shares of the records; they add up to 1."""

    train: Number = Field(default=0.8, gt=0, lt=1, description="Share to train on.")
    validation: Number = Field(
        default=0.1, ge=0, lt=1, description="Share for the loss during training."
    )
    test: Number = Field(default=0.1, gt=0, lt=1, description="Share held out for evaluation.")

    @model_validator(mode="after")
    def _add_up(self) -> Splits:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + validation + test = {total:g}, not 1")
        return self


class Data(Section):
    """Records to design or to read, and the rows they become."""

    tool: str = Field(description="Name of the data tool.")
    records: int | None = Field(
        default=None, ge=1, description="How many records to generate (none: all that exist)."
    )
    design: dict[str, Any] | None = Field(
        default=None, description="The data design, in the data tool's own declarative form."
    )
    script: str | None = Field(
        default=None, description="Your own design script, instead of `design`."
    )
    files: str | None = Field(
        default=None,
        description="An existing dataset: JSON Lines (one object a line), `.json`, `.csv`, `.tsv` "
        "or `.parquet`.",
    )
    endpoint: Endpoint | None = Field(
        default=None, description="The language model that writes the records' text."
    )
    rows: Rows | None = Field(
        default=None,
        description="How a record becomes a training row; not needed where the records of `files` "
        "are rows: `messages`, `prompt` and `completion`, or `input` and `output`.",
    )
    splits: Splits = Field(
        default=Splits(),
        description="Shares of the records; a `.json` file can have splits of its own instead.",
    )
    similarity: Number = Field(
        default=0.8,
        ge=0.5,
        le=1,
        description="Rows whose prompts are at least this alike (Jaccard similarity of their runs "
        "of three words) stay in one split; 1: only rows with equal prompts.",
    )
    train_rows: int | None = Field(
        default=None,
        ge=1,
        description="Train on the first rows of the training split only (none: all).",
    )
    train_files: str | None = Field(
        default=None,
        description="Train on the rows of this dataset instead; what is held out stays the same.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the samplers and of the split.")
    shards: int = Field(
        default=1, ge=1, description="Generation jobs; each has its own embedded server."
    )
    preview_records: int = Field(
        default=8,
        ge=1,
        description="Records made for the preview, before approval. To time the generation, a "
        "fifth of `records` (twice this number at least, 24 at most) is made beside them.",
    )

    @model_validator(mode="after")
    def _makes_rows(self) -> Data:
        if self.rows is None and self.files is None:
            raise ValueError("rows is missing: it says how a record of a design becomes a row")
        return self
