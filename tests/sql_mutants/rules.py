"""Slips that are no statement's: a rule that the schema lacks, and a write that does not take SQLite's lock at once."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Constraint, Engine, Index, Table, UniqueConstraint, event
from sqlalchemy.dialects.postgresql import ExcludeConstraint

#: slip -> a pattern in the text that goes to the database, and what goes there instead
Rules = dict[str, tuple[str, str]]

LATE_LOCK: Rules = {"BEGIN, not BEGIN IMMEDIATE": ("BEGIN IMMEDIATE", "BEGIN")}


def rules(table: Table) -> Rules:
    """What keeps the table's rows apart; of primary keys that of claims alone, for others are referred to."""
    found: Rules = {}
    apart: list[Constraint | Index] = [*table.constraints, *table.indexes]
    for each in apart:
        if isinstance(each, Index) and each.unique:
            found[f"without {each.name}"] = (f"CREATE UNIQUE INDEX {each.name} ", f"CREATE INDEX {each.name} ")
        if isinstance(each, UniqueConstraint | ExcludeConstraint) or each.name == "pk_claims":
            found[f"without {each.name}"] = (rf", \n\tCONSTRAINT {each.name} .*?(?=,? ?\n)", "")
    return found


@contextmanager
def reworded(item: pytest.Item, pattern: str, other: str) -> Iterator[None]:
    """Send the other words, in ledgers that are made anew, for `item` and its like."""

    def before(_: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> tuple[str, Any]:
        return re.sub(pattern, other, statement), parameters

    for template in ("sqlite_template", "postgres_template", "postgres_databases"):
        for fixture in item.session._fixturemanager.getfixturedefs(template, item) or ():
            fixture.cached_result = None
    event.listen(Engine, "before_cursor_execute", before, retval=True)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", before)
