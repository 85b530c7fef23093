"""The `data` section: records to design or to read, and the rows they become."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from lockgate.config.section import Number, Section, Url


class Price(Section):
    """What an endpoint asks for its work, in one currency, for a million tokens."""

    input: Number = Field(ge=0, description="Price of a million tokens of prompts.")
    output: Number = Field(ge=0, description="Price of a million tokens of answers.")


class Endpoint(Section):
    """The language model that writes text: an embedded server, or an OpenAI-compatible one."""

    server: str | None = Field(
        default=None,
        description="Embedded server tool; each job that needs it starts its own on a free "
        "loopback port.",
    )
    url: Url | None = Field(
        default=None, description="Base URL of a running endpoint, like `http://host:8000/v1`."
    )
    provider: str | None = Field(
        default=None,
        description="A vendor that the data tool knows by name, with its address and the "
        "variable of its key.",
    )
    gateway: str | None = Field(
        default=None,
        description="A provider of the platform's Inference Gateway, by its name there.",
    )
    model: str = Field(
        description="With `server`: a name under `models`. Else: the model's name there."
    )
    api_key_env: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable that holds the key (never the key itself).",
    )
    constrain: bool | None = Field(
        default=None,
        description="Let the endpoint keep answers to the schema of structured and judge columns "
        "(`response_format`); none: with an embedded server only.",
    )
    price: Price | None = Field(
        default=None, description="What tokens cost; the review then estimates the whole cost."
    )

    @model_validator(mode="after")
    def _is_one_kind(self) -> Endpoint:
        kinds = ("server", "url", "provider", "gateway")
        if sum(getattr(self, kind) is not None for kind in kinds) != 1:
            raise ValueError("give one of server (embedded), url, provider and gateway")
        return self


class Rows(Section):
    """How a record becomes a row: question and answer, a conversation, or a preference pair.

    The templates are Jinja2, over the record's fields.
    """

    prompt: str | None = Field(
        default=None, min_length=1, description="What the model is given (template)."
    )
    completion: str | None = Field(
        default=None,
        min_length=1,
        description="What it should answer; the loss is on this alone (template).",
    )
    messages: str | None = Field(
        default=None,
        min_length=1,
        description="Instead: the field that holds a conversation, a list of `role` and "
        "`content`; `chat.messages` is a field within a field. Its last answer is learned.",
    )
    chosen: str | None = Field(
        default=None,
        min_length=1,
        description="With `prompt` and `rejected`, instead of `completion`: the better of two "
        "answers, which is learned (template).",
    )
    rejected: str | None = Field(
        default=None, min_length=1, description="The worse of the two answers (template)."
    )

    @model_validator(mode="after")
    def _is_one_kind(self) -> Rows:
        given = {name for name in type(self).model_fields if getattr(self, name) is not None}
        kinds = ({"prompt", "completion"}, {"messages"}, {"prompt", "chosen", "rejected"})
        if given not in kinds:
            raise ValueError(
                "give prompt and completion, or messages, or prompt, chosen and rejected"
            )
        return self


class Accept(Section):
    """Which records of a design count; more are made for those that do not."""

    valid: bool = Field(
        default=True,
        description="Refuse records that a validator column finds invalid, or whose structured "
        "value does not fit its schema.",
    )
    complete: bool = Field(
        default=True,
        description="Refuse records where text of the model's is empty, or is a refusal to answer.",
    )
    scores: dict[str, Number] = Field(
        default={},
        description="Least score by judge column and score, like `quality.relevance: 3`; by the "
        "column's name alone all of its scores.",
    )
    when: str | None = Field(
        default=None,
        min_length=1,
        description="Jinja2 expression over the record's fields that is true for records that "
        "count, like `answer | length > 10`.",
    )
    most: Number = Field(
        default=3,
        ge=1,
        le=100,
        description="Make at most this many times `records`, then end with what is missing.",
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
    command: str | None = Field(
        default=None,
        description="Path of the data tool's command (none: in this environment, in `.venv/bin`, "
        "or on PATH).",
    )
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
        "or `.parquet`; on the Hub `hf://datasets/OWNER/NAME@COMMIT/path/in/it.jsonl`, where "
        "COMMIT is the whole commit (40 digits).",
    )
    endpoint: Endpoint | None = Field(
        default=None, description="The language model that writes the records' text."
    )
    accept: Accept = Field(
        default=Accept(), description="Which records of a design count; `records` are made."
    )
    axes: list[str] | None = Field(
        default=None,
        description="Fields whose values should be diverse: the review shows what was asked of "
        "each and what came (none: all sampled categories).",
    )
    rows: Rows | None = Field(
        default=None,
        description="How a record becomes a row; not needed where the records of `files` are "
        "rows: `messages`, `prompt` and `completion`, or `input` and `output`.",
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
    group: str | None = Field(
        default=None,
        description="Field whose equal values keep rows in one split, like the document that a "
        "question is about; a row whose value is null has no group.",
    )
    licence: str | None = Field(
        default=None,
        description="Licence of the seed data or the dataset, for the data card.",
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
        "fifth of `records`, 24 at most, is made beside them; where twice this number is more, so "
        "many.",
    )

    @model_validator(mode="after")
    def _makes_all_records(self) -> Data:
        if self.files is not None and self.accept != Accept():
            raise ValueError("accept is for designs; take records out of files beforehand")
        return self

    @model_validator(mode="after")
    def _makes_rows(self) -> Data:
        if self.rows is None and self.files is None:
            raise ValueError("rows is missing: it says how a record of a design becomes a row")
        return self
