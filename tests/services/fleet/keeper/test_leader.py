"""One keeper acts at a time; duties survive each other's failures."""

import threading
from datetime import UTC, datetime
from functools import partial

import pytest

from services.fleet.keeper.app import retrain_row
from services.fleet.keeper.leader import LEASE_NAME, Duty, Keeper
from services.fleet.keeper.settings import KeeperSettings
from tests.waiting import until
from tidewheel.contracts.errors import Unavailable
from tidewheel.kit.settings import load
from tidewheel.ledger.open import Ledger


def test_the_second_keeper_waits_and_takes_over(ledger: Ledger) -> None:
    """A stopped leader hands over; both never lead together."""
    acted: list[str] = []
    first, second = (
        Keeper(ledger.leases, name, 1.0, [Duty(name="mark", every=0.02, act=partial(acted.append, name))])
        for name in ("first", "second")
    )
    first.start()
    until(first.leading.is_set)
    second.start()
    until(lambda: len(acted) > 3)
    assert not second.leading.is_set()
    assert set(acted) == {"first"}

    first.stop()
    until(second.leading.is_set)
    second.stop()

    assert ledger.leases.get(LEASE_NAME) is None


def test_a_failing_duty_does_not_stop_the_others(ledger: Ledger) -> None:
    """It is tried again at its next turn."""
    tries: list[int] = []
    other = threading.Event()

    def fail() -> None:
        tries.append(1)
        raise Unavailable("the broker is away")

    keeper = Keeper(
        ledger.leases,
        "keeper",
        5.0,
        [Duty(name="failing", every=0.02, act=fail), Duty(name="other", every=0.02, act=other.set)],
    )
    keeper.start()
    until(lambda: len(tries) > 2 and other.is_set())
    keeper.ping()
    keeper.stop()

    with pytest.raises(Unavailable):
        keeper.ping()


def test_two_keepers_make_one_scheduled_run(ledger: Ledger) -> None:
    """The moment's name is unique in the ledger."""
    settings = load(KeeperSettings, retrain_cron="0 * * * *", auth_mode="dev")
    now = datetime(2026, 1, 1, 12, 0, 5, tzinfo=UTC)

    for row in (retrain_row(ledger, settings), retrain_row(ledger, settings)):
        row(now)
        for run in ledger.runs.list():
            ledger.runs.cancel(run.id, "test")

    assert [run.schedule_key for run in ledger.runs.list()] == ["hmm@2026-01-01T12:00:00Z"]
