"""fsck finds each kind of damage that is planted, and nothing where there is none."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert, text

from tests.libs.ledger.test_archive import candles
from tests.libs.ledger.test_bars import KEY, M
from tidewheel.contracts.states import ClaimState
from tidewheel.ledger.archive import Archive
from tidewheel.ledger.engine import Database
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Finding, Lease
from tidewheel.ledger.tables import claims


def checks(ledger: Ledger) -> dict[str, Finding]:
    return {finding.check: finding for finding in ledger.fsck()}


@pytest.fixture
def filled(ledger: Ledger, lease: Lease) -> Ledger:
    """Two files and a consumed claim on each."""
    for part in (slice(0, 30), slice(30, 50)):
        ledger.bars.append(lease, KEY, candles(50).take(part), "test")
        ledger.bars.seal(lease, KEY)
    return ledger


def test_sound_ledger_passes_every_check(ledger: Ledger, filled: Ledger) -> None:
    """An empty ledger and a filled one are sound, also with corrections and bars that wait."""
    assert all(finding.ok for finding in filled.fsck())
    assert checks(filled)["blobs"].count == 2


def damaged_blob(ledger: Ledger, db: Database, data_dir: Path) -> str:
    path = data_dir / ledger.bars.files()[0].blob_path
    path.write_bytes(path.read_bytes()[:-9])
    return "blobs"


def missing_blob(ledger: Ledger, db: Database, data_dir: Path) -> str:
    (data_dir / ledger.bars.files()[1].blob_path).unlink()
    return "blobs"


def swapped_content(ledger: Ledger, db: Database, data_dir: Path) -> str:
    """A whole and readable file, only of other candles."""
    other = Archive(data_dir).store(KEY, candles(30, price=7.0))
    (data_dir / other.blob_path).replace(data_dir / ledger.bars.files()[0].blob_path)
    return "blobs"


def watermark_ahead(ledger: Ledger, db: Database, data_dir: Path) -> str:
    with db.write() as connection:
        connection.execute(text(f"UPDATE streams SET watermark = {70 * M}"))
    return "watermarks"


def claim_of_a_run_that_is_over(ledger: Ledger, db: Database, data_dir: Path) -> str:
    run, _ = ledger.runs.start_or_join("hmm", "hmm", "test")
    with db.write() as connection:
        connection.execute(
            insert(claims).values(
                consumer="hmm", file_id=1, state=ClaimState.PROCESSING, run_id=run.id, attempts=1, changed_at=0
            )
        )
    ledger.runs.cancel(run.id, "test")
    return "claims"


@pytest.mark.parametrize(
    "damage", [damaged_blob, missing_blob, swapped_content, watermark_ahead, claim_of_a_run_that_is_over]
)
def test_planted_damage_is_found(
    filled: Ledger, ledger_dsn: str, data_dir: Path, damage: Callable[[Ledger, Database, Path], str]
) -> None:
    """The check that should find the damage fails, says where, and the others still pass."""
    db = Database(ledger_dsn)
    wrong = damage(filled, db, data_dir)
    db.close()

    findings = checks(filled)

    assert [name for name, finding in findings.items() if not finding.ok] == [wrong]
    assert findings[wrong].count == 1


def test_overlapping_files_are_found_on_sqlite_and_impossible_on_postgres(
    filled: Ledger, ledger_dsn: str, data_dir: Path
) -> None:
    """Two first revisions with a bar in common: Postgres refuses them, and fsck would tell of them."""
    from sqlalchemy.exc import IntegrityError

    db = Database(ledger_dsn)
    move = text(f"UPDATE files SET start_time = {25 * M} WHERE id = 2")
    if db.dialect == "postgresql":
        with pytest.raises(IntegrityError), db.write() as connection:
            connection.execute(move)
    else:
        with db.write() as connection:
            connection.execute(move)
        assert not checks(filled)["intervals"].ok
    db.close()


def test_orphans_are_named_and_taken_over(filled: Ledger, lease: Lease, data_dir: Path) -> None:
    """What a crash between files and transaction left is told, harms nobody, and is used by the next seal."""
    late = candles(60).take(slice(50, 60))
    Archive(data_dir).store(KEY, late)
    orphans = checks(filled)["orphans"]

    filled.bars.append(lease, KEY, late, "test")
    filled.bars.seal(lease, KEY)

    assert orphans.ok and orphans.count == 2 and "incoming/binance" in orphans.detail
    assert checks(filled)["orphans"].count == 0
