"""Check what was written for one stage."""

from pathlib import Path
from typing import Any

from lockgate.errors import entry, log_to
from lockgate.files import write_json
from lockgate.stages import build, chain


@entry
def main(config: dict[str, Any], stage: str, spec: str, full: str, smoke: str, record: str) -> None:
    checked = build.validate_stage(
        chain.read(config, "the configuration"), stage, Path(full), Path(smoke)
    )
    write_json(record, {"item": f"stages/{Path(spec).stem}", "status": "ok", "checks": checked})


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.config,
        snakemake.wildcards.stage,
        snakemake.input.spec,
        snakemake.input.config,
        snakemake.input.smoke_config,
        snakemake.output.record,
    )
