"""fsck of parameter control finds each kind of damage that is planted, and nothing where there is none."""

import pytest
from sqlalchemy import delete, select, update

from tests.libs.ledger.control.deciding import BTC, ETH, RULES, asked, decided, expire, learn, menu, report
from tidewheel.contracts.keys import PairKey
from tidewheel.ledger.control.checks import wrong_numbers, wrong_outcomes, wrong_posteriors
from tidewheel.ledger.control.tables import decisions, guardrails, outcomes, posteriors
from tidewheel.ledger.open import Ledger

FIRST = select(guardrails.c.id).where(guardrails.c.instrument == BTC.instrument).scalar_subquery()
OTHER = select(guardrails.c.id).where(guardrails.c.instrument == ETH.instrument).scalar_subquery()
OF_FIRST = {table.name: table.c.pair_id == FIRST for table in (decisions, outcomes, posteriors)}
CHECKS = {"decisions": wrong_numbers, "outcomes": wrong_outcomes, "posteriors": wrong_posteriors}
#: the check, what is planted, and what it says of that
DAMAGES = [
    ("decisions", update(decisions).where(OF_FIRST["decisions"], decisions.c.number == 4).values(number=9),
     "momentum/BTC/USDT has 4 decisions from 1 to 9, and counted 4"),
    ("decisions", update(decisions).where(OF_FIRST["decisions"], decisions.c.number == 1).values(number=0),
     "has 4 decisions from 0 to 4"),
    ("decisions", update(guardrails).where(guardrails.c.id == FIRST).values(decisions=5), "and counted 5"),
    ("outcomes", update(outcomes).where(OF_FIRST["outcomes"], outcomes.c.seq == 2).values(seq=7),
     "has 2 outcomes from 1 to 7, and counted 2"),
    ("outcomes", update(guardrails).where(guardrails.c.id == FIRST).values(learnt=3), "and counted 3"),
    ("outcomes", update(decisions).where(OF_FIRST["decisions"], decisions.c.number == 1).values(state="open"),
     "is open, and its outcome is reported"),
    ("outcomes", update(decisions).where(OF_FIRST["decisions"], decisions.c.number == 1).values(state="expired"),
     "is expired, and its outcome is reported"),
    ("outcomes", update(decisions).where(OF_FIRST["decisions"], decisions.c.number == 2).values(state="settled"),
     "is settled, and its outcome is defaulted"),
    ("outcomes", update(decisions).where(OF_FIRST["decisions"], decisions.c.number == 3).values(state="settled"),
     "is settled, and its outcome is missing"),
    ("outcomes", update(outcomes).where(OF_FIRST["outcomes"], outcomes.c.seq == 2).values(pair_id=OTHER, seq=2),
     "is expired, and its outcome is defaulted"),
    ("outcomes", update(outcomes).where(OF_FIRST["outcomes"], outcomes.c.seq == 1).values(reward=3.5),
     "momentum/BTC/USDT realised 2.5, and its outcomes sum to 3.5"),
    ("posteriors", update(posteriors).where(OF_FIRST["posteriors"]).values(state=b"rot"),
     "the posterior of momentum/BTC/USDT is inf from what its log adds up to"),
    ("posteriors", delete(posteriors).where(OF_FIRST["posteriors"]), "the posterior of momentum/BTC/USDT is inf"),
]  # fmt: skip


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """Decisions of two pairs: settled, expired, open."""
    menu(ledger, BTC, ETH, PairKey("momentum", "nobody asked"))
    made = decided(ledger, *[asked() for _ in range(4)], asked(ETH))
    learn(ledger, report(made[0], 2.5))
    learn(ledger, report(made[4], 1.0))
    expire(ledger, made[1].id)
    ledger.outcomes.settle_due(1, lambda _: RULES)
    return ledger


def test_a_sound_ledger_passes(ledger: Ledger, filled: Ledger) -> None:
    """Each check tells how much it has looked at; the quick form leaves the logs unread."""
    found = {each.check: each for each in filled.fsck()}
    assert all(each.ok for each in found.values())
    assert [found[name].count for name in ("decisions", "outcomes", "posteriors")] == [5, 3, 3]
    assert found["outcomes"].detail == "3 outcomes stand for one decision each"
    assert {each.check for each in filled.fsck(files=False)} == set(found) - {"blobs", "orphans", "posteriors"}


def test_planted_damage_is_found(ledger: Ledger, filled: Ledger) -> None:
    """Each in a transaction of its own that is taken back: the check that should find it says where."""
    for check, damage, says in DAMAGES:
        with ledger._db.write() as connection, connection.begin_nested() as planted:
            connection.execute(damage)
            wrong, _ = CHECKS[check](connection)
            planted.rollback()
        assert any(says in each for each in wrong), (says, wrong)
    assert all(each.ok for each in ledger.fsck())


def test_what_is_wrong_is_told_in_order(ledger: Ledger, filled: Ledger) -> None:
    """By pair and decision, oldest first."""
    with ledger._db.write() as connection:
        connection.execute(update(guardrails).values(decisions=9, learnt=9, realised=0.125))
        connection.execute(update(decisions).values(state="settled"))
        connection.execute(update(posteriors).values(state=b"rot"))
    found = {each.check: each for each in ledger.fsck()}
    pairs = ["momentum/BTC/USDT", "momentum/ETH/USDT", "momentum/nobody asked"]
    for check, of_pairs in (("decisions", 3), ("posteriors", 2)):
        told = found[check].detail.split("; ")
        assert all(pair in each for pair, each in zip(pairs[:of_pairs], told, strict=True))
    with ledger._db.read() as connection:
        wrong, _ = wrong_outcomes(connection)
    assert [next(pair for pair in pairs if pair in each) for each in wrong if "momentum" in each] == pairs * 2
    assert [each.partition(" is ")[0] for each in wrong if "decision" in each] == [
        "decision 2", "decision 3", "decision 4",
    ]  # fmt: skip


def test_fsck_tells_it(ledger: Ledger, filled: Ledger) -> None:
    """What a check finds fails it by its name, and the others still pass."""
    with ledger._db.write() as connection:
        connection.execute(update(posteriors).where(OF_FIRST["posteriors"]).values(state=b"rot"))
    assert [each.check for each in ledger.fsck() if not each.ok] == ["posteriors"]
