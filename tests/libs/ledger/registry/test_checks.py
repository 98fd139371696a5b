"""fsck of the model registry finds each kind of damage that is planted, and nothing where there is none."""

import pytest
from sqlalchemy import update

from tests.libs.ledger.registry.registering import BTC, NOON, new_prediction, predicting, saved, version
from tests.libs.ledger.test_fsck import told, without
from tidewheel.contracts.times import HOUR
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.registry.tables import model_aliases, predictions


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """Two names with champions; an open, a known and a missing prediction."""
    predicting(ledger)
    saved(ledger, *(new_prediction(hour) for hour in range(3)))
    ledger.predictions.settle(BTC, {NOON + 2 * HOUR: 101.0, NOON + 3 * HOUR: None})
    return ledger


def test_a_sound_registry_passes(filled: Ledger) -> None:
    """Each check tells how much it has looked at."""
    found = told(filled)
    assert found["aliases"] == (True, 2, "2 moves of aliases point to registered versions")
    assert found["predictions"] == (True, 3, "3 predictions are of registered versions")


def test_an_alias_that_points_nowhere(filled: Ledger) -> None:
    """Neither to a version that is none, nor to another name's; oldest first."""
    (first,), (other,) = filled.registry.moves("forest"), filled.registry.moves("linear")
    names = f"CASE model_name WHEN 'forest' THEN 'v9' ELSE '{version(2)}' END"
    filled.registry.move_alias("linear", "staging", version(1), "desk", "x")
    damage = f"UPDATE model_aliases SET version = {names} WHERE alias = 'champion'"
    without(filled, "fk_model_aliases_model_name_version", "model_aliases", damage)
    with filled._db.write() as connection:  # on Postgres what was changed last lies last
        connection.execute(update(model_aliases).where(model_aliases.c.id == first.id).values(reason="x"))
    assert told(filled)["aliases"] == (
        False, 2,
        f"move {first.id} points champion of forest to v9; move {other.id} points champion of linear to {version(2)}",
    )  # fmt: skip


def test_a_prediction_of_an_unknown_model(filled: Ledger) -> None:
    """It is named, whatever its state."""
    damage = f"UPDATE predictions SET model_version = '{version(2)}', model_name = 'linear' WHERE id = 2"
    without(filled, "fk_predictions_model_name_model_version", "predictions", damage)
    says = f"prediction 2 is of linear {version(2)}, which is not registered"
    assert told(filled)["predictions"] == (False, 1, says)


def test_a_state_that_does_not_fit(filled: Ledger) -> None:
    """An open one that is scored, a known one without a close, a missing one with one; oldest first."""
    damages = (
        (1, {"actual_value": 7.0}, "is open, and its close is 7.0, scored at None"),
        (1, {"scored_at": 7}, "is open, and its close is None, scored at 7"),
        (2, {"actual_value": None}, "is known, and its close is None, scored at "),
        (2, {"scored_at": None}, "is known, and its close is 101.0, scored at None"),
        (3, {"actual_value": 7.0}, "is missing, and its close is 7.0, scored at "),
        (3, {"scored_at": None}, "is missing, and its close is None, scored at None"),
    )
    for number, values, says in damages:
        with filled._db.write() as connection:
            before = connection.execute(predictions.select().where(predictions.c.id == number)).one()
            connection.execute(update(predictions).where(predictions.c.id == number).values(**values))
        ok, count, detail = told(filled)["predictions"]
        assert (ok, count) == (False, 1)
        assert f"prediction {number} {says}" in detail
        with filled._db.write() as connection:
            kept = {name: getattr(before, name) for name in ("actual_value", "scored_at")}
            connection.execute(update(predictions).where(predictions.c.id == number).values(**kept))
    with filled._db.write() as connection:
        for number in (3, 2, 1):
            connection.execute(update(predictions).where(predictions.c.id == number).values(state="lost"))
        connection.execute(update(predictions).values(scored_at=None))
    detail = told(filled)["predictions"][2]
    assert [each.partition(" is ")[0] for each in detail.split("; ")] == [f"prediction {n}" for n in (1, 2, 3)]
