"""Every decision follows from the log: through retired presets, limits, kill switches, late outcomes and rollbacks."""

from json import dumps

import pytest
from sqlalchemy import text

from services.param_controller.service.review.replaying import replay
from services.param_controller.service.review.retrace import retrace
from services.param_controller.service.schema_files import Schemas
from tests.services.param_controller.desk import BTC, Desk, changed
from tidewheel.contracts.errors import NotFound
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.states import Reason
from tidewheel.ledger.open import Ledger

CALM = {"lookback": 200, "stop": 2.0}


def lively(ledger: Ledger) -> Desk:
    """A pair that has been through everything: 76 decisions."""
    schema = changed(policy={"exploration": 8.0}, guardrails={"hysteresis": 3.0, "changes_per_day": 12})
    desk = Desk(ledger, schema, noise=6.0).open()
    desk.trade(15)
    ledger.presets.register(BTC, "calm", CALM, "desk")
    early = desk.decide(5)
    late = desk.decide(5)
    desk.settle(late)
    desk.settle(early)
    before = ledger.now()
    while ledger.now() == before:
        pass
    desk.trade(10)
    ledger.posteriors.rollback(BTC, before, "desk", "told in the wrong unit")
    desk.trade(10)
    ledger.switches.trip(BTC, "desk", "to see", "hand")
    desk.trade(5)
    ledger.switches.clear(BTC, "desk", "seen")
    ledger.presets.retire(BTC, "slow", "desk", "too few trades")
    desk.trade(25)
    desk.decide(1)
    return desk


def tampered(ledger: Ledger, statement: str) -> None:
    """What nobody should do to a ledger."""
    with ledger._db.write() as connection:
        assert connection.execute(text(statement)).rowcount == 1


def test_every_decision_follows_from_the_log(ledger: Ledger) -> None:
    """The same dice on the same knowledge pick the same preset, with the same reason and propensities."""
    desk = lively(ledger)
    found = replay(ledger, desk.schemas, BTC)
    reasons = {each.decision.reason for each in ledger.decisions.log(BTC)}

    assert (found.same, found.missing, found.differences) == (76, 0, ())
    assert reasons >= {Reason.EXPLORED, Reason.EXPLOITED, Reason.KILL_SWITCH, Reason.HELD_BY_HYSTERESIS}
    assert replay(ledger, desk.schemas, BTC, newest=10).same == 10


def test_the_posteriors_of_a_walk_are_those_of_a_rebuild(ledger: Ledger) -> None:
    """At each decision the walk knows, to the byte, what the ledger rebuilds for it."""
    lively(ledger)
    for moment in retrace(ledger, BTC):
        if moment.logged.decision.number % 5 == 1:
            rebuilt = ledger.posteriors.rebuild(BTC, before=moment.logged.decision)
            known = {place: posterior.to_bytes() for place, posterior in moment.learned.items()}
            assert known == {place: posterior.to_bytes() for place, posterior in rebuilt.items()}


def test_a_planted_change_is_noticed(ledger: Ledger) -> None:
    """Another preset, reward, propensity, reason or number in the log, and a decision no longer follows from it."""
    desk = lively(ledger)
    rows = [each.decision for each in ledger.decisions.log(BTC)]
    second = rows[1]
    other = "slow" if second.preset_id == "fast" else "fast"
    halved = {name: value / 2 for name, value in second.propensities.items()}
    planted = [
        ("decisions", "preset_id", f"'{other}'", f"'{second.preset_id}'", "number = 2"),
        ("decisions", "reason", "'daily_limit'", f"'{second.reason}'", "number = 2"),
        ("decisions", "propensities", f"'{dumps(halved)}'", f"'{dumps(dict(second.propensities))}'", "number = 2"),
        ("outcomes", "learnt_reward", "learnt_reward + 1", "learnt_reward - 1", "seq = 3"),
        ("decisions", "number", "1000", "76", "number IN (76, 1000)"),
    ]
    assert replay(ledger, desk.schemas, BTC).whole
    for table, column, wrong, right, where in planted:
        tampered(ledger, f"UPDATE {table} SET {column} = {wrong} WHERE {where}")
        found = replay(ledger, desk.schemas, BTC)
        tampered(ledger, f"UPDATE {table} SET {column} = {right} WHERE {where}")
        assert not found.whole, f"another {column} went unnoticed"
        if where == "number = 2":
            assert found.differences[0].number == 2
        if column == "number":
            assert found.missing == 924


def test_decisions_of_another_policy_are_counted_apart(ledger: Ledger) -> None:
    """What another schema decided cannot be derived by this one, and is not called wrong."""
    desk = Desk(ledger).open()
    desk.trade(10)
    wider = Desk(ledger, changed(policy={"exploration": 9.0}))
    wider.trade(5)
    found = replay(ledger, wider.schemas, BTC)

    assert (found.same, found.other_policy, found.differences) == (5, 10, ())


def test_an_unknown_pair_is_not_found(ledger: Ledger) -> None:
    """Nothing to replay is not a success."""
    for key in (BTC, PairKey("unknown", "BTC/USDT")):
        with pytest.raises(NotFound):
            replay(ledger, Schemas([changed()]), key)
