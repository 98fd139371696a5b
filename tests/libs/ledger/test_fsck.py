"""fsck finds each kind of damage that is planted, and nothing where there is none."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, text, update

from tests.libs.ledger.rows import HOUR, PASSED, REFUSED, new_version, seal
from tests.libs.ledger.test_archive import candles
from tests.libs.ledger.test_bars import KEY, M
from tests.libs.ledger.test_runs import started
from tidewheel.contracts.states import ClaimState, RunState
from tidewheel.ledger.archive import Archive
from tidewheel.ledger.engine import Database
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Finding, Lease
from tidewheel.ledger.tables import claims, streams


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


BTC, ETH = "binance:BTC/USDT:1m", "binance:ETH/USDT:1m"


def without(ledger: Ledger, rule: str, table: str, damage: str) -> None:
    """Do what the database would refuse: on Postgres by taking the rule away, on SQLite by not having it checked."""
    if ledger.dialect == "postgresql":
        with ledger._db.write() as connection:
            connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {rule}"))
            connection.execute(text(damage))
        return
    with closing(sqlite3.connect(str(ledger._db.path))) as file, file:
        file.execute(damage)


def told(ledger: Ledger) -> dict[str, tuple[bool, int, str]]:
    return {each.check: (each.ok, each.count, each.detail) for each in ledger.fsck(files=False)}


def test_each_claim_is_held_against_its_own_run(ledger: Ledger) -> None:
    """What agrees is counted, what does not is named by consumer and file, in this order."""
    files = seal(ledger, range(8))
    queued, running, promoted, refused, failed = (
        ledger.runs.start_or_join(f"run {n}", "hmm", "test")[0].id for n in range(5)
    )
    for run, verdict in ((running, None), (promoted, PASSED), (refused, REFUSED), (failed, None)):
        lease = ledger.runs.lease(run, "worker", 60_000)
        assert lease is not None
        if verdict is not None:
            lease.publish(new_version(run), verdict)
        elif run == failed:
            lease.finish(RunState.FAILED, "broken")
    free, held, used, poison = ClaimState
    sound = [(free, None), (held, running), (used, promoted), (used, refused), (poison, failed), (poison, queued)]
    wrong = [(held, promoted), (used, failed), (free, running), (held, None)]
    rows = [("b", wrong[:1] + sound), ("a", wrong)]
    with ledger._db.write() as connection:
        for consumer, its in rows:
            for file, (state, its_run) in reversed(list(zip(files, its, strict=False))):
                row = {"consumer": consumer, "file_id": file, "state": state, "run_id": its_run, "changed_at": 0}
                connection.execute(insert(claims).values(row))

    assert told(ledger)["claims"] == (
        False,
        5,
        f"file {files[0]} is processing for a, and run {promoted} is promoted; "
        f"file {files[1]} is processed for a, and run {failed} is failed; "
        f"file {files[2]} is downloaded for a, and run {running} is running; "
        f"file {files[3]} is processing for a, and run None is None; "
        f"file {files[0]} is processing for b, and run {promoted} is promoted",
    )
    with ledger._db.write() as connection:
        connection.execute(delete(claims).where((claims.c.consumer == "a") | (claims.c.file_id == files[0])))
    assert told(ledger)["claims"][:2] == (True, 6)


def test_files_are_compared_with_their_neighbours(ledger: Ledger) -> None:
    """In the order of time, whatever the order of sealing, each stream and its first revisions by themselves."""
    hours, consumed = range(3, -1, -1), []
    for hour in hours:
        for stream in (BTC, ETH):
            consumed += seal(ledger, range(hour, hour + 1), stream)
    consumed += seal(ledger, range(5), revision=1)
    with ledger._db.write() as connection:
        connection.execute(update(streams).values(watermark=4 * HOUR))
        for consumer in ("hmm", "hmm-strict"):
            for file in consumed:
                row = {"consumer": consumer, "file_id": file, "state": ClaimState.PROCESSED, "changed_at": 0}
                connection.execute(insert(claims).values(row))
    found = told(ledger)
    assert (found["intervals"][:2], found["watermarks"][:2]) == ((True, 8), (True, 2))
    assert found["trained_once"][:2] == (True, 16)

    third, second, first, eth_second, eth_first = (consumed[n] for n in (2, 4, 6, 5, 7))
    longer = f"UPDATE files SET end_time = {3 * HOUR} WHERE id IN ({first}, {eth_first})"
    without(ledger, "files_first_revisions_never_overlap", "files", longer)
    assert told(ledger)["intervals"] == (
        False,
        2,
        f"files {first} and {second} of {BTC} overlap; files {eth_first} and {eth_second} of {ETH} overlap",
    )
    assert told(ledger)["trained_once"] == (
        False,
        4,
        "; ".join(
            f"{consumer} consumed files {one} and {other}, which share bars"
            for consumer in ("hmm", "hmm-strict")
            for one, other in ((first, second), (eth_first, eth_second))
        ),
    )
    with ledger._db.write() as connection:
        free = update(claims).where(claims.c.consumer == "hmm", claims.c.file_id == second)
        connection.execute(free.values(state=ClaimState.DOWNLOADED))
        connection.execute(update(streams).where(streams.c.key == ETH).values(watermark=5 * HOUR))
    found = told(ledger)
    assert found["trained_once"][2].startswith(f"hmm consumed files {first} and {third}, which share bars; ")
    assert found["watermarks"] == (
        False,
        1,
        f"the watermark of {ETH} is {5 * HOUR} and its last file ends at {4 * HOUR}",
    )


def test_a_promotion_of_what_was_never_published(ledger: Ledger) -> None:
    """It is found, also where another version of its family and its namesake of another family are there."""
    for family, number in (("hmm", 1), ("hmm", 2), ("lstm", 3)):
        started(ledger, consumer=family).publish(new_version(number, family=family), PASSED)
    assert told(ledger)["promotions"][:2] == (True, 3)
    without(
        ledger,
        "fk_promotions_family_version",
        "promotions",
        f"UPDATE promotions SET version = '{new_version(3).version}' WHERE family = 'hmm' AND previous IS NULL",
    )
    (move, *_) = ledger.versions.promotions("hmm")
    assert told(ledger)["promotions"] == (False, 1, f"promotion {move.id} points to hmm {new_version(3).version}")
