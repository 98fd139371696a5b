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
def test_the_runs_of_registered_models_are_no_consumer(kind: type[TrainerSettings] | type[KeeperSettings]) -> None:
    """A regime trainer of that name would take them up, and the keeper order them."""
    with pytest.raises(BadSetting, match=r"TRAIN_CONSUMER=registry-baseline .*choose another name"):
        load(kind, train_consumer="registry-baseline")
