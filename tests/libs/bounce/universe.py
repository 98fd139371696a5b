"""One small synthetic universe for the tests of this folder, and how its entries are made."""

from functools import cache
from pathlib import Path

from tests.tickers import stock
from tidewheel.bounce.entries import CachedModel, ModelCache, ModelMetadata
from tidewheel.bounce.fitting import prepare
from tidewheel.bounce.market import DailyBars
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.times import DAY, UtcMillis
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.open import Ledger
from tidewheel.market.sim.dips import TICKERS, dips_market
from tidewheel.models.bounce import BounceModel

THREE = ("AAPL", "MSFT", "GOOGL")
CONFIG = BounceHunterConfig.of(THREE)


@cache
def frames() -> dict[str, CandleFrame]:
    """Six years of five tickers."""
    return dips_market(TICKERS, 1_500, seed=11).frames


def stocked(ledger: Ledger, *, until: UtcMillis | None = None, **changed: CandleFrame) -> DailyBars:
    """The universe in the ledger, as far as it had closed by `until`; `changed` replaces tickers."""
    told = {**frames(), **changed}
    end = None if until is None else until - DAY + 1
    stock(ledger, {ticker: frame.between(None, end) for ticker, frame in told.items()})
    return DailyBars(ledger)


def close_of(place: int) -> UtcMillis:
    """When the session at that place had closed."""
    return int(frames()["AAPL"].open_time[place]) + DAY


def fitted(
    bars: DailyBars,
    cache_dir: Path,
    config: BounceHunterConfig = CONFIG,
    *,
    base: CachedModel | None = None,
) -> ModelMetadata:
    """Fit and save."""
    prepared = prepare(bars, config, base=base)
    model = BounceModel.fit(prepared.rows, fewest=config.min_event_samples)
    return ModelCache(cache_dir).save(prepared.made(model))


def entry(
    bars: DailyBars, cache_dir: Path, config: BounceHunterConfig = CONFIG, *, base: CachedModel | None = None
) -> CachedModel:
    """Fit, save, and read back."""
    found = ModelCache(cache_dir).get(fitted(bars, cache_dir, config, base=base).config_hash)
    assert found is not None
    return found
