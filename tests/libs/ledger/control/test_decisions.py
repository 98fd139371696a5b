"""Decisions: a row each, numbered without holes, in one transaction; on both dialects."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.libs.ledger.control.deciding import (
    ALIKE,
    BTC,
    ETH,
    FAST,
    MINUTE,
    SIGNATURE,
    SLOW,
    asked,
    choice,
    decide,
    decided,
    learn,
    menu,
    report,
    standing,
)  # fmt: skip
from tidewheel.contracts.errors import BadInput, Conflict, NotFound, PosteriorUnusable, TidewheelError
from tidewheel.contracts.keys import ConfigId, PairKey
from tidewheel.contracts.states import DecisionState, PolicyName, Reason
from tidewheel.ledger.control.records import Choice, Decision, Standing
from tidewheel.ledger.control.tables import guardrails, posteriors
from tidewheel.ledger.open import Ledger, open_ledger

_DAY = 86_400_000


class TestDecide:
    def test_a_decision_is_what_was_chosen(self, ledger: Ledger) -> None:
        """Everything of the choice is in the row, bit for bit, with the preset's params and the time it waits."""
        menu(ledger)
        context = (1.0, 0.1 + 0.2, -1e-300)
        made = decide(ledger, asked(choose=choice("slow", context, reason=Reason.EXPLOITED), actor="key 7"))
        assert (made.key, made.number, made.preset_id, made.params) == (BTC, 1, "slow", SLOW)
        assert (made.context, made.signature, made.reason) == (context, SIGNATURE, Reason.EXPLOITED)
        assert (made.propensity, made.propensities) == (0.25, {"fast": 0.75, "slow": 0.25})
        assert list(made.propensities) == ["fast", "slow"]
        assert (made.policy, made.policy_version) == (PolicyName.LINTS, "lints-1a2b3c4d")
        assert made.features_used == {"trend": {"value": 0.5, "source": "request"}}
        assert (made.learnt, made.changed, made.state, made.actor) == (0, False, DecisionState.OPEN, "key 7")
        assert made.expires_at - made.decided_at == MINUTE and abs(made.decided_at - ledger.now()) < 60_000
        assert ledger.decisions.get(made.config_id) == made

    def test_many_at_once(self, ledger: Ledger) -> None:
        """Questions of several pairs are answered in their places; those of one pair follow each other."""
        menu(ledger, BTC, ETH)
        asks = [asked(BTC), asked(ETH, "slow"), asked(BTC, "slow"), asked(BTC)]
        made = decided(ledger, *asks)
        assert [(each.key, each.number, each.preset_id) for each in made] == [
            (BTC, 1, "fast"), (ETH, 1, "slow"), (BTC, 2, "slow"), (BTC, 3, "fast"),
        ]  # fmt: skip
        assert [ledger.decisions.get(each.config_id) for each in made] == made
        assert len({each.id for each in made}) == 4
        assert [each.decision for each in ledger.decisions.log(BTC)] == [made[0], made[2], made[3]]

    def test_a_refused_question_writes_nothing(self, ledger: Ledger) -> None:
        """One that cannot be answered says why in its place; its neighbours are answered, without a hole."""
        menu(ledger)

        def refuse(_: Standing) -> Choice:
            raise BadInput("feature vol is missing")

        answers = ledger.decisions.decide(
            [asked(), asked(choose=refuse), asked(PairKey("momentum", "DOGE")), asked(choose="best"), asked()]
        )
        kinds = [type(each) for each in answers]
        assert kinds == [Decision, BadInput, NotFound, Conflict, Decision]
        codes = [each.code for each in answers if isinstance(each, TidewheelError)]
        assert codes == ["bad_input", "unknown_pair", "preset_not_live"]
        assert [each.decision.number for each in ledger.decisions.log(BTC)] == [1, 2]
        assert ledger.decisions.decide([]) == []

    def test_a_retired_preset_is_not_served(self, ledger: Ledger) -> None:
        """Whatever chose it."""
        menu(ledger)
        ledger.presets.retire(BTC, "fast", "risk", "too risky")
        (answer,) = ledger.decisions.decide([asked()])
        assert isinstance(answer, Conflict) and answer.code == "preset_not_live"

    def test_what_cannot_be_a_choice(self) -> None:
        """Numbers that are none, and a preset without a propensity."""
        with pytest.raises(BadInput, match="not finite"):
            choice(context=(1.0, float("nan")))
        with pytest.raises(BadInput, match=r"preset best has propensity nan; it must be in \(0, 1\]"):
            replace(choice(), preset_id="best")

    def test_all_at_once(self, ledger: Ledger) -> None:
        """Several threads decide for two pairs in either order: each number once, and nobody waits for ever."""
        menu(ledger, BTC, ETH)
        failed: list[TidewheelError] = []

        def work(first: PairKey, second: PairKey) -> None:
            for _ in range(5):
                try:
                    decided(ledger, asked(first), asked(second), asked(first, "slow"))
                except TidewheelError as error:
                    failed.append(error)

        threads = [threading.Thread(target=work, args=keys) for keys in ((BTC, ETH), (ETH, BTC)) * 2]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert failed == []
        for key in (BTC, ETH):
            logged = [each.decision for each in ledger.decisions.log(key)]
            assert [each.number for each in logged] == list(range(1, 31))
            assert len({each.id for each in logged}) == 30


class TestStanding:
    def test_what_a_choice_sees(self, ledger: Ledger) -> None:
        """Number, incumbent, the day's changes and what was learnt, as the decisions before left them."""
        menu(ledger, ETH, BTC)
        decided(ledger, asked(ETH, "slow"), asked(ETH, "fast"))
        seen = standing(ledger)
        assert (seen.key, seen.number, seen.incumbent, seen.changes, seen.learnt) == (BTC, 1, None, 0, 0)
        assert (seen.day, seen.frozen, seen.signature) == (ledger.now() // _DAY, None, SIGNATURE)
        changed = [each.changed for each in decided(ledger, asked(), asked(choose="slow"), asked(choose="slow"))]
        assert changed == [False, True, False]
        seen = standing(ledger)
        assert (seen.number, seen.changes) == (4, 1)
        assert seen.incumbent is not None and seen.incumbent.params == SLOW
        assert abs(seen.now - ledger.now()) < 60_000

    def test_changes_are_counted_by_day(self, ledger: Ledger) -> None:
        """Yesterday's changes are forgotten; a clock that steps back over midnight gives none again."""
        menu(ledger)
        decided(ledger, asked(), asked(choose="slow"), asked())
        assert standing(ledger).changes == 2
        today = ledger.now() // _DAY
        for day, changes in ((today - 1, 0), (today + 1, 2)):
            with ledger._db.write() as connection:
                connection.execute(update(guardrails).values(day=day))
            assert (standing(ledger).day, standing(ledger).changes) == (max(day, today), changes)
        decide(ledger, asked(choose="slow"))
        assert (standing(ledger).day, standing(ledger).changes) == (today + 1, 3)

    def test_what_was_learnt_is_of_content_and_context(self, ledger: Ledger) -> None:
        """A posterior belongs to params and signature: another name shares it, another signature begins anew."""
        menu(ledger, BTC, ETH)
        ledger.presets.register(BTC, "twin", FAST, "desk")
        learn(ledger, report(decide(ledger), 2.0))
        seen = standing(ledger)
        presets = {each.preset_id: each for each in seen.presets}
        counts = {name: seen.posterior(preset, 2).count for name, preset in presets.items()}
        assert (counts, seen.learnt) == ({"fast": 1, "slow": 0, "twin": 1}, 1)
        other = standing(ledger, signature="another")
        assert other.posterior(presets["fast"], 3).count == 0 and other.posterior(presets["fast"], 3).dimensions == 3
        assert standing(ledger, ETH).posterior(presets["fast"], 2).count == 0

    def test_another_process_learns(self, ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
        """What another process of the fleet registered or learnt is seen by the next choice."""
        menu(ledger)
        assert standing(ledger).learnt == 0
        other = open_ledger(ledger_dsn, data_dir)
        learn(other, report(decide(other), 2.0))
        other.presets.register(BTC, "best", {"lookback": 7}, "desk")
        other.close()
        seen = standing(ledger)
        assert [each.preset_id for each in seen.presets] == ["fast", "slow", "best"]
        assert seen.posterior(seen.presets[0], 2).count == 1

    def test_a_damaged_posterior_is_told(self, ledger: Ledger) -> None:
        """What cannot be read is an error of that preset alone, so that a default can be served."""
        menu(ledger)
        learn(ledger, report(decide(ledger), 2.0))
        with ledger._db.write() as connection:
            connection.execute(update(posteriors).values(state=b"rot"))
            connection.execute(update(guardrails).values(epoch=guardrails.c.epoch + 1))
        seen = standing(ledger)
        with pytest.raises(PosteriorUnusable):
            seen.posterior(seen.presets[0], 2)
        assert seen.posterior(seen.presets[1], 2).count == 0


class TestLookBack:
    def test_get(self, ledger: Ledger) -> None:
        """A config id names a decision and its preset."""
        menu(ledger)
        made = decide(ledger)
        for wrong in (ConfigId(made.id, "slow"), ConfigId(made.id + 1, "fast")):
            with pytest.raises(NotFound) as caught:
                ledger.decisions.get(wrong)
            assert caught.value.code == "unknown_decision"

    def test_latest_open(self, ledger: Ledger) -> None:
        """The newest that waits, of the pair or of one preset."""
        menu(ledger, ALIKE, ETH, BTC)
        assert ledger.decisions.latest_open(BTC) is None
        first, second, third = decided(ledger, asked(), asked(choose="slow"), asked(choose="slow"))
        others = decided(ledger, asked(ETH), asked(ALIKE))
        assert [ledger.decisions.latest_open(key) for key in (ETH, ALIKE)] == others
        assert ledger.decisions.latest_open(BTC) == third
        assert ledger.decisions.latest_open(BTC, "fast") == first
        learn(ledger, report(third))
        assert ledger.decisions.latest_open(BTC) == second
        assert ledger.decisions.latest_open(BTC, "best") is None

    def test_list_and_log(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        """Newest first with a limit, or oldest first without; each with its outcome, of one pair."""
        monkeypatch.setattr("tidewheel.ledger.control.decisions._PAGE", 2)
        menu(ledger, ALIKE, ETH, BTC)
        made = decided(ledger, asked(), asked(ETH), asked(choose="slow"), asked(), asked(), asked(ALIKE))
        outcome = learn(ledger, report(made[2], 3.0)).outcome
        listed = ledger.decisions.list(BTC, limit=3)
        assert [each.decision.number for each in listed] == [4, 3, 2]
        assert [each.outcome for each in listed] == [None, None, outcome]
        assert listed[2].decision.state is DecisionState.SETTLED
        assert [each.decision.number for each in ledger.decisions.log(BTC)] == [1, 2, 3, 4]
        assert [each.decision for each in ledger.decisions.log(ALIKE)] == made[5:]
        assert [each.decision.number for each in ledger.decisions.log(BTC, after=2)] == [3, 4]
        for ask in (ledger.decisions.list, lambda key: [*ledger.decisions.log(key)]):
            with pytest.raises(NotFound):
                ask(PairKey("momentum", "DOGE"))
