"""How commands answer: a table for people, JSON for programs."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from tidewheel.contracts.times import UtcMillis, iso

F = TypeVar("F", bound=Callable[..., Any])

Row = Mapping[str, Any]


def json_option(command: F) -> F:
    """Adds `--json` to a command, as its argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")(command)


def print_json(answer: object) -> None:
    """One JSON document on standard output; a NaN in it is an error of ours, never printed."""
    click.echo(json.dumps(answer, indent=1, allow_nan=False, default=str))


def print_rows(rows: Sequence[Row], as_json: bool, empty: str) -> None:
    """Rows as JSON or as a table; `empty` is the sentence for people when there is none."""
    if as_json:
        print_json(list(rows))
    else:
        click.echo(table(rows) if rows else empty)


def table(rows: Sequence[Row], indent: str = "") -> str:
    """Aligned columns under a header; the first row names the columns."""
    header = [name.replace("_", " ") for name in rows[0]]
    body = [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    right = [all(_is_number(row[name]) for row in rows) for name in rows[0]]
    return "\n".join(
        indent
        + "  ".join(
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in (header, *body)
    )


def moment(millis: UtcMillis | None) -> str | None:
    """ISO-8601 for people and programs alike; None stays None."""
    return None if millis is None else iso(millis)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | None) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
