"""Posteriors: the log is the truth, and what is stored is what it adds up to; on both dialects."""

from dataclasses import replace

import pytest
from sqlalchemy import delete, select, update

from tests.libs.ledger.control.deciding import (
    ALIKE,
    BTC,
    ETH,
    RULES,
    asked,
    choice,
    decide,
    decided,
    expire,
    learn,
    menu,
    report,
    standing,
    stored,
)
from tidewheel.contracts.errors import BadInput, NotFound, PosteriorUnusable
from tidewheel.ledger.control.records import Decision
from tidewheel.ledger.control.tables import guardrails, outcomes, posteriors
from tidewheel.ledger.open import Ledger

FADING = replace(RULES, half_life_ms=60_000)
LIAR = replace(RULES, max_key_share=0.05)


def taught(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> list[Decision]:
    """A log of all kinds: presets and meanings of the context, fading, clipped, left out, defaulted; read in pages."""
    monkeypatch.setattr("tidewheel.ledger.control.posteriors._PAGE", 2)
    menu(ledger, ETH, ALIKE, BTC)
    other = [decide(ledger, asked(ETH, choice(context=(1.0, each)))) for each in (2.0, 3.0)]
    made = [
        decide(ledger, asked(choose=choice(("fast", "slow")[each % 2], (1.0, each / 7)), signature=f"m {each % 3}"))
        for each in range(8)
    ]
    for each, reward in zip([made[4], other[0], made[1], made[0], made[6]], (0.1, 9.0, -99.0, 0.2, 1 / 3), strict=True):
        learn(ledger, report(each, reward, rules=FADING))
    assert [learn(ledger, report(each, 5.0, actor="liar", rules=LIAR)).outcome.learnt for each in made[2:4]] == [
        True, False,
    ]  # fmt: skip
    learn(ledger, report(decide(ledger, asked(ALIKE)), 7.0))
    expire(ledger, made[5].id)
    assert len(ledger.outcomes.settle_due(10, lambda _: RULES)) == 1
    return made


class TestRebuild:
    def test_the_same_bytes(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the log adds up to is what is stored, bit for bit."""
        taught(ledger, monkeypatch)
        rebuilt = ledger.posteriors.rebuild(BTC)
        assert {place: each.to_bytes() for place, each in rebuilt.items()} == {
            place: each.to_bytes() for place, each in stored(ledger).items()
        }
        assert sorted(each.count for each in rebuilt.values()) == [1, 1, 1, 1, 2]
        assert ledger.posteriors.check(BTC) == ledger.posteriors.check(ETH) == 0.0

    def test_as_a_decision_knew_it(self, ledger: Ledger) -> None:
        """Before a decision the log taught what its choice saw; also where a rollback has dropped it since."""
        menu(ledger)
        seen, made = [], []
        for reward in (1.0, 2.0, 3.0, 4.0, 5.0):
            seen.append({place: each.to_bytes() for place, each in stored(ledger).items()})
            made.append(decide(ledger))
            learn(ledger, report(made[-1], reward))
            if reward == 3.0:
                ledger.posteriors.rollback(BTC, 0, "desk", "all were lies")
        for decision, known in zip(made, seen, strict=True):
            rebuilt = ledger.posteriors.rebuild(BTC, before=decision)
            assert {place: each.to_bytes() for place, each in rebuilt.items()} == known
        assert [len(each) for each in seen] == [0, 1, 1, 0, 1]

    def test_unknown(self, ledger: Ledger) -> None:
        """A pair that nobody registered."""
        asks = (ledger.posteriors.of, ledger.posteriors.rebuild, ledger.posteriors.check)
        for ask in asks:
            with pytest.raises(NotFound, match="momentum/BTC/USDT"):
                ask(BTC)
        menu(ledger, ETH)
        with pytest.raises(NotFound):
            ledger.posteriors.rollback(BTC, 0, "desk", "x")
        assert ledger.posteriors.check(ETH) == 0.0


class TestCheck:
    def test_each_difference_is_found(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        """A reward changed behind the ledger's back, a posterior that is missing, foreign or cannot be read."""
        taught(ledger, monkeypatch)
        of_btc = (guardrails.c.strategy == BTC.strategy) & (guardrails.c.instrument == BTC.instrument)
        mine = select(guardrails.c.id).where(of_btc).scalar_subquery()
        own = posteriors.c.pair_id == mine
        with ledger._db.write() as connection:
            connection.execute(
                update(outcomes)
                .where(outcomes.c.pair_id == mine, outcomes.c.seq == 1)
                .values(learnt_reward=outcomes.c.learnt_reward + 1e-6)
            )
        assert 1e-9 < ledger.posteriors.check(BTC) < 1e-3
        assert ledger.posteriors.check(ETH) == 0.0
        ledger.posteriors.rewrite(BTC, "desk", "as the log says now")
        assert ledger.posteriors.check(BTC) == 0.0
        for damage in ({"count": 9}, {"seq": 99}, {"state": b"rot"}):
            with ledger._db.write() as connection:
                connection.execute(update(posteriors).where(own).values(damage))
            assert ledger.posteriors.check(BTC) == float("inf")
            ledger.posteriors.rewrite(BTC, "desk", "as the log says")
        with ledger._db.write() as connection:
            connection.execute(delete(posteriors).where(own))
        assert ledger.posteriors.check(BTC) == float("inf")

    def test_rewrite_mends(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        """What cannot be read is stored anew from the log, and the next choice sees it; another pair's stays."""
        taught(ledger, monkeypatch)
        before, others = stored(ledger), stored(ledger, ETH)
        with ledger._db.write() as connection:
            connection.execute(update(posteriors).values(state=b"rot"))
            connection.execute(update(guardrails).values(epoch=guardrails.c.epoch + 1))
        assert isinstance(next(iter(ledger.posteriors.of(BTC).values())), PosteriorUnusable)
        done = ledger.posteriors.rewrite(BTC, "desk", "a bad disk")
        assert (done.dropped, done.kept) == (0, sum(each.count for each in before.values()))
        assert {place: each.to_bytes() for place, each in stored(ledger).items()} == {
            place: each.to_bytes() for place, each in before.items()
        }
        assert stored(ledger, ETH) == {} and len(others) == 1
        entry = ledger.audit.list(1)[0]
        assert (entry.actor, entry.action, entry.subject) == ("desk", "posterior.rewrite", str(BTC))
        with pytest.raises(BadInput, match="needs a reason"):
            ledger.posteriors.rewrite(BTC, "desk", " ")


class TestRollback:
    def test_later_outcomes_are_unlearnt(self, ledger: Ledger) -> None:
        """What was learnt after a moment teaches no more, stays in the log, and cannot be sent again."""
        menu(ledger, BTC, ETH)
        made = decided(ledger, *[asked() for _ in range(4)], asked(choose="slow"), asked(ETH))
        learn(ledger, report(made[0], 1.0))
        kept = {place: each.to_bytes() for place, each in stored(ledger).items()}
        as_of = ledger.now() + 5
        with ledger._db.write() as connection:
            connection.execute(update(outcomes).values(learnt_at=as_of))
        while ledger.now() <= as_of:
            pass
        for each in made[1:]:
            learn(ledger, report(each, 9.0))
        left_out = [learn(ledger, report(decide(ledger), actor="liar", rules=LIAR)).outcome for _ in range(2)][1]
        assert not left_out.learnt
        done = ledger.posteriors.rollback(BTC, as_of, "desk", "a liar was among them")
        assert (done.dropped, done.kept) == (5, 1)
        assert len(kept) == len(stored(ledger)) == 1
        assert ledger.posteriors.check(BTC) == ledger.posteriors.check(ETH) == 0.0
        assert len(stored(ledger, ETH)) == 1
        logged = [each.outcome for each in ledger.decisions.log(BTC) if each.outcome]
        assert [each.dropped_at is None for each in logged] == [True, *[False] * 5, True]
        assert {each.dropped_after for each in logged} == {None, 7} and logged[-1] == left_out
        assert all(abs(each.dropped_at - ledger.now()) < 60_000 for each in logged if each.dropped_at is not None)
        assert ledger.presets.pair(BTC).realised == 39.0
        assert learn(ledger, report(made[1], 9.0)).repeated
        seen = standing(ledger)
        assert (seen.posterior(seen.presets[0], 2).count, seen.learnt) == (1, 7)
        entry = ledger.audit.list(1)[0]
        assert (entry.action, entry.reason, entry.detail["dropped"]) == (
            "posterior.rollback",
            "a liar was among them",
            5,
        )
        assert ledger.posteriors.rollback(BTC, as_of, "desk", "again").dropped == 0
        learn(ledger, report(decide(ledger), 2.0))
        assert ledger.posteriors.check(BTC) == 0.0

    def test_without_a_reason_nothing_happens(self, ledger: Ledger) -> None:
        """Somebody will ask."""
        menu(ledger)
        learn(ledger, report(decide(ledger)))
        with pytest.raises(BadInput, match="needs a reason"):
            ledger.posteriors.rollback(BTC, 0, "desk", "")
        assert [each.count for each in stored(ledger).values()] == [1]
        (logged,) = ledger.decisions.log(BTC)
        assert logged.outcome is not None and logged.outcome.dropped_at is None
