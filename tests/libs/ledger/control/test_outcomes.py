"""Outcomes: learnt once, with the decision's context; repeats change nothing; on both dialects."""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from tests.libs.ledger.control.deciding import (
    BTC,
    ETH,
    MINUTE,
    RULES,
    SIGNATURE,
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
from tidewheel.bandits.posterior import Posterior
from tidewheel.contracts.errors import BadInput, Conflict, NotFound, PosteriorUnusable, TidewheelError
from tidewheel.contracts.keys import ConfigId, PairKey
from tidewheel.contracts.states import DecisionState, OutcomeKind
from tidewheel.ledger.control.records import Learnt, Report
from tidewheel.ledger.control.tables import decisions, guardrails, outcomes, posteriors
from tidewheel.ledger.open import Ledger


def refused(ledger: Ledger, told: Report) -> TidewheelError:
    """The error that answers a report; whatever it is, nothing was written."""
    before = rows(ledger)
    (answer,) = ledger.outcomes.learn([told])
    assert isinstance(answer, TidewheelError)
    assert rows(ledger) == before
    return answer


def rows(ledger: Ledger) -> list[Any]:
    with ledger._db.read() as connection:
        return [
            [tuple(row) for row in connection.execute(table.select()).all()]
            for table in (guardrails, decisions, outcomes, posteriors)
        ]


class TestLearn:
    def test_learnt_with_the_decisions_own_context(self, ledger: Ledger) -> None:
        """The posterior is what the bandit makes of context, clipped reward and the ledger's time."""
        menu(ledger)
        made = decide(ledger, asked(choose=choice(context=(1.0, -2.5))))
        rules = replace(RULES, half_life_ms=86_400_000)
        told = replace(report(made, 25.0, event="trade 7", actor="key 7", rules=rules), features={"trend": 99.0})
        learnt = learn(ledger, told)
        outcome = learnt.outcome
        assert (outcome.reward, outcome.learnt_reward, outcome.seq, outcome.kind) == (25.0, 10.0, 1, "reported")
        assert (outcome.learnt, outcome.left_out, outcome.inferred) == (True, None, False)
        assert (outcome.event_id, outcome.features, outcome.actor) == ("trade 7", {"trend": 99.0}, "key 7")
        assert (outcome.half_life_ms, outcome.dropped_at) == (86_400_000, None)
        assert (learnt.repeated, learnt.tripped, learnt.decision.state) == (False, None, DecisionState.SETTLED)
        expected = Posterior.empty(2).learn(np.array([1.0, -2.5]), 10.0, outcome.learnt_at, 86_400_000)
        assert {place: each.to_bytes() for place, each in stored(ledger).items()} == {
            (made.digest, SIGNATURE): expected.to_bytes()
        }
        (logged,) = ledger.decisions.log(BTC)
        assert (logged.decision, logged.outcome) == (learnt.decision, outcome)

    @pytest.mark.parametrize(("reward", "counts"), [(-25.0, -10.0), (0.0, 0.0), (0.1 + 0.2, 0.1 + 0.2)])
    def test_clip(self, ledger: Ledger, reward: float, counts: float) -> None:
        """A reward is kept as it was sent and learnt within the clip; zero counts."""
        menu(ledger)
        outcome = learn(ledger, report(decide(ledger), reward)).outcome
        assert (outcome.reward, outcome.learnt_reward, outcome.learnt) == (reward, counts, True)
        assert [each.count for each in stored(ledger).values()] == [1]

    def test_many_at_once(self, ledger: Ledger) -> None:
        """Reports of several pairs are answered in their places, and each neighbour of a bad one is learnt."""
        menu(ledger, BTC, ETH)
        made = decided(ledger, asked(), asked(ETH), asked(choose="slow"), asked())
        told = [
            report(made[0], 1.0), report(made[1], 2.0), report(made[0], 9.0), report(made[2], 3.0),
            report(key=PairKey("momentum", "DOGE")), report(made[0], 1.0), report(made[3], 4.0),
        ]  # fmt: skip
        answers = ledger.outcomes.learn(told)
        assert [
            (each.outcome.seq, each.repeated) if isinstance(each, Learnt) else each.code for each in answers
        ] == [(1, False), (1, False), "another_reward", (2, False), "unknown_pair", (1, True), (3, False)]  # fmt: skip
        assert [each.count for each in stored(ledger).values()] == [2, 1]
        assert [each.count for each in stored(ledger, ETH).values()] == [1]
        assert [ledger.presets.pair(key).realised for key in (BTC, ETH)] == [8.0, 2.0]
        assert [ledger.presets.pair(key).learnt for key in (BTC, ETH)] == [3, 1]
        assert ledger.decisions.latest_open(BTC) is None and ledger.decisions.latest_open(ETH) is None
        assert ledger.posteriors.check(BTC) == ledger.posteriors.check(ETH) == 0.0
        assert ledger.outcomes.learn([]) == []

    def test_the_next_choice_knows_it(self, ledger: Ledger) -> None:
        """A decision names the newest outcome that it could know, and its posterior has it."""
        menu(ledger)
        first = decide(ledger)
        learn(ledger, report(first))
        learn(ledger, report(decide(ledger)))
        seen = standing(ledger)
        assert seen.posterior(seen.presets[0], 2).count == 2
        assert [each.decision.learnt for each in ledger.decisions.log(BTC)] == [0, 1]
        assert decide(ledger).learnt == 2

    def test_a_damaged_posterior_learns_nothing(self, ledger: Ledger) -> None:
        """It would hide what was learnt before; the report can be sent again once it is mended."""
        menu(ledger)
        made = decided(ledger, asked(), asked(), asked(choose="slow"))
        learn(ledger, report(made[0]))
        with ledger._db.write() as connection:
            connection.execute(update(posteriors).values(state=b"rot"))
            connection.execute(update(guardrails).values(epoch=guardrails.c.epoch + 1))
        assert isinstance(refused(ledger, report(made[1])), PosteriorUnusable)
        learn(ledger, report(made[2]))
        ledger.posteriors.rewrite(BTC, "desk", "a bad disk")
        assert learn(ledger, report(made[1])).outcome.seq == 3
        assert ledger.posteriors.check(BTC) == 0.0

    def test_all_at_once(self, ledger: Ledger) -> None:
        """Several threads report the same outcomes: each is learnt by one of them, and repeated by the others."""
        menu(ledger, BTC, ETH)
        made = decided(ledger, *(asked(key) for key in (BTC, ETH) for _ in range(4)))
        answers: list[Learnt | TidewheelError] = []

        def work(turn: int) -> None:
            order = made[turn:] + made[:turn]
            for part in (order[:3], order[3:]):
                answers.extend(ledger.outcomes.learn([report(each, float(each.id)) for each in part]))

        threads = [threading.Thread(target=work, args=[turn]) for turn in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        learnt = [each for each in answers if isinstance(each, Learnt)]
        assert len(learnt) == 32
        assert sorted(each.decision.id for each in learnt if not each.repeated) == [each.id for each in made]
        for key in (BTC, ETH):
            assert ledger.posteriors.check(key) == 0.0
            assert sorted(each.outcome.seq for each in learnt if each.decision.key == key and not each.repeated) == [
                1, 2, 3, 4,
            ]  # fmt: skip


class TestMeant:
    def test_a_repeat_changes_nothing(self, ledger: Ledger) -> None:
        """By config id or by event; with another name for it too."""
        menu(ledger)
        made = decide(ledger)
        first = learn(ledger, report(made, 1.5, event="trade 7"))
        before = rows(ledger)
        for again in (report(made, 1.5), report(made, 1.5, event="trade 7"), report(reward=1.5, event="trade 7"),
                      report(made, 1.5, event="trade 8", actor="another")):  # fmt: skip
            answer = learn(ledger, again)
            assert (answer.repeated, answer.outcome, answer.decision) == (True, first.outcome, first.decision)
        assert rows(ledger) == before

    def test_another_reward(self, ledger: Ledger) -> None:
        """An outcome is never changed, however it is named."""
        menu(ledger)
        made = decide(ledger)
        learn(ledger, report(made, 1.5, event="trade 7"))
        for other in (report(made, 1.25), report(reward=1.25, event="trade 7")):
            error = refused(ledger, other)
            assert isinstance(error, Conflict) and error.code == "another_reward"
            assert "settled with reward 1.5" in error.detail

    def test_an_event_is_of_one_decision(self, ledger: Ledger) -> None:
        """Its name cannot settle a second one; another pair has names of its own."""
        menu(ledger, BTC, ETH)
        first, second, other = decided(ledger, asked(), asked(), asked(ETH))
        learn(ledger, report(first, event="trade 7"))
        error = refused(ledger, report(second, event="trade 7"))
        assert isinstance(error, Conflict) and error.code == "event_taken"
        learn(ledger, report(other, event="trade 7"))
        answers = ledger.outcomes.learn([report(second, event="trade 8"), report(first, event="trade 8")])
        assert [each.code if isinstance(each, TidewheelError) else each.repeated for each in answers] == [
            False, "event_taken",
        ]  # fmt: skip

    def test_inferred(self, ledger: Ledger) -> None:
        """Without a name the preset's newest open decision is meant, and it is marked."""
        menu(ledger, BTC, ETH)
        made = decided(ledger, asked(), asked(), asked(choose="slow"), asked(ETH))
        answers = ledger.outcomes.learn([report(event="trade 7"), report(), report()])
        assert [
            (each.decision.id, each.outcome.inferred) if isinstance(each, Learnt) else each.code for each in answers
        ] == [(made[1].id, True), (made[0].id, True), "unknown_decision"]
        again = learn(ledger, report(event="trade 7"))
        assert (again.repeated, again.decision.id) == (True, made[1].id)

    def test_inferred_is_not_what_was_named_beside_it(self, ledger: Ledger) -> None:
        """Within one transaction a decision that was just settled by its name waits no longer."""
        menu(ledger)
        first, second = decided(ledger, asked(), asked())
        answers = ledger.outcomes.learn([report(second), report()])
        assert [each.decision.id for each in answers if isinstance(each, Learnt)] == [second.id, first.id]

    def test_unknown(self, ledger: Ledger) -> None:
        """Neither a decision that is not, nor a pair that is not."""
        menu(ledger)
        made = decide(ledger)
        nobody = replace(report(made), config_id=ConfigId(made.id + 1, "fast"))
        far = replace(report(made), config_id=ConfigId(10**18 - 1, "fast"))
        for told, code in ((nobody, "unknown_decision"), (far, "unknown_decision"),
                           (report(preset="best"), "unknown_decision"),
                           (report(key=ETH), "unknown_pair")):  # fmt: skip
            error = refused(ledger, told)
            assert isinstance(error, NotFound) and error.code == code

    def test_of_another_pair_or_preset(self, ledger: Ledger) -> None:
        """A decision is settled where it was asked for, under the preset that it answered."""
        menu(ledger, BTC, ETH)
        made = decide(ledger)
        learn(ledger, report(decide(ledger), event="trade 7"))
        for wrong in (
            replace(report(made), key=ETH),
            replace(report(made), preset_id="slow"),
            replace(report(made), config_id=ConfigId(made.id, "slow")),
            replace(report(made), preset_id="slow", config_id=ConfigId(made.id, "slow")),
            report(preset="slow", event="trade 7"),
        ):
            error = refused(ledger, wrong)
            assert isinstance(error, BadInput) and error.code == "wrong_decision"

    def test_expired(self, ledger: Ledger) -> None:
        """Once its time is over an outcome comes too late, settled by default or not yet; one that came stays."""
        menu(ledger)
        in_time, late, later = decided(ledger, asked(), asked(), asked())
        learn(ledger, report(in_time))
        expire(ledger)
        assert refused(ledger, report(late)).code == "decision_expired"
        assert refused(ledger, report()).code == "decision_expired"
        ledger.outcomes.settle_due(10, lambda _: RULES)
        assert refused(ledger, report(later, RULES.default)).code == "decision_expired"
        assert learn(ledger, report(in_time)).repeated

    @pytest.mark.parametrize(
        ("values", "why"),
        [
            ({"reward": float("nan")}, "reward nan is not a finite number"),
            ({"event_id": ""}, "event_id '' is empty"),
            ({"event_id": "trade\x00"}, "not printable"),
            ({"event_id": "x" * 121}, "longer than 120"),
            ({"preset_id": "../etc"}, "preset_id '../etc' is not"),
        ],
    )
    def test_what_cannot_be_a_report(self, values: dict[str, Any], why: str) -> None:
        """A value that the ledger could not keep stops the one report, not its transaction."""
        with pytest.raises(BadInput, match=why):
            replace(report(), **values)
        replace(report(), event_id="x" * 120)


class TestKeyShare:
    def test_a_key_that_tells_too_much_is_left_out(self, ledger: Ledger) -> None:
        """Beyond its share an actor's outcomes are stored, counted and not learnt; others' are."""
        menu(ledger, BTC, ETH)
        rules = replace(RULES, max_key_share=0.25)
        made = decided(ledger, *[asked() for _ in range(24)])
        # Of fewer than 20 no share is taken: a quarter of 20 is 5.
        told = [report(each, 1.0, actor="liar", rules=rules) for each in made[:7]]
        learnt = [learn(ledger, each).outcome for each in told[:2]]
        learnt += [each.outcome for each in ledger.outcomes.learn(told[2:]) if isinstance(each, Learnt)]
        assert [each.left_out for each in learnt] == [None] * 5 + ["key_share"] * 2
        assert [each.learnt for each in learnt] == [True] * 5 + [False] * 2
        assert [each.seq for each in learnt] == [1, 2, 3, 4, 5, 6, 7]
        assert [each.count for each in stored(ledger).values()] == [5]
        assert ledger.presets.pair(BTC).realised == 7.0
        others = decided(ledger, *[asked() for _ in range(19)])
        ledger.outcomes.learn([report(each, 0.0, actor=f"engine {each.id}") for each in others[:18]])
        # With this one a quarter of 24: what was left out is no part of it.
        assert learn(ledger, report(others[18], 0.0, actor="liar", rules=rules)).outcome.learnt
        assert learn(ledger, report(made[7], actor="liar", rules=RULES)).outcome.learnt
        assert learn(ledger, report(made[8], actor="engine", rules=rules)).outcome.learnt
        assert learn(ledger, report(decide(ledger, asked(ETH)), actor="liar", rules=rules)).outcome.learnt
        assert learn(ledger, report(made[5], actor="liar", rules=rules)).repeated
        assert ledger.posteriors.check(BTC) == 0.0

    def test_the_newest_two_hundred_count(self, ledger: Ledger) -> None:
        """A share is of what was learnt of late: neither defaults, nor what is unlearnt or older count."""
        menu(ledger)
        rules = replace(RULES, max_key_share=0.1)
        made = decided(ledger, *[asked() for _ in range(220)])
        ledger.outcomes.learn([report(each, actor="early") for each in made[:25]])
        ledger.outcomes.learn([report(each, actor=f"engine {each.id}") for each in made[25:205]])
        assert learn(ledger, report(made[205], actor="early", rules=rules)).outcome.learnt
        expire(ledger, *[each.id for each in made[206:210]])
        ledger.outcomes.settle_due(10, lambda _: RULES)
        few = replace(rules, max_key_share=0.02)
        assert learn(ledger, report(made[210], actor="settle", rules=few)).outcome.learnt
        ledger.posteriors.rollback(BTC, 0, "desk", "all were lies")
        learnt = [learn(ledger, report(each, actor="early", rules=rules)).outcome.learnt for each in made[211:214]]
        assert learnt == [True, True, False]


class TestDrawdown:
    RULES = replace(RULES, max_drawdown=5.0)

    def tell(self, ledger: Ledger, *rewards: float, key: PairKey = BTC) -> list[Learnt]:
        return [learn(ledger, report(decide(ledger, asked(key)), each, rules=self.RULES)) for each in rewards]

    def test_a_fall_trips_the_pairs_switch(self, ledger: Ledger) -> None:
        """At the limit below the peak the pair is frozen in the same transaction, and not before."""
        menu(ledger, BTC, ETH)
        told = self.tell(ledger, 20.0, -0.4)
        assert [each.tripped for each in told] == [None, None]
        (last,) = self.tell(ledger, -4.6)
        assert 20.0 - (20.0 - 0.4 - 4.6) < 5.0, "in float64 the sum falls short of the limit that it is at"
        assert last.tripped is not None
        assert (last.tripped.scope, last.tripped.cause, last.tripped.tripped_by) == (str(BTC), "drawdown", "guardrails")
        assert "5 below its peak of 20, and a fall of 5 freezes the pair" in last.tripped.reason
        assert ledger.switches.tripped() == [last.tripped]
        assert standing(ledger).frozen == last.tripped and standing(ledger, ETH).frozen is None
        assert [each.tripped for each in self.tell(ledger, -1.0)] == [None]
        assert ledger.switches.tripped() == [last.tripped]
        state = ledger.presets.pair(BTC)
        assert state.realised == pytest.approx(14.0) and state.peak == 20.0
        assert [(each.action, each.actor) for each in ledger.audit.list(1)] == [("switch.trip", "guardrails")]

    def test_it_counts_anew_once_cleared(self, ledger: Ledger) -> None:
        """After a person's word the fall is measured from there; the loss itself stays on record."""
        menu(ledger, BTC, ETH)
        self.tell(ledger, 1.0, key=ETH)
        self.tell(ledger, -6.0)
        assert ledger.switches.clear(BTC, "admin", "seen").cause == "drawdown"
        state = ledger.presets.pair(BTC)
        assert (state.realised, state.peak) == (-6.0, -6.0)
        assert (ledger.presets.pair(ETH).peak, ledger.switches.tripped()) == (1.0, [])
        told = self.tell(ledger, -4.999, -0.001)
        assert [each.tripped is None for each in told] == [True, False]

    def test_no_limit_and_defaults(self, ledger: Ledger) -> None:
        """Without a limit nothing trips; what nobody reported is no realised reward."""
        menu(ledger)
        assert learn(ledger, report(decide(ledger), -1e6)).tripped is None
        decide(ledger)
        expire(ledger)
        (settled,) = ledger.outcomes.settle_due(10, lambda _: self.RULES)
        assert settled.tripped is None
        state = ledger.presets.pair(BTC)
        assert (state.realised, state.peak, state.learnt) == (-1e6, 0.0, 2)


class TestSettle:
    def test_what_never_came_counts_as_the_default(self, ledger: Ledger) -> None:
        """Oldest first, up to the limit; apart from what was reported; once."""
        menu(ledger, BTC, ETH)
        made = decided(ledger, *[asked() for _ in range(3)], asked(ETH), asked(choose=choice(wait=MINUTE)))
        learn(ledger, report(made[1]))
        assert ledger.outcomes.due() == {} and ledger.outcomes.settle_due(10, lambda _: RULES) == []
        expire(ledger, *[each.id for each in made[:4]])
        assert ledger.outcomes.due() == {BTC: 2, ETH: 1}
        (first,) = ledger.outcomes.settle_due(1, lambda _: RULES)
        outcome = first.outcome
        assert (first.decision.id, first.decision.state) == (made[0].id, DecisionState.EXPIRED)
        assert (outcome.kind, outcome.reward, outcome.learnt_reward) == (OutcomeKind.DEFAULTED, -1.0, -1.0)
        assert (outcome.actor, outcome.inferred, outcome.learnt, outcome.seq) == ("settle", False, True, 2)
        assert ledger.decisions.get(made[0].config_id).state is DecisionState.EXPIRED
        rest = ledger.outcomes.settle_due(10, lambda _: RULES)
        assert [each.decision.id for each in rest] == [made[2].id, made[3].id]
        assert ledger.outcomes.due() == {} and ledger.outcomes.settle_due(10, lambda _: RULES) == []
        assert ledger.decisions.get(made[4].config_id).state is DecisionState.OPEN
        assert ledger.posteriors.check(BTC) == ledger.posteriors.check(ETH) == 0.0

    def test_a_pair_without_rules_is_left(self, ledger: Ledger) -> None:
        """Its schema may come back; the others are settled."""
        menu(ledger, BTC, ETH)
        decided(ledger, asked(), asked(ETH))
        expire(ledger)
        settled = ledger.outcomes.settle_due(10, lambda key: None if key == BTC else RULES)
        assert [each.decision.key for each in settled] == [ETH]
        assert ledger.outcomes.due() == {BTC: 1}

    def test_a_damaged_posterior_waits(self, ledger: Ledger) -> None:
        """What cannot be learnt stays open; it is settled once the posterior is mended."""
        menu(ledger)
        made = decided(ledger, asked(), asked(), asked(choose="slow"))
        learn(ledger, report(made[0]))
        with ledger._db.write() as connection:
            connection.execute(update(posteriors).values(state=b"rot"))
            connection.execute(update(guardrails).values(epoch=guardrails.c.epoch + 1))
        expire(ledger)
        assert [each.decision.id for each in ledger.outcomes.settle_due(10, lambda _: RULES)] == [made[2].id]
        ledger.posteriors.rewrite(BTC, "desk", "a bad disk")
        assert [each.decision.id for each in ledger.outcomes.settle_due(10, lambda _: RULES)] == [made[1].id]
