"""The `models` section: where each model's weights come from."""

from __future__ import annotations

from pydantic import Field, model_validator

from lockgate.config.section import Section


class Model(Section):
    """Where one model's weights come from: exactly one of `path`, `hub` and `package`."""

    path: str | None = Field(
        default=None, description="A local Hugging Face directory, or a `.gguf` file."
    )
    hub: str | None = Field(
        default=None, description="A Hugging Face Hub id (`organization/name`)."
    )
    revision: str | None = Field(
        default=None, description="The Hub revision (a commit is best: it never changes)."
    )
    package: str | None = Field(
        default=None, description="An installed Python package that carries the weights."
    )
    file: str = Field(
        default="*.gguf", description="The weights file within `package` (a glob, one match)."
    )
    base: str | None = Field(
        default=None,
        description="Name of the model that this checkpoint was made from: it is compared with "
        "that model's control. `path` may then be an adapter's directory (PEFT).",
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> Model:
        given = [key for key in ("path", "hub", "package") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of path, hub and package (given: {', '.join(given) or 'none'})"
            )
        if self.revision and not self.hub:
            raise ValueError("revision belongs to hub")
        return self
