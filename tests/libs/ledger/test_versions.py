"""Champions: promote, roll back, adopt; on both dialects."""

import pytest
from sqlalchemy import update

from tests.libs.ledger.rows import PASSED, REFUSED, new_version, published
from tests.libs.ledger.test_runs import TTL, at_once, started
from tidewheel.contracts.errors import BadInput, Conflict, NotFound
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin, PromotionAction, RunState
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.tables import promotions


def champion(ledger: Ledger) -> str | None:
    found = ledger.versions.champion("hmm")
    return None if found is None else found.version


class TestChampion:
    def test_unknown_family(self, ledger: Ledger) -> None:
        """A family without a promotion has no champion and no history."""
        assert champion(ledger) is None
        assert ledger.versions.promotions("hmm") == []
        assert ledger.versions.last_promotion("hmm") is None
        assert ledger.versions.families() == []

    def test_history(self, ledger: Ledger) -> None:
        """Each publish that passed moves the champion and names the one before."""
        first, second = published(ledger, 1), published(ledger, 2)
        assert champion(ledger) == second
        with ledger._db.write() as connection:  # on Postgres what was changed last lies last
            connection.execute(update(promotions).where(promotions.c.version == first).values(reason="x"))
        moves = ledger.versions.promotions("hmm")
        assert [(move.version, move.previous, move.action) for move in moves] == [
            (first, None, PromotionAction.PROMOTE), (second, first, PromotionAction.PROMOTE),
        ]  # fmt: skip
        assert [version.version for version in ledger.versions.all("hmm")] == [second, first]
        assert ledger.versions.families() == ["hmm"]

    def test_promote_needs_a_passed_verdict(self, ledger: Ledger) -> None:
        """A refused version is promoted by force and with a reason only, and that shows."""
        refused = published(ledger, 1, REFUSED)
        with pytest.raises(Conflict, match=r"did not pass the gate \(champion: worse by 0.1") as caught:
            ledger.versions.promote("hmm", refused, "me", "I like it")
        assert caught.value.code == "verdict_not_passed"
        with pytest.raises(BadInput, match="needs a reason"):
            ledger.versions.promote("hmm", refused, "me", " ", force=True)
        assert champion(ledger) is None
        move = ledger.versions.promote("hmm", refused, "me", "I like it", force=True)
        assert (move.forced, move.actor, move.reason) == (True, "me", "I like it")
        assert champion(ledger) == refused

    def test_unknown_version(self, ledger: Ledger) -> None:
        """What was never published cannot be promoted, rolled back to or adopted."""
        published(ledger, 1)
        with pytest.raises(NotFound, match="hmm has no version 'v9'"):
            ledger.versions.promote("hmm", "v9", "me", "")
        with pytest.raises(NotFound):
            ledger.versions.rollback("hmm", "me", "", to="v9")
        with pytest.raises(NotFound):
            ledger.versions.adopt("hmm", "v9")

    def test_roll_back_step_by_step_and_forward(self, ledger: Ledger) -> None:
        """Each rollback goes one champion further back; forward is a promote; below the first there is none."""
        first, second, third = (published(ledger, number) for number in (1, 2, 3))
        assert ledger.versions.rollback("hmm", "me", "bad").version == second
        assert ledger.versions.rollback("hmm", "me", "worse").version == first
        with pytest.raises(Conflict, match="earlier champions: none") as caught:
            ledger.versions.rollback("hmm", "me", "even worse")
        assert caught.value.code == "nothing_to_roll_back"
        assert ledger.versions.promote("hmm", third, "me", "forward").action is PromotionAction.PROMOTE
        assert ledger.versions.rollback("hmm", "me", "again").version == first

    def test_roll_back_to_one_further_back(self, ledger: Ledger) -> None:
        """`to` names an earlier champion; a version that never was one is no target."""
        first, _, _ = (published(ledger, number) for number in (1, 2, 3))
        refused = published(ledger, 4, REFUSED)
        with pytest.raises(Conflict, match="no earlier champion v2026"):
            ledger.versions.rollback("hmm", "me", "x", to=refused)
        assert ledger.versions.rollback("hmm", "me", "x", to=first).version == first
        assert champion(ledger) == first

    def test_adopt(self, ledger: Ledger) -> None:
        """A `current` repointed by hand to an earlier champion counts as stepping back to it."""
        first, _ = published(ledger, 1), published(ledger, 2)
        move = ledger.versions.adopt("hmm", first)
        assert (move.action, move.actor, champion(ledger)) == (PromotionAction.ADOPT, "filesystem", first)
        with pytest.raises(Conflict):
            ledger.versions.rollback("hmm", "me", "x")

    def test_every_move_leaves_its_hint(self, ledger: Ledger) -> None:
        """Promote, rollback and adopt each put an event on the family's channel."""
        first, second = published(ledger, 1), published(ledger, 2)
        ledger.outbox.sent([event.id for event in ledger.outbox.pending()])
        ledger.versions.rollback("hmm", "me", "x")
        ledger.versions.promote("hmm", second, "me", "x")
        ledger.versions.adopt("hmm", first)
        events = ledger.outbox.pending()
        assert {event.topic for event in events} == {"bus:models.hmm"}
        assert [event.payload["version"] for event in events] == [first, second, first]

    def test_moves_of_one_family_queue_up(self, ledger: Ledger) -> None:
        """Concurrent moves form one chain: each names as previous the champion that it really replaced."""
        names = [published(ledger, number) for number in range(1, 5)]
        at_once(4, lambda n: ledger.versions.promote("hmm", names[n], f"thread {n}", "x"))
        moves = ledger.versions.promotions("hmm")
        assert [move.previous for move in moves[1:]] == [move.version for move in moves[:-1]]

    def test_synthetic_is_never_promoted_beside_real(self, ledger: Ledger) -> None:
        """Where a real exchange's bars are, a model of synthetic ones is refused, in publish and by force alike."""
        published(ledger, 1)
        ledger.streams.register(StreamKey.parse("binance:BTC/USDT:1m"), Origin.EXCHANGE)
        lease = started(ledger)
        with pytest.raises(Conflict) as caught:
            lease.publish(new_version(2, Origin.SYNTHETIC), PASSED)
        assert caught.value.code == "synthetic_origin"
        assert ledger.versions.get("hmm", new_version(2).version) is None
        assert lease.publish(new_version(2, Origin.SYNTHETIC), REFUSED).state is RunState.REFUSED
        with pytest.raises(Conflict):
            ledger.versions.promote("hmm", new_version(2).version, "me", "x", force=True)
        assert champion(ledger) == new_version(1).version

    def test_newest_verdict_decides(self, ledger: Ledger) -> None:
        """Bytes that passed once and were refused later need force."""
        name = published(ledger, 1)
        published(ledger, 2)
        run, _ = ledger.runs.start_or_join("hmm", "hmm", "test")
        lease = ledger.runs.lease(run.id, "worker", TTL)
        assert lease is not None
        lease.publish(new_version(1), REFUSED)
        with pytest.raises(Conflict):
            ledger.versions.promote("hmm", name, "me", "x")

    def test_each_version_has_its_own_newest_verdict(self, ledger: Ledger) -> None:
        """Neither another version's verdict nor that on the same name in another family is told of it."""
        for family, number, verdict in (
            ("hmm", 1, PASSED),
            ("hmm", 1, REFUSED),
            ("hmm", 2, PASSED),
            ("lstm", 1, PASSED),
        ):
            run = started(ledger, consumer=family)
            run.publish(new_version(number, family=family), verdict)
        told = {each.version: each.verdict for each in ledger.versions.all("hmm")}
        assert told == {new_version(1).version: REFUSED, new_version(2).version: PASSED}
        for name, given in told.items():
            found = ledger.versions.get("hmm", name)
            assert found is not None
            assert found.verdict == given

    def test_families_are_apart(self, ledger: Ledger) -> None:
        """Versions of one name in two families are two; each family has its own champion and moves, by its own run."""
        runs = {}
        for family, numbers in (("hmm", (1, 2)), ("lstm", (2, 3))):
            for number in numbers:
                run, _ = ledger.runs.start_or_join(family, family, "test")
                lease = ledger.runs.lease(run.id, "worker", TTL)
                assert lease is not None
                lease.publish(new_version(number, family=family), PASSED)
                runs[family, new_version(number).version] = run.id
        first, second, third = (new_version(number).version for number in (1, 2, 3))

        for family, names in (("hmm", [first, second]), ("lstm", [second, third])):
            assert [each.version for each in ledger.versions.all(family)] == names[::-1]
            assert [each.family for each in ledger.versions.all(family)] == [family, family]
            moves = ledger.versions.promotions(family)
            assert ledger.versions.last_promotion(family) == moves[-1]
            champion = ledger.versions.champion(family)
            assert champion is not None
            assert (champion.family, champion.version) == (family, names[1])
            assert [(each.version, each.run_id) for each in moves] == [(name, runs[family, name]) for name in names]
            assert ledger.versions.earlier_champions(family) == names[:1]
            found = ledger.versions.get(family, second)
            assert found is not None
            assert (found.family, found.run_id) == (family, runs[family, second])
        assert ledger.versions.families() == ["hmm", "lstm"]
        assert ledger.versions.get("hmm", third) is None
