"""The hunt for slips in the ledger's SQL: its quick form, and that it names what tests overlook."""

import re
import subprocess
import sys
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from tests.sql_mutants.rules import rules
from tests.sql_mutants.slips import slips, text
from tidewheel.ledger.tables import leases, metadata, runs

ROOT = Path(__file__).parents[1]
TOOTHLESS = '''
from tests.libs.ledger.test_runs import started


def test_nothing(ledger) -> None:
    """Runs a good deal of SQL and looks at nothing."""
    started(ledger).claim_files()
'''


def hunt(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.sql_mutants", "-k", "sqlite", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_ledgers_tests_find_the_slips() -> None:
    """A sample of slips in how leases are granted, kept and presented: each makes a test fail."""
    done = hunt("tests/libs/ledger/test_leases.py", "--places", "leases", "--sample", "12")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 planted" in done.stdout


def test_slips_that_no_test_notices_are_named(tmp_path: Path) -> None:
    """Tests that look at nothing let slips survive; that is an error, and the slip has a name."""
    (tmp_path / "test_toothless.py").write_text(TOOTHLESS)
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    done = hunt(str(tmp_path), "--places", "leases.guard")
    assert done.returncode == 1
    assert "SURVIVED leases.guard: without WHERE leases.fence = ?" in done.stdout


def test_one_slip_at_a_time() -> None:
    """Each slip changes a copy in one way; the statement itself stays, and so does every other copy."""
    lease = select(leases.c.fence).where(leases.c.name == "keeper", leases.c.until > 5).with_for_update()
    found = slips(lease)[1]
    assert list(found) == [
        "without FOR UPDATE",
        "without WHERE leases.name = ?",
        "without WHERE leases.until > ?",
        "leases.name = ?: ne",
        "leases.until > ?: ge",
        "leases.until > ?: lt",
    ]
    before, changed = text(lease), set()
    for name in found:
        copy, here = slips(lease)
        here[name]()
        changed.add(text(copy))
    assert len(changed) == len(found)
    assert text(lease) == before
    assert before not in changed


def test_a_rule_of_the_schema_at_a_time() -> None:
    """Each slip takes one rule out of what makes the table, and leaves the other lines."""
    made = "".join(
        str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
        for table in metadata.sorted_tables
    )
    made += "".join(str(CreateIndex(index)) for index in runs.indexes)
    found = {slip: rule for table in metadata.sorted_tables for slip, rule in rules(table).items()}
    assert {"without pk_claims", "without files_first_revisions_never_overlap"} < found.keys()
    assert {"without one_active_run_per_consumer", "without uq_streams_key"} < found.keys()
    for slip, (pattern, other) in found.items():
        left, times = re.subn(pattern, other, made)
        assert times == 1
        assert f"CONSTRAINT {slip.removeprefix('without ')}" not in left
        assert len(made.splitlines()) - len(left.splitlines()) == (not other)


def test_a_forgotten_column_and_a_forgotten_conflict() -> None:
    """An update keeps what it should set; an upsert has its conflict clause or a part of it taken away."""
    kept, here = slips(update(leases).where(leases.c.name == "keeper").values(until=0))
    here["without SET until"]()
    assert text(kept) == "UPDATE leases SET until=leases.until WHERE leases.name = ?"
    for dialect in (sqlite, postgresql):
        take = dialect.insert(leases).values(name="keeper", fence=1)
        take = take.on_conflict_do_update(
            index_elements=["name"], set_={"fence": 1, "owner": "a"}, where=leases.c.until <= 5
        )
        bare, here = slips(take)
        here["without ON CONFLICT"]()
        assert "CONFLICT" not in text(bare)
        always, here = slips(take)
        here["ON CONFLICT without WHERE"]()
        assert "DO UPDATE" in text(always)
        assert "WHERE" not in text(always)
