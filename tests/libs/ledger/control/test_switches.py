"""Kill switches: they latch, cover what they should, and freeze promotions; on both dialects."""

from typing import Any

import pytest
from sqlalchemy import update

from tests.libs.ledger.control.deciding import BTC, ETH, asked, decided, menu, standing
from tests.libs.ledger.rows import PASSED, REFUSED, new_version, published, seal
from tests.libs.ledger.test_runs import started
from tidewheel.contracts.errors import BadInput, Conflict, FenceLost, NotFound
from tidewheel.contracts.states import ClaimState, PromotionAction, RunState
from tidewheel.ledger.control.tables import kill_switches
from tidewheel.ledger.open import Ledger, open_ledger


class TestSwitch:
    def test_it_latches(self, ledger: Ledger, ledger_dsn: str, data_dir: Any) -> None:
        """A tripped switch stays as it is, over restarts and second words, until it is cleared."""
        tripped = ledger.switches.trip(None, "risk", "the venue misprices", "hand")
        assert (tripped.scope, tripped.tripped_by, tripped.reason) == ("fleet", "risk", "the venue misprices")
        assert tripped.cause == "hand" and abs(tripped.tripped_at - ledger.now()) < 60_000
        assert ledger.switches.trip(None, "another", "me too", "metric") == tripped
        again = open_ledger(ledger_dsn, data_dir)
        assert again.switches.tripped() == [tripped]
        assert again.switches.clear(None, "admin", "mended") == tripped
        again.close()
        assert ledger.switches.tripped() == []
        with pytest.raises(NotFound, match="the kill switch of fleet is not tripped") as caught:
            ledger.switches.clear(None, "admin", "mended")
        assert caught.value.code == "not_tripped"
        told = [(each.actor, each.action, each.subject, each.reason, each.detail) for each in ledger.audit.list()]
        assert told == [
            ("admin", "switch.clear", "fleet", "mended", {"was": "the venue misprices"}),
            ("risk", "switch.trip", "fleet", "the venue misprices", {"cause": "hand"}),
        ]

    def test_each_has_its_own(self, ledger: Ledger) -> None:
        """A pair's switch covers the pair, the fleet's all of them; clearing one leaves the others."""
        menu(ledger, BTC, ETH)
        own = ledger.switches.trip(BTC, "risk", "thin book", "hand")
        assert (standing(ledger).frozen, standing(ledger, ETH).frozen) == (own, None)
        fleet = ledger.switches.trip(None, "risk", "the venue misprices", "hand")
        assert (standing(ledger).frozen, standing(ledger, ETH).frozen) == (fleet, fleet)
        assert ledger.switches.tripped() == [fleet, own]
        assert ledger.switches.trip(BTC, "another", "me too", "hand") == own
        ledger.switches.clear(None, "admin", "mended")
        assert (standing(ledger).frozen, standing(ledger, ETH).frozen) == (own, None)
        with pytest.raises(NotFound, match="momentum/ETH/USDT is not tripped"):
            ledger.switches.clear(ETH, "admin", "mended")
        assert ledger.switches.tripped() == [own]

    def test_a_pair_that_is_none(self, ledger: Ledger) -> None:
        """A mistyped pair is told, for its switch would cover nothing."""
        with pytest.raises(NotFound, match="momentum/BTC/USDT"):
            ledger.switches.trip(BTC, "risk", "x", "hand")
        with pytest.raises(NotFound, match="momentum/BTC/USDT"):
            ledger.switches.clear(BTC, "admin", "x")
        with pytest.raises(BadInput, match="needs a reason"):
            ledger.switches.trip(None, "risk", " ", "hand")
        with pytest.raises(BadInput, match="needs a reason"):
            ledger.switches.clear(None, "admin", "")
        assert ledger.switches.tripped() == []


class TestPromotions:
    def test_a_publish_promotes_nothing(self, ledger: Ledger) -> None:
        """The run ends refused, with a step that says which switch; its files are consumed; the champion stays."""
        champion = published(ledger, 1)
        menu(ledger)
        ledger.switches.trip(BTC, "risk", "thin book", "hand")
        ledger.switches.trip(None, "risk", "the venue misprices", "metric")
        with ledger._db.write() as connection:
            connection.execute(update(kill_switches).values(tripped_at=1).where(kill_switches.c.scope == str(BTC)))
        seal(ledger, range(1))
        lease = started(ledger)
        lease.claim_files()
        run = lease.publish(new_version(2), PASSED)
        assert (run.state, run.version) == (RunState.REFUSED, new_version(2).version)
        assert run.verdict is not None and run.verdict.steps[:-1] == PASSED.steps
        step = run.verdict.steps[-1]
        assert (step.step, step.passed) == ("kill_switch", False)
        assert step.reason == "the kill switch of momentum/BTC/USDT was tripped by risk: thin book"
        assert step.numbers == {"scope": str(BTC), "tripped_at": 1, "cause": "hand"}
        assert run.reason == f"kill_switch: {step.reason}"
        assert ledger.claims.states("hmm")[ClaimState.PROCESSED] == 1
        found = ledger.versions.champion("hmm")
        assert found is not None and found.version == champion

    def test_a_lost_answer_is_the_same_when_asked_again(self, ledger: Ledger) -> None:
        """A publish that a switch refused is answered again by its run; another word on it has lost its fence."""
        ledger.switches.trip(None, "risk", "the venue misprices", "hand")
        lease = started(ledger)
        run = lease.publish(new_version(1), PASSED)
        ledger.switches.clear(None, "admin", "mended")
        assert lease.publish(new_version(1), PASSED) == run
        with pytest.raises(FenceLost):
            lease.publish(new_version(2), PASSED)
        with pytest.raises(FenceLost):
            lease.finish(RunState.SKIPPED, "x")
        assert ledger.versions.champion("hmm") is None
        gated = started(ledger)
        gated.publish(new_version(3), REFUSED)
        with pytest.raises(FenceLost):
            gated.publish(new_version(3), PASSED)

    def test_a_refused_one_needs_no_switch(self, ledger: Ledger) -> None:
        """What the gate refuses stays refused for the gate's own reason."""
        ledger.switches.trip(None, "risk", "the venue misprices", "hand")
        run = started(ledger).publish(new_version(1), REFUSED)
        assert run.verdict == REFUSED

    def test_by_hand(self, ledger: Ledger) -> None:
        """Neither a promotion nor a forced one goes through; a rollback does; cleared, all do."""
        first, second = published(ledger, 1), published(ledger, 2)
        ledger.switches.trip(None, "risk", "the venue misprices", "hand")
        assert ledger.versions.rollback("hmm", "me", "bad").version == first
        for force in (False, True):
            with pytest.raises(Conflict, match="was tripped by risk: the venue misprices") as caught:
                ledger.versions.promote("hmm", second, "me", "now", force=force)
            assert caught.value.code == "kill_switch"
        with pytest.raises(Conflict):
            ledger.versions.adopt("hmm", second)
        assert [each.action for each in ledger.versions.promotions("hmm")][2:] == [PromotionAction.ROLLBACK]
        ledger.switches.clear(None, "admin", "mended")
        assert ledger.versions.promote("hmm", second, "me", "now").version == second
        ledger.switches.trip(None, "risk", "again", "hand")
        assert ledger.versions.adopt("hmm", first).version == first

    def test_decisions_go_on(self, ledger: Ledger) -> None:
        """The ledger answers what is chosen under the switch; which preset that is, the controller decides."""
        menu(ledger)
        ledger.switches.trip(None, "risk", "the venue misprices", "hand")
        assert [each.preset_id for each in decided(ledger, asked())] == ["fast"]
