"""Claims: each file to one run, consumed once; on both dialects."""

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from tests.libs.ledger.rows import PASSED, REFUSED, new_version, seal
from tests.libs.ledger.test_runs import TTL, at_once, started
from tidewheel.contracts.errors import BadInput, Unavailable
from tidewheel.contracts.states import ClaimState, RunState
from tidewheel.ledger.claims import MAX_ATTEMPTS, _newest_poison
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.run_lease import RunLease
from tidewheel.ledger.tables import claims as rows
from tidewheel.ledger.tables import files


def states(ledger: Ledger, consumer: str = "hmm") -> dict[str, int]:
    """The counts that are not zero."""
    return {str(state): count for state, count in ledger.claims.states(consumer).items() if count}


def ids(lease: RunLease, **how: object) -> list[int]:
    return [file.id for file in lease.claim_files(**how)]  # type: ignore[arg-type]


def failed_before(ledger: Ledger, file: int, attempts: int) -> None:
    with ledger._db.write() as connection:
        connection.execute(
            update(rows).where(rows.c.consumer == "hmm", rows.c.file_id == file).values(attempts=attempts)
        )


class TestClaiming:
    def test_downloaded_processing_processed(self, ledger: Ledger) -> None:
        """A file goes from downloaded to processing to processed, for each consumer by itself."""
        sealed = seal(ledger, range(3))
        assert states(ledger) == {"downloaded": 3}
        lease = started(ledger)
        assert ids(lease) == sealed
        assert states(ledger) == {"processing": 3}
        with ledger._db.write() as connection:
            connection.execute(update(rows).values(changed_at=0))
        lease.publish(new_version(1), PASSED)
        assert states(ledger) == {"processed": 3}
        with ledger._db.read() as connection:
            assert all(connection.execute(select(rows.c.changed_at)).scalars())
        assert states(ledger, "hmm-strict") == {"downloaded": 3}
        assert ids(started(ledger, consumer="hmm-strict")) == sealed

    def test_consumed_files_never_come_back(self, ledger: Ledger) -> None:
        """The next run gets the new files only, whether the earlier one was promoted or refused."""
        first, second, third = seal(ledger, range(1)), seal(ledger, range(1, 2)), seal(ledger, range(2, 3))
        for expected, verdict in ((first, PASSED), (second, REFUSED), (third, PASSED)):
            lease = started(ledger)
            assert ids(lease, limit=1) == expected
            lease.publish(new_version(expected[0]), verdict)
        assert ids(started(ledger)) == []
        assert [(row.file_id, row.state) for row in ledger.claims.consumption("hmm")] == [
            (id, ClaimState.PROCESSED) for id in (*first, *second, *third)
        ]

    def test_limit_takes_the_oldest_data(self, ledger: Ledger) -> None:
        """With a limit the oldest hours go first, across streams; the list is by stream and time."""
        late = seal(ledger, range(5, 6))
        eth = seal(ledger, range(1, 2), stream="binance:ETH/USDT:1m")
        early = seal(ledger, range(1))
        lease = started(ledger)
        assert ids(lease, limit=2) == [*early, *eth]
        assert ids(lease, limit=2) == [*early, *late, *eth]

    def test_of_the_same_hour_the_one_sealed_first(self, ledger: Ledger) -> None:
        """Files of one hour come in the order of sealing, in what is taken and in what is told."""
        eth = seal(ledger, range(1), stream="binance:ETH/USDT:1m")
        btc, correction = seal(ledger, range(1)), seal(ledger, range(1), revision=1)
        lease = started(ledger)
        assert ids(lease, limit=1) == eth
        assert ids(lease, limit=1) == [*btc, *eth]
        assert ids(lease) == [*btc, *correction, *eth]

    def test_only_the_timeframe_asked_for(self, ledger: Ledger) -> None:
        """Files of another timeframe are left to whoever wants them."""
        seal(ledger, range(2), stream="binance:BTC/USDT:15m")
        wanted = seal(ledger, range(2), stream="binance:BTC/USDT:5m")
        assert ids(started(ledger), timeframe="5m") == wanted
        assert [row.file_id for row in ledger.claims.consumption("hmm")] == wanted

    def test_quarantined_files_are_left_out(self, ledger: Ledger) -> None:
        """Nobody is handed a file that was found damaged."""
        seal(ledger, range(1), quarantined="its digest differs")
        good = seal(ledger, range(1, 2))
        assert ids(started(ledger)) == good
        assert states(ledger) == {"processing": 1}
        assert ids(started(ledger, consumer="hmm-strict"), strict=True, timeframe="1m") == good
        assert [row.file_id for row in ledger.claims.consumption("hmm-strict")] == good

    def test_strict_leaves_corrections_alone(self, ledger: Ledger) -> None:
        """Strict claims hold first revisions only; a sliding consumer gets the corrections too."""
        first, correction = seal(ledger, range(2)), seal(ledger, range(1), revision=1)
        assert ids(started(ledger, consumer="hmm-strict"), strict=True) == first
        assert [row.file_id for row in ledger.claims.consumption("hmm-strict")] == first
        assert sorted(ids(started(ledger))) == sorted([*first, *correction])

    def test_two_claimers_share_nothing(self, ledger: Ledger) -> None:
        """Claims that run at the same moment, each under its own lease, never hold the same file twice."""
        seal(ledger, range(40))
        leases = [started(ledger, consumer=f"consumer {n}") for n in range(2)]
        both = at_once(6, lambda n: ids(leases[n % 2], limit=5))
        assert all(len(held) == len(set(held)) for held in both)
        for consumer in ("consumer 0", "consumer 1"):
            held = [row for row in ledger.claims.consumption(consumer) if row.state == ClaimState.PROCESSING]
            assert len(held) == 15
            assert all(row.attempts == 1 for row in held)

    def test_a_file_has_one_row_a_consumer(self, ledger: Ledger) -> None:
        """The database itself refuses a second consumption record of a file by a consumer."""
        (file_id,) = seal(ledger, range(1))
        started(ledger).claim_files()
        statement = f"INSERT INTO claims (consumer, file_id, state, changed_at) VALUES ('hmm', {file_id}, 'x', 0)"
        with pytest.raises(IntegrityError), ledger._db.write() as connection:
            connection.exec_driver_sql(statement)


class TestGivingBack:
    def test_skipped_and_cancelled_count_nothing(self, ledger: Ledger) -> None:
        """Files of a skipped or cancelled run are free again, with no attempt on their record."""
        sealed = seal(ledger, range(2))
        for state in (RunState.SKIPPED, RunState.CANCELLED):
            lease = started(ledger)
            assert ids(lease) == sealed
            assert lease.finish(state, "why").state is state
            assert {(row.state, row.attempts, row.run_id) for row in ledger.claims.consumption("hmm")} == {
                (ClaimState.DOWNLOADED, 0, None)
            }

    def test_five_failures_make_poison(self, ledger: Ledger) -> None:
        """A file whose runs fail five times is poison and stays away from later runs; other files go on."""
        seal(ledger, range(1))
        for attempt in range(MAX_ATTEMPTS):
            assert states(ledger) == {"downloaded": 1}, attempt
            lease = started(ledger)
            lease.claim_files()
            lease.finish(RunState.FAILED, "the child was killed")
        assert states(ledger) == {"poison": 1}
        healthy = seal(ledger, range(1, 2))
        assert ids(started(ledger)) == healthy

    def test_alone_is_what_a_run_holds_now(self, ledger: Ledger) -> None:
        """Neither another consumer's files nor the poison that a run left earlier are company for a file."""
        first, second = seal(ledger, range(2))
        started(ledger, consumer="other").claim_files()
        lease = started(ledger)
        for file in (first, second):
            lease.claim_files(1)
            failed_before(ledger, file, MAX_ATTEMPTS)
            lease.give_back(counted=True)
            assert [row.file_id for row in ledger.claims.consumption("hmm") if row.state is ClaimState.POISON][
                -1
            ] == file
            again = ledger.runs.lease(lease.run.id, "worker", TTL)
            assert again is not None
            lease = again
        assert states(ledger, "other") == {"processing": 2}

    def test_the_newest_poison_is_the_consumers_own(self, ledger: Ledger) -> None:
        """Suspects are acquitted by the last file that their own consumer found guilty."""
        files = seal(ledger, range(4))
        times = (("hmm", "poison", 10), ("hmm", "poison", 20), ("hmm", "processed", 30), ("other", "poison", 40))
        with ledger._db.write() as connection:
            for file, (consumer, state, changed_at) in zip(files, times, strict=True):
                row = {"consumer": consumer, "file_id": file, "state": state, "changed_at": changed_at}
                connection.execute(insert(rows).values(row))
            assert [_newest_poison(connection, name) for name in ("hmm", "other", "third")] == [20, 40, 0]

    def test_finish_again_after_a_lost_answer(self, ledger: Ledger) -> None:
        """A second finish of the same lease returns the same run and counts nothing twice."""
        seal(ledger, range(1))
        lease = started(ledger)
        lease.claim_files()
        assert lease.finish(RunState.FAILED, "x") == lease.finish(RunState.FAILED, "x")
        assert [row.attempts for row in ledger.claims.consumption("hmm")] == [1]

    def test_finish_needs_a_final_state_without_version(self, ledger: Ledger) -> None:
        """Promoted and refused are reached by publish alone."""
        with pytest.raises(BadInput, match="cannot finish as promoted"):
            started(ledger).finish(RunState.PROMOTED, "x")

    def test_leaving_the_block_gives_back(self, ledger: Ledger) -> None:
        """A worker that leaves without an answer returns the run to the queue and the files to everybody."""
        seal(ledger, range(2))
        with started(ledger) as lease:
            lease.claim_files()
        run = ledger.runs.get(lease.run.id)
        assert (run.state, run.attempts) == (RunState.QUEUED, 0)
        assert states(ledger) == {"downloaded": 2}
        assert ledger.runs.lease(run.id, "next", TTL) is not None

    def test_error_in_the_block_counts(self, ledger: Ledger) -> None:
        """An error that ends the block stays on the run's and the files' record: they may be its cause."""
        seal(ledger, range(1))
        with pytest.raises(ZeroDivisionError), started(ledger) as lease:
            lease.claim_files()
            _ = 1 / 0
        assert ledger.runs.get(lease.run.id).attempts == 1
        assert [row.attempts for row in ledger.claims.consumption("hmm")] == [1]

    def test_an_outage_in_the_block_is_no_fault_of_the_files(self, ledger: Ledger) -> None:
        """A full disk or an absent ledger counts against the run alone, which says why it waits."""
        seal(ledger, range(1))
        with pytest.raises(Unavailable), started(ledger) as lease:
            lease.claim_files()
            raise Unavailable("the disk is full")
        run = ledger.runs.get(lease.run.id)
        assert (run.state, run.attempts, run.reason) == (RunState.QUEUED, 1, "the disk is full")
        assert [row.attempts for row in ledger.claims.consumption("hmm")] == [0]

    def test_a_reason_is_told_until_the_run_ends(self, ledger: Ledger) -> None:
        """What ended an attempt stands on the queued run, and at its end; a person's wish is not written over."""
        lease = started(ledger)
        other = started(ledger, consumer="other")
        assert lease.give_back(counted=True, reason="the fit was killed").reason == "the fit was killed"
        for _ in range(MAX_ATTEMPTS - 1):
            again = ledger.runs.lease(lease.run.id, "worker", TTL)
            assert again is not None
            again.give_back(counted=True, reason="the fit was killed again")
        assert ledger.runs.lease(lease.run.id, "worker", TTL) is None
        assert ledger.runs.get(lease.run.id).reason == "given up after 5 attempts: the fit was killed again"
        assert ledger.runs.get(other.run.id) == other.run
        wished = started(ledger)
        ledger.runs.cancel(wished.run.id, "desk")
        assert wished.give_back(counted=True, reason="the fit was killed").reason == "cancelled by desk"

    def test_published_block_keeps_its_files(self, ledger: Ledger) -> None:
        """After a publish the block's end changes nothing."""
        seal(ledger, range(1))
        with started(ledger) as lease:
            lease.claim_files()
            lease.publish(new_version(1), PASSED)
        assert states(ledger) == {"processed": 1}

    def test_run_whose_workers_die_is_given_up(self, ledger: Ledger) -> None:
        """After five attempts without an answer the run fails, its files are poison, and others may start."""
        seal(ledger, range(1))
        run, _ = ledger.runs.start_or_join("hmm", "hmm", "api")
        for _ in range(MAX_ATTEMPTS):
            lease = ledger.runs.lease(run.id, "worker", TTL)
            assert lease is not None
            lease.claim_files()
            ledger.leases.release(lease.lease)
        assert ledger.runs.lease(run.id, "worker", TTL) is None
        ended = ledger.runs.get(run.id)
        assert (ended.state, ended.attempts) == (RunState.FAILED, MAX_ATTEMPTS)
        assert "given up" in (ended.reason or "")
        assert ended.finished_at is not None
        assert states(ledger) == {"poison": 1}
        assert ledger.runs.start_or_join("hmm", "hmm", "api")[1] is False

    def test_takeover_frees_the_dead_ones_files(self, ledger: Ledger) -> None:
        """The next worker claims again what the dead one held, and the attempt is on record."""
        sealed = seal(ledger, range(2))
        dead = started(ledger)
        dead.claim_files()
        dead.counts(2, 120, 240)
        dead.progress({"restart": 2})
        ledger.leases.release(dead.lease)  # ended, as if its time had run out
        successor = ledger.runs.lease(dead.run.id, "next", TTL)
        assert successor is not None
        assert states(ledger) == {"downloaded": 2}
        assert (successor.run.claimed_files, successor.run.new_bars, successor.run.window_bars) == (0, 0, 0)
        assert successor.run.progress == {}
        assert successor.run.started_at == dead.run.started_at is not None
        assert ids(successor) == sealed
        assert [row.attempts for row in ledger.claims.consumption("hmm")] == [2, 2]


class TestNeighbours:
    def test_each_step_takes_what_the_run_holds(self, ledger: Ledger) -> None:
        """Giving back and consuming leave another consumer's claims alone, and the poison that the run left earlier."""
        poison, *others = seal(ledger, range(3))
        other, lease = started(ledger, consumer="other"), started(ledger)
        other.claim_files()
        lease.claim_files()
        with ledger._db.write() as connection:
            mine = update(rows).where(rows.c.consumer == "hmm", rows.c.file_id == poison)
            connection.execute(mine.values(state=ClaimState.POISON))
            connection.execute(update(rows).values(changed_at=0))
        before = ledger.claims.consumption("other")
        left = (poison, ClaimState.POISON, lease.run.id, 1)

        lease.give_back()
        assert told(ledger) == [left, *((file, ClaimState.DOWNLOADED, None, 0) for file in others)]
        with ledger._db.read() as connection:
            free = rows.c.state == ClaimState.DOWNLOADED
            assert all(connection.execute(select(rows.c.changed_at).where(free)).scalars())
        again = ledger.runs.lease(lease.run.id, "worker", TTL)
        assert again is not None
        assert ids(again) == others
        with ledger._db.write() as connection:
            connection.execute(update(rows).values(changed_at=0))
        parked, used = others
        for file in (poison, parked):
            again.park(file)
        with ledger._db.read() as connection:
            changed = select(rows.c.consumer, rows.c.file_id).where(rows.c.changed_at > 0)
            assert connection.execute(changed).all() == [("hmm", parked)]
        again.publish(new_version(1), PASSED)
        run = lease.run.id
        assert told(ledger) == [left, (parked, ClaimState.POISON, run, 1), (used, ClaimState.PROCESSED, run, 1)]
        assert ledger.claims.consumption("other") == before

    def test_a_file_that_was_quarantined_later_keeps_its_place(self, ledger: Ledger) -> None:
        """One that a consumer holds is counted, and one that nobody touched is not."""
        seal(ledger, range(2))
        started(ledger).claim_files(1)
        with ledger._db.write() as connection:
            connection.execute(update(files).values(quarantined="its digest differs"))
        assert states(ledger) == {"processing": 1, "downloaded": 1}
        assert states(ledger, "other") == {}


def told(ledger: Ledger) -> list[tuple[int, str, int | None, int]]:
    return [(each.file_id, each.state, each.run_id, each.attempts) for each in ledger.claims.consumption("hmm")]
