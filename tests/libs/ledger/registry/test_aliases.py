"""Aliases: moves that are kept, the newest of which counts; on both dialects."""

import pytest
from sqlalchemy import update

from tests.libs.ledger.registry.registering import champion, new_model, register, training, version
from tests.libs.ledger.rows import PASSED, REFUSED
from tests.libs.ledger.test_runs import at_once
from tidewheel.contracts.errors import BadInput, Conflict, NotFound
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.registry.tables import model_aliases


def several(ledger: Ledger) -> Ledger:
    """Versions 1 to 3 of `forest`, of which the first is champion, and one of `linear`."""
    for number in (1, 2, 3):
        register(ledger, number)
    register(ledger, 1, "linear")
    return ledger


def move(ledger: Ledger, number: int, alias: str = "champion", name: str = "forest") -> str:
    return ledger.registry.move_alias(name, alias, version(number), "desk", "because").version


class TestFirst:
    def test_a_users_first_is_champion(self, ledger: Ledger) -> None:
        """By his word; a later one waits, and so does one that is registered again."""
        several(ledger)
        ledger.registry.register(new_model(2), "desk")
        (first,) = ledger.registry.moves("forest")
        assert (first.version, first.previous, first.actor, first.run_id) == (version(1), None, "desk", None)
        assert (first.alias, first.reason) == ("champion", "the name's first version")
        assert champion(ledger) == version(1)
        assert champion(ledger, "linear") == version(1)

    def test_where_runs_made_none(self, ledger: Ledger) -> None:
        """What a run made and the comparison refused is no champion; the user's is, until another run's is better."""
        training(ledger).publish_model(new_model(1), REFUSED, champion=True)
        assert champion(ledger) is None
        register(ledger, 2)
        assert champion(ledger) == version(2)
        training(ledger).publish_model(new_model(3), PASSED, champion=True)
        register(ledger, 4)
        assert champion(ledger) == version(3)

    def test_not_while_a_switch_stands(self, ledger: Ledger) -> None:
        """It is registered, and waits for somebody to move the alias, or for another version."""
        ledger.switches.trip(None, "risk", "the venue misprices", "hand")
        register(ledger)
        assert champion(ledger) is None
        ledger.switches.clear(None, "admin", "mended")
        register(ledger)
        assert champion(ledger) is None
        register(ledger, 2)
        assert champion(ledger) == version(2)


class TestMove:
    def test_the_newest_counts(self, ledger: Ledger) -> None:
        """Each move names the one before; names and aliases are apart; the hints tell all of them."""
        several(ledger)
        ledger.outbox.sent([event.id for event in ledger.outbox.pending()])
        before = ledger.now()
        for number, alias in ((2, "champion"), (3, "staging"), (3, "champion"), (1, "staging")):
            assert move(ledger, number, alias) == version(number)
        with ledger._db.write() as connection:  # on Postgres what was changed last lies last
            connection.execute(update(model_aliases).where(model_aliases.c.version == version(1)).values(reason="x"))
            connection.execute(update(model_aliases).where(model_aliases.c.version == version(2)).values(reason="x"))
        told = [(each.version, each.previous) for each in ledger.registry.moves("forest")]
        assert told == [(version(1), None), (version(2), version(1)), (version(3), version(2))]
        told = [(each.version, each.previous) for each in ledger.registry.moves("forest", "staging")]
        assert told == [(version(3), None), (version(1), version(3))]
        newest = ledger.registry.moves("forest")[-1]
        assert (newest.actor, newest.reason, newest.run_id) == ("desk", "because", None)
        assert before <= newest.created_at <= ledger.now()
        for alias, number in (("champion", 3), ("staging", 1)):
            found = ledger.registry.get("forest", alias)
            assert found is not None and found.version == version(number)
        assert ledger.registry.get("linear", "staging") is None
        assert champion(ledger, "linear") == version(1)
        events = ledger.outbox.pending()
        assert {event.topic for event in events} == {"bus:registry.forest"}
        assert [event.payload for event in events][:2] == [
            {"model_name": "forest", "alias": "champion", "version": version(2)},
            {"model_name": "forest", "alias": "staging", "version": version(3)},
        ]

    def test_where_each_stands(self, ledger: Ledger) -> None:
        """The newest move of each alias, by name and alias; of one name where it is asked for."""
        several(ledger)
        for number, alias in ((2, "shadow"), (3, "staging"), (2, "champion"), (1, "shadow")):
            move(ledger, number, alias)
        with ledger._db.write() as connection:
            connection.execute(update(model_aliases).where(model_aliases.c.version == version(2)).values(reason="x"))
        standing = [(each.model_name, each.alias, each.version) for each in ledger.registry.aliases()]
        assert standing == [
            ("forest", "champion", version(2)), ("forest", "shadow", version(1)), ("forest", "staging", version(3)),
            ("linear", "champion", version(1)),
        ]  # fmt: skip
        assert ledger.registry.aliases("linear") == ledger.registry.moves("linear")
        assert ledger.registry.aliases("nobody") == ledger.registry.moves("nobody") == []

    def test_to_where_it_is(self, ledger: Ledger) -> None:
        """Nothing moves, and the move that stands is the answer, a switch or not."""
        several(ledger)
        (first,) = ledger.registry.moves("forest")
        ledger.outbox.sent([event.id for event in ledger.outbox.pending()])
        assert ledger.registry.move_alias("forest", "champion", version(1), "another", "x") == first
        ledger.switches.trip(None, "risk", "the venue misprices", "hand")
        assert ledger.registry.move_alias("forest", "champion", version(1), "another", "x") == first
        assert ledger.registry.moves("forest") == [first]
        assert ledger.outbox.pending() == []

    def test_what_cannot_be_named(self, ledger: Ledger) -> None:
        """A version of another name, one that is inactive, an alias that looks like a version."""
        several(ledger)
        with pytest.raises(NotFound, match=f"linear has no version '{version(2)}'"):
            move(ledger, 2, name="linear")
        ledger.registry.set_active("forest", version(2), False, "desk")
        with pytest.raises(Conflict, match="is inactive; activate it first") as caught:
            move(ledger, 2)
        assert caught.value.code == "model_inactive"
        for alias in (version(2), "Champion", ""):
            with pytest.raises(BadInput, match="alias"):
                move(ledger, 3, alias)
        assert [each.version for each in ledger.registry.moves("forest")] == [version(1)]

    def test_at_once(self, ledger: Ledger) -> None:
        """Concurrent moves form one chain: each names as previous what it really replaced."""
        several(ledger)
        for alias in ("champion", "staging"):
            at_once(6, lambda n, alias=alias: move(ledger, 1 + n % 3, alias))  # type: ignore[misc]
            moves = ledger.registry.moves("forest", alias)
            assert [each.previous for each in moves] == [None, *(each.version for each in moves[:-1])]


class TestSwitch:
    def test_only_back(self, ledger: Ledger) -> None:
        """While one stands the champion steps back, never to what it stepped back from, nor forward; others move."""
        several(ledger)
        move(ledger, 2)
        move(ledger, 3)
        ledger.switches.trip(None, "risk", "the venue misprices", "hand")
        register(ledger, 4)
        assert move(ledger, 1) == version(1)
        for number in (2, 3, 4):
            with pytest.raises(Conflict, match="was tripped by risk: the venue misprices") as caught:
                move(ledger, number)
            assert caught.value.code == "kill_switch"
        assert move(ledger, 4, "staging") == version(4)
        assert champion(ledger) == version(1)
        ledger.switches.clear(None, "admin", "mended")
        assert move(ledger, 3) == version(3)

    def test_a_champion_of_another_name_is_no_earlier_one(self, ledger: Ledger) -> None:
        """Nor is what another alias has named."""
        several(ledger)
        register(ledger, 2, "linear")
        move(ledger, 2, name="linear")
        move(ledger, 3, "staging")
        ledger.switches.trip(None, "risk", "the venue misprices", "hand")
        for number in (2, 3):
            with pytest.raises(Conflict):
                move(ledger, number)
