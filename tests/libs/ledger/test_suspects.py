"""Which files a run takes when some have failed together."""

import random
from typing import Any

import pytest
from sqlalchemy import case, insert, select, update

from tests.libs.ledger.rows import HOUR, PASSED, new_version, seal
from tests.libs.ledger.test_runs import started
from tidewheel.contracts.states import ClaimState, RunState
from tidewheel.ledger.claims import LAST_ATTEMPT, MAX_ATTEMPTS, acquit
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.suspects import SUSPECT
from tidewheel.ledger.tables import claims, files


def consume(ledger: Ledger, guilty: set[int], number: int) -> list[int]:
    """One run, which fails if it holds a guilty file; what it held."""
    lease = started(ledger)
    held = [file.id for file in lease.claim_files()]
    if guilty & set(held):
        lease.finish(RunState.FAILED, "the fit was killed")
    elif held:
        lease.publish(new_version(number), PASSED)
    else:
        lease.finish(RunState.SKIPPED, "no_new_data")
    return held


@pytest.mark.parametrize("culprits", [1, 2])
def test_poison_falls_on_the_guilty_alone(ledger: Ledger, culprits: int) -> None:
    """Among 40 files the guilty are found by halving, in logarithmically many runs; all others are consumed once."""
    files = seal(ledger, range(40))
    guilty = set(random.Random(1).sample(files, culprits))
    runs = 0
    while ledger.claims.states("hmm")[ClaimState.DOWNLOADED]:
        consume(ledger, guilty, runs)
        runs += 1
        assert runs <= 15 * culprits

    record = {each.file_id: each for each in ledger.claims.consumption("hmm")}
    assert {file for file, each in record.items() if each.state is ClaimState.POISON} == guilty
    assert all(record[file].state is ClaimState.PROCESSED for file in set(files) - guilty)


@pytest.mark.parametrize(
    ("attempts", "of_corrections", "counts"),
    [(0, 0, (6, 4, 4, 2)), (SUSPECT + 1, 0, (2, 2, 1, 1)), (SUSPECT + 1, SUSPECT + 1, (3, 2, 2, 1))],
)
def test_what_is_asked_for_is_taken_and_suspects_of_it_in_halves(
    ledger: Ledger, attempts: int, of_corrections: int, counts: tuple[int, ...]
) -> None:
    """In strict mode and of one timeframe too, the oldest of files that were listed before; none that was quarantined
    meanwhile or is consumed, and none for another consumer."""
    asked: list[dict[str, Any]] = [{}, {"strict": True}, {"timeframe": "1m"}, {"strict": True, "timeframe": "1m"}]
    closed = [*seal(ledger, range(1), stream="a:A/B:1m"), *seal(ledger, range(1), stream="a:A/C:1m")]
    newest, _ = seal(ledger, range(1, -1, -1))
    seal(ledger, range(1, -1, -1), stream="binance:BTC/USDT:5m")
    corrections = seal(ledger, range(1, -1, -1), revision=1)
    other = started(ledger, consumer="other")
    other.claim_files()
    third = {"consumer": "third", "file_id": newest, "state": ClaimState.DOWNLOADED, "changed_at": 1}
    with ledger._db.write() as connection:
        connection.execute(insert(claims).values(third))
    past = case(
        (claims.c.consumer == "third", attempts + 9),
        (claims.c.file_id.in_(corrections), of_corrections),
        else_=attempts,
    )
    for how, count in zip(asked, counts, strict=True):
        lease = started(ledger)
        lease.claim_files()
        lease.finish(RunState.SKIPPED, "no_new_data")
        with ledger._db.write() as connection:
            connection.execute(update(claims).values(attempts=past, changed_at=1))
            connection.execute(update(files).where(files.c.id == closed[0]).values(quarantined="its digest differs"))
            mine = (claims.c.consumer == "hmm") & (claims.c.file_id == closed[1])
            connection.execute(update(claims).where(mine).values(state=ClaimState.PROCESSED))
        lease = started(ledger)
        taken = lease.claim_files(**how)
        assert len(taken) == count
        assert {file.start for file in taken} == ({0} if attempts else {0, HOUR})
        assert not {file.id for file in taken} & set(closed)
        with ledger._db.read() as connection:
            held = claims.c.run_id == lease.run.id
            assert min(connection.execute(select(claims.c.changed_at).where(held)).scalars()) > 1
        lease.finish(RunState.SKIPPED, "no_new_data")
        assert {each.run_id for each in ledger.claims.consumption("other")} == {other.run.id}


def test_a_fit_acquits_the_files_of_its_run(ledger: Ledger) -> None:
    """Those that it holds now: another consumer's, and the poison that it left earlier, keep their record."""
    files = seal(ledger, range(2))
    mine, other = (ledger.runs.start_or_join(name, "hmm", "test")[0].id for name in ("hmm", "other"))
    held, poison = ClaimState.PROCESSING, ClaimState.POISON
    rows = [("hmm", files[0], held, mine), ("hmm", files[1], poison, mine), ("other", files[0], held, other)]
    with ledger._db.write() as connection:
        for row in rows:
            values = dict(zip(("consumer", "file_id", "state", "run_id"), row, strict=True))
            connection.execute(insert(claims).values(values | {"attempts": 5, "changed_at": 0}))
        acquit(connection, mine)
    assert [each.attempts for name in ("hmm", "other") for each in ledger.claims.consumption(name)] == [1, 5, 5]


def test_others_go_on_while_the_guilty_is_sought(ledger: Ledger) -> None:
    """A file that comes while others are under suspicion is in the run after their next failure at the latest."""
    files = seal(ledger, range(8))
    for number in range(3):
        assert consume(ledger, set(files), number) == files
    (newcomer,) = seal(ledger, range(8, 9))
    assert consume(ledger, set(files), 3) == files[:4]
    assert consume(ledger, set(files), 4) == [newcomer]
    assert consume(ledger, set(files), 5) == files[:2]


def test_a_run_that_needs_more_bars_asks_again(ledger: Ledger) -> None:
    """Each further call gives more of the suspects, then the rest, until there are no more."""
    files = seal(ledger, range(8))
    for number in range(3):
        consume(ledger, set(files), number)
    lease = started(ledger)
    assert [len(lease.claim_files()) for _ in range(5)] == [4, 6, 7, 8, 8]
    newcomer = seal(ledger, range(8, 9))
    assert [file.id for file in lease.claim_files()] == [*files, *newcomer]


def test_a_fit_that_ended_well_acquits(ledger: Ledger) -> None:
    """Files on trial whose fit did not fail, though nothing could be published, are suspects no longer; the other half
    stays under suspicion. A run of files that never failed together is no trial."""
    files = seal(ledger, range(8))
    for number in range(3):
        consume(ledger, set(files), number)
    lease = started(ledger)
    assert not lease.on_trial
    assert [file.id for file in lease.claim_files()] == files[:4]
    assert lease.on_trial

    lease.finish(RunState.SKIPPED, "not_enough_data", acquitted=True)

    assert [each.attempts for each in ledger.claims.consumption("hmm")] == [0] * 4 + [3] * 4
    assert consume(ledger, set(files), 4) == files[4:6]
    lease = started(ledger)
    assert [file.id for file in lease.claim_files()] == files[:4]
    assert not lease.on_trial


def test_files_that_can_only_be_trained_together_are_parked_in_the_end(ledger: Ledger) -> None:
    """Held in company, a file is poison only at the last attempt: the trainer may have no smaller group to try."""
    files = seal(ledger, range(2))
    for attempt in range(LAST_ATTEMPT):
        assert ledger.claims.states("hmm")[ClaimState.DOWNLOADED] == 2, attempt
        lease = started(ledger)
        while len(lease.claim_files()) < len(files):
            assert attempt >= 3
        lease.finish(RunState.FAILED, "the fit was killed")
    assert LAST_ATTEMPT > MAX_ATTEMPTS
    assert ledger.claims.states("hmm")[ClaimState.POISON] == 2
