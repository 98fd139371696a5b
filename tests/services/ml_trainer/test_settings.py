"""What a trainer refuses to be set to."""

import pytest

from services.fleet.keeper.settings import KeeperSettings
from services.ml_trainer.settings import TrainerSettings
from tidewheel.contracts.errors import BadSetting
from tidewheel.kit.settings import load


def test_fewer_than_three_restarts_are_refused() -> None:
    """With one or two starts the seed decides which regimes are found: the sentence names setting and limit."""
    with pytest.raises(BadSetting, match=r"TIDEWHEEL_TRAIN_RESTARTS=2 .* 3$"):
        load(TrainerSettings, restarts=2)
    assert load(TrainerSettings, restarts=3).restarts == 3


@pytest.mark.parametrize("kind", [TrainerSettings, KeeperSettings])
@pytest.mark.parametrize("kept", ["registry-baseline", "bounce-0a1b2c3d4e5f6071"])
def test_the_runs_of_other_trainings_are_no_consumer(
    kind: type[TrainerSettings] | type[KeeperSettings], kept: str
) -> None:
    """A regime trainer of that name would take them up, and the keeper order them."""
    with pytest.raises(BadSetting, match=rf"TRAIN_CONSUMER={kept} .*choose another name"):
        load(kind, train_consumer=kept)


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [("stooq:VIX:1h", r"BOUNCE_VIX=stooq:VIX:1h .*not of a day"), ("VIX", r"BOUNCE_VIX=VIX .*exchange:symbol")],
)
def test_an_index_without_daily_bars_is_refused(variable: str, sentence: str) -> None:
    """The sentence names the setting and the form."""
    with pytest.raises(BadSetting, match=sentence):
        load(TrainerSettings, bounce_vix=variable)
    key = load(TrainerSettings, bounce_vix="stooq:VIX:1d").volatility_index
    assert str(key) == "stooq:VIX:1d" and load(TrainerSettings).volatility_index is None
