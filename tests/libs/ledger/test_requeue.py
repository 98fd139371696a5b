"""What a person can put right: poison files, and a lease that must end now."""

import pytest
from sqlalchemy import select, update

from tests.libs.ledger.rows import PASSED, new_version, seal
from tidewheel.contracts.errors import Conflict, FenceLost, NotFound
from tidewheel.contracts.states import ClaimState, RunState
from tidewheel.ledger.claims import MAX_ATTEMPTS
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.run_lease import RunLease
from tidewheel.ledger.tables import claims


def leased(ledger: Ledger) -> RunLease:
    run, _ = ledger.runs.start_or_join("hmm", "hmm", "test")
    lease = ledger.runs.lease(run.id, "worker", 60_000)
    assert lease is not None
    return lease


def test_poison_is_free_again(ledger: Ledger) -> None:
    """A poison file names its last run; put back, it is claimed as if never tried, and its record says by whom."""
    (file,) = seal(ledger, range(1))
    for _ in range(MAX_ATTEMPTS):
        lease = leased(ledger)
        lease.claim_files()
        lease.finish(RunState.FAILED, "broken")
    (poison,) = ledger.claims.consumption("hmm")
    assert (poison.state, poison.run_id) == (ClaimState.POISON, lease.run.id)
    assert all(finding.ok for finding in ledger.fsck() if finding.check == "claims")

    assert ledger.claims.requeue("hmm", [file], "a person") == [file]

    (free,) = ledger.claims.consumption("hmm")
    assert (free.state, free.attempts, free.run_id) == (ClaimState.DOWNLOADED, 0, None)
    assert free.requeued_by == "a person"
    assert [each.id for each in leased(ledger).claim_files()] == [file]


def test_what_was_put_back_is_told_in_order(ledger: Ledger) -> None:
    """The ids come in ascending order, however they were named and whichever was written last."""
    files = seal(ledger, range(3))
    lease = leased(ledger)
    lease.claim_files()
    lease.finish(RunState.FAILED, "broken")
    with ledger._db.write() as connection:
        connection.execute(update(claims).values(changed_at=0))
        connection.execute(update(claims).where(claims.c.file_id == files[0]).values(attempts=4))

    assert ledger.claims.requeue("hmm", files[::-1], "a person") == files

    with ledger._db.read() as connection:
        assert all(connection.execute(select(claims.c.changed_at)).scalars())


def test_only_the_named_files_of_the_consumer_are_put_back(ledger: Ledger) -> None:
    """Another file, and the same file for another consumer, keep their failed attempts."""
    named, other = seal(ledger, range(2))
    for consumer in ("hmm", "lstm"):
        run, _ = ledger.runs.start_or_join(consumer, consumer, "test")
        lease = ledger.runs.lease(run.id, "worker", 60_000)
        assert lease is not None
        assert [each.id for each in lease.claim_files()] == [named, other]
        lease.finish(RunState.FAILED, "broken")
    before = ledger.claims.consumption("lstm")
    assert {each.attempts for each in before} == {1}

    assert ledger.claims.requeue("hmm", [named], "a person") == [named]

    assert [(each.file_id, each.attempts, each.requeued_by) for each in ledger.claims.consumption("hmm")] == [
        (named, 0, "a person"), (other, 1, None),
    ]  # fmt: skip
    assert ledger.claims.consumption("lstm") == before


def test_held_and_consumed_files_stay(ledger: Ledger) -> None:
    """A file that a run holds or has consumed is not put back: that would train it twice."""
    (file,) = seal(ledger, range(1))
    lease = leased(ledger)
    lease.claim_files()
    with pytest.raises(Conflict, match="is processing by run"):
        ledger.claims.requeue("hmm", [file], "a person")
    lease.publish(new_version(1), PASSED)
    with pytest.raises(Conflict, match="is processed by run"):
        ledger.claims.requeue("hmm", [file], "a person")


def test_a_parked_file_is_poison_at_once_and_alone(ledger: Ledger) -> None:
    """What cannot be read waits for a person, by whose word it is free again; the run consumes the others."""
    first, second = seal(ledger, range(2))
    (free,) = seal(ledger, range(2, 3))
    lease = leased(ledger)
    lease.claim_files(limit=2)

    lease.park(second)
    lease.park(free)  # not held: left alone
    lease.publish(new_version(1), PASSED)

    states = {each.file_id: (each.state, each.run_id) for each in ledger.claims.consumption("hmm")}
    assert states[first] == (ClaimState.PROCESSED, lease.run.id)
    assert states[second] == (ClaimState.POISON, lease.run.id)
    assert free not in states or states[free] == (ClaimState.DOWNLOADED, None)
    assert ledger.claims.requeue("hmm", [second], "a person") == [second]
    with pytest.raises(FenceLost):
        lease.park(second)


def test_a_released_lease_is_gone(ledger: Ledger) -> None:
    """Its holder writes nothing more; for a lease that nobody holds, those that are held are told."""
    lease = leased(ledger)
    with pytest.raises(NotFound, match=f"nobody holds a lease called 'run:no'; held now: {lease.lease.name}$"):
        ledger.leases.end("run:no")

    assert ledger.leases.end(lease.lease.name).owner == "worker"

    with pytest.raises(FenceLost):
        lease.claim_files()
    with pytest.raises(NotFound, match="held now: none"):
        ledger.leases.end(lease.lease.name)
