"""`tidewheel schemas`: the files that say what a strategy's parameters may be."""

from pathlib import Path
from typing import Any

import click

from services.fleet.output import json_option, print_json


@click.group()
def schemas() -> None:
    """Check strategy schemas before a controller starts on them."""


@schemas.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@json_option
@click.pass_context
def check(ctx: click.Context, files: tuple[Path, ...], as_json: bool) -> None:
    """Check FILES, or those of TIDEWHEEL_SCHEMAS_DIR; exit status 1 when one cannot be used.

    Every problem is told with its file and line.
    """
    from services.param_controller.service.schema_files import BadSchema, read_schema, schema_files
    from services.param_controller.settings import ParamSettings
    from tidewheel.kit.settings import load

    rows: list[dict[str, Any]] = []
    for file in files or schema_files(load(ParamSettings).schemas_dir):
        try:
            version, problems = read_schema(file).policy_version, list[str]()
        except BadSchema as bad:
            version, problems = None, bad.problems
        rows.append({"file": str(file), "ok": not problems, "policy_version": version, "problems": problems})
    well = all(row["ok"] for row in rows)
    if as_json:
        print_json({"ok": well, "files": rows})
    else:
        for row in rows:
            click.echo("\n".join(row["problems"]) or f"{row['file']}: ok ({row['policy_version']})")
    ctx.exit(0 if well else 1)
