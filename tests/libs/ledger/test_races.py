"""What a transaction must wait for, one race at a time: an open transaction stands in the way, and is then committed.

On SQLite the write lock makes every writer wait; on Postgres a row lock or an advisory lock has to.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, update

from tests.libs.ledger.control.deciding import BTC, RULES, asked, decided, menu, report, standing
from tests.libs.ledger.rows import PASSED, new_version, published, seal
from tests.libs.ledger.test_runs import TTL, started
from tidewheel.contracts.errors import Conflict
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.states import ClaimState, RunState
from tidewheel.ledger.control.switches import trip
from tidewheel.ledger.control.tables import decisions, guardrails
from tidewheel.ledger.leases import guard
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.suspects import SUSPECT
from tidewheel.ledger.tables import claims, leases, runs

_A_MOMENT = 0.3  #: seconds in which the other would be done, were it not waiting


@contextmanager
def waiting(ledger: Ledger, ask: Callable[[], Any], answers: list[Any]) -> Iterator[Connection]:
    """A transaction whose block runs first; then another thread asks, and has to wait until this one is committed."""

    def call() -> None:
        try:
            answers.append(ask())
        except Conflict as error:
            answers.append(error)

    thread = threading.Thread(target=call)
    with ledger._db.write() as connection:
        yield connection
        thread.start()
        thread.join(_A_MOMENT)
        assert thread.is_alive(), f"nothing was waited for: {answers}"
    thread.join()


def test_a_run_that_is_being_cancelled_is_not_taken_up(ledger: Ledger) -> None:
    """Who takes a run up waits for a person's word on it, and heeds it."""
    run, _ = ledger.runs.start_or_join("hmm", "hmm", "api")
    answers: list[Any] = []
    with waiting(ledger, lambda: ledger.runs.lease(run.id, "worker", TTL), answers) as connection:
        word = {"state": RunState.CANCELLED, "cancel_requested": True}
        connection.execute(update(runs).where(runs.c.id == run.id).values(word))
    assert answers == [None]
    assert ledger.runs.get(run.id).state is RunState.CANCELLED


def test_a_file_that_is_being_claimed_is_not_requeued(ledger: Ledger) -> None:
    """Who puts a file back waits for the run that is just taking it, and is refused."""
    (file,) = seal(ledger, range(1))
    lease = started(ledger)
    lease.claim_files()
    lease.finish(RunState.FAILED, "the fit was killed")
    answers: list[Any] = []
    with waiting(ledger, lambda: ledger.claims.requeue("hmm", [file], "desk"), answers) as connection:
        connection.execute(update(claims).values(state=ClaimState.PROCESSING, run_id=lease.run.id))
    assert [type(each) for each in answers] == [Conflict]
    assert ledger.claims.states("hmm")[ClaimState.PROCESSING] == 1


def test_files_that_are_being_listed_are_listed_once(ledger: Ledger) -> None:
    """Who lists new files waits for another who does, and takes them as that one left them."""
    (file,) = seal(ledger, range(1))
    lease, answers = started(ledger), list[Any]()
    with waiting(ledger, lease.claim_files, answers) as connection:
        row = {"consumer": "hmm", "file_id": file, "state": ClaimState.DOWNLOADED, "changed_at": 1}
        connection.execute(insert(claims).values(row))
    assert [[each.id for each in held] for held in answers] == [[file]]


@pytest.mark.parametrize("attempts", [0, SUSPECT])
def test_a_claim_goes_around_what_another_holds(ledger: Ledger, dialect: str, attempts: int) -> None:
    """On Postgres a claim takes the other files at once; on SQLite it waits, as every writer does."""
    files = seal(ledger, range(2))
    lease = started(ledger)
    lease.claim_files()
    lease.finish(RunState.SKIPPED, "no_new_data")
    with ledger._db.write() as connection:
        connection.execute(update(claims).values(attempts=attempts))
    lease = started(ledger)
    if dialect == "sqlite":
        answers: list[Any] = []
        with waiting(ledger, lease.claim_files, answers):
            pass
        assert [file.id for file in answers[0]] == (files[:1] if attempts else files)
        return
    with ledger._db.write() as connection:
        connection.execute(select(claims.c.file_id).where(claims.c.file_id == files[0]).with_for_update())
        assert [file.id for file in lease.claim_files()] == files[1:]


def test_a_guarded_write_keeps_its_right_until_it_is_done(ledger: Ledger) -> None:
    """While a holder writes nobody can end its right; so what it writes was its to write."""
    lease = started(ledger)
    name, answers = lease.lease.name, list[Any]()
    with waiting(ledger, lambda: ledger.leases.end(name), answers) as connection:
        guard(ledger._db, connection, lease.lease)
    assert [each.fence for each in answers] == [lease.lease.fence]


def test_a_right_that_changes_hands_is_ended_all_the_same(ledger: Ledger) -> None:
    """Who ends a right waits for the one who is just taking it, and ends that one's."""
    lease = ledger.leases.acquire("keeper", "a", TTL)
    assert lease is not None
    answers: list[Any] = []
    with waiting(ledger, lambda: ledger.leases.end("keeper"), answers) as connection:
        connection.execute(update(leases).values(owner="b", fence=lease.fence + 1))
    assert [(each.owner, each.fence) for each in answers] == [("b", lease.fence + 1)]
    assert ledger.leases.get("keeper") is None


@pytest.mark.parametrize("move", ["promote", "rollback"])
def test_moves_of_a_champion_wait_for_each_other(ledger: Ledger, move: str) -> None:
    """A move that is under way is finished before the next one looks at what is the champion."""
    first, second = published(ledger, 1), published(ledger, 2)
    moves = {
        "promote": lambda: ledger.versions.promote("hmm", first, "me", "x"),
        "rollback": lambda: ledger.versions.rollback("hmm", "me", "x"),
    }
    answers: list[Any] = []
    with waiting(ledger, moves[move], answers) as connection:
        ledger._db.lock(connection, "family:hmm")
    assert [(each.version, each.previous) for each in answers] == [(first, second)]


@pytest.mark.parametrize("move", ["promote", "publish", "adopt"])
def test_a_promotion_waits_for_a_switch_that_is_being_tripped(ledger: Ledger, move: str) -> None:
    """No champion moves once a trip has returned: who promotes meanwhile waits for it, and heeds it."""
    first, second = published(ledger, 1), published(ledger, 2)
    ledger.versions.rollback("hmm", "me", "x")
    lease = started(ledger)
    moves = {
        "promote": lambda: ledger.versions.promote("hmm", second, "me", "x"),
        "publish": lambda: lease.publish(new_version(3), PASSED).state,
        "adopt": lambda: ledger.versions.adopt("hmm", second),
    }
    answers: list[Any] = []
    with waiting(ledger, moves[move], answers) as connection:
        trip(ledger._db, connection, None, "risk", "x", "hand")
    champion = ledger.versions.champion("hmm")
    assert champion is not None and champion.version == first
    assert [each if move == "publish" else each.code for each in answers] == [
        RunState.REFUSED if move == "publish" else "kill_switch"
    ]  # fmt: skip


@pytest.mark.parametrize("scope", [BTC, None])
def test_a_decision_waits_for_a_switch_that_is_being_tripped(ledger: Ledger, scope: PairKey | None) -> None:
    """Once a trip has returned every decision that is committed later knows of it."""
    menu(ledger)
    answers: list[Any] = []
    with waiting(ledger, lambda: standing(ledger).frozen, answers) as connection:
        ledger.switches._lock(connection, scope)
        trip(ledger._db, connection, scope, "risk", "x", "hand")
    assert answers == ledger.switches.tripped()


def test_whoever_changes_a_pair_waits_for_the_one_who_does(ledger: Ledger) -> None:
    """Everything that is counted or added up is so under the lock of the pair's row, from what stands there then."""
    menu(ledger)
    made, due = decided(ledger, asked(), asked(choose="slow"))
    ledger.switches.trip(BTC, "risk", "x", "hand")
    with ledger._db.write() as connection:
        connection.execute(update(decisions).where(decisions.c.id == due.id).values(expires_at=0))
    asks: list[Callable[[], Any]] = [
        lambda: ledger.presets.register(BTC, "best", {"lookback": 1}, "desk"),
        lambda: ledger.presets.retire(BTC, "slow", "desk", "x"),
        lambda: ledger.decisions.decide([asked()]),
        lambda: ledger.outcomes.learn([report(made)]),
        lambda: ledger.outcomes.settle_due(1, lambda _: RULES),
        lambda: ledger.posteriors.rollback(BTC, 0, "desk", "x"),
        lambda: ledger.switches.clear(BTC, "admin", "x"),
        lambda: ledger.switches.trip(None, "risk", "x", "hand"),
    ]
    threads = [threading.Thread(target=ask) for ask in asks]
    with ledger._db.write() as connection:
        connection.execute(update(guardrails).values(realised=100.0))
        for thread in threads:
            thread.start()
        threads[-1].join(_A_MOMENT)
        assert [thread.is_alive() for thread in threads] == [True] * len(asks)
    for thread in threads:
        thread.join()
    assert ledger.presets.pair(BTC).realised == 101.0


def test_a_pair_that_is_just_being_made_is_made_once(ledger: Ledger) -> None:
    """Who registers the first preset of a pair waits for another who does, and joins it."""
    answers: list[Any] = []
    ask = lambda: ledger.presets.register(BTC, "fast", {"lookback": 5}, "desk")  # noqa: E731
    with waiting(ledger, ask, answers) as connection:
        connection.execute(insert(guardrails).values(strategy=BTC.strategy, instrument=BTC.instrument))
    assert [new for _, new in answers] == [True]
    assert [each.key for each in ledger.presets.pairs()] == [BTC]
