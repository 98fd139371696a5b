"""The universe of this folder, stocked once for the tests that only read it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.libs.bounce.universe import CONFIG, stocked
from tidewheel.bounce.files import Made
from tidewheel.bounce.fitting import prepare
from tidewheel.bounce.market import DailyBars
from tidewheel.ledger.open import open_ledger
from tidewheel.models.bounce import BounceModel


@pytest.fixture(scope="session")
def bars(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DailyBars]:
    """Nobody may write to it."""
    folder = tmp_path_factory.mktemp("universe")
    (folder / "manifest.sqlite").write_bytes(sqlite_template.read_bytes())
    ledger = open_ledger(f"sqlite:///{folder / 'manifest.sqlite'}", folder)
    yield stocked(ledger)
    ledger.close()


@pytest.fixture(scope="session")
def made(bars: DailyBars) -> Made:
    """The three tickers' fit, not saved."""
    prepared = prepare(bars, CONFIG)
    return prepared.made(BounceModel.fit(prepared.rows, fewest=CONFIG.min_event_samples))
