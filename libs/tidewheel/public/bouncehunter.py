"""BounceHunter from Python: fit, scan, and the cache between them.

```python
from tidewheel.public.bouncehunter import BounceHunter, BounceHunterConfig

config = BounceHunterConfig.of(["AAPL", "MSFT", "GOOGL"])
with BounceHunter(config=config) as scanner:   # reads the ledger that the settings name
    scanner.fit()
    for signal in scanner.scan().signals:
        print(signal.ticker, signal.probability, signal.target_price, signal.stop_price)
```
"""

import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from tidewheel.bounce.entries import CachedModel, Cleared, Listed, ModelCache, ModelMetadata, config_hash
from tidewheel.bounce.files import Made
from tidewheel.bounce.fitting import Prepared, prepare
from tidewheel.bounce.market import DailyBars
from tidewheel.bounce.scanning import Scan, Signal, scan
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import NotFound
from tidewheel.kit.bounce import BounceSettings
from tidewheel.kit.settings import load
from tidewheel.ledger.open import Ledger, open_ledger
from tidewheel.models.bounce import BounceModel

__all__ = [
    "BounceHunter", "BounceHunterConfig", "CachedModel", "DailyBars", "ModelCache", "ModelMetadata", "Scan", "Signal",
]  # fmt: skip


class BounceHunter:
    """A universe's model, fitted here, and its signals. For one thread; processes may share `cache_dir`."""

    def __init__(
        self,
        config: BounceHunterConfig,
        use_cache: bool = True,
        cache_dir: Path | str = Path("./model_cache"),
        max_cache_age_hours: float = 24,
        *,
        bars: DailyBars | None = None,
    ) -> None:
        """Takes its bars from `bars`, else from the ledger that the settings of this process name.

        Args:
            config: the universe and what counts as a dip, a bounce and a signal.
            use_cache: False: fit anew each time, and write nothing.
            max_cache_age_hours: an older entry is fitted anew.
        """
        self.config = config
        self._use_cache, self._max_age_hours = use_cache, max_cache_age_hours
        self._cache = ModelCache(Path(cache_dir))
        self._ledger: Ledger | None = None
        self._bars = bars
        self._fitted: CachedModel | None = None

    def fit(self, *, force_refresh: bool = False) -> ModelMetadata:
        """The model of this configuration: from memory, from disk, else fitted and saved.

        Raises:
            BadInput: a ticker is unknown; says how to import it.
            NotEnoughData: there are too few dips; says how many are missing.
        """
        return self._fit(force_refresh=force_refresh).metadata

    def fit_incremental(self, new_tickers: Iterable[str] | None = None) -> ModelMetadata:
        """The model of the universe and these tickers, of which alone bars are read; it becomes this one's.

        Without new ones, and where the entry is missing or stale, the whole universe is read again.

        Raises:
            BadInput, NotEnoughData: as `fit`.
        """
        base = self._fresh()
        grown = self.config.with_tickers([*self.config.tickers, *(new_tickers or ())])
        if base is None or grown == self.config:
            self.config = grown
            return self.fit(force_refresh=True)
        prepared = prepare(self.bars, grown, base=base)
        self.config = grown
        if not self._use_cache:
            self._fitted = self._unsaved(prepared)
        else:
            with self._cache.alone(prepared.config_hash):
                self._fitted = self._saved(prepared)
        return self._fitted.metadata

    def scan(self) -> Scan:
        """The signals of the newest session, of bars read now; fits first where `fit` was not called or is stale.

        Raises:
            BadInput, NotEnoughData: as `fit`; or no ticker can be scanned.
        """
        fitted = self._fitted
        if fitted is None or self._stale(fitted):
            fitted = self._fit(force_refresh=False)
        return scan(self.bars, fitted)

    def cache_info(self) -> ModelMetadata | None:
        """The entry of this configuration, None where there is none."""
        return self._cache.metadata(self._hash)

    def list_cached(self) -> list[Listed]:
        """All entries in the folder."""
        return self._cache.entries()

    def clear_cache(self, older_than_days: float | None = None) -> Cleared:
        """Remove all entries, or those whose data were read longer ago."""
        return self._cache.clear(older_than_days)

    @property
    def bars(self) -> DailyBars:
        """Where the sessions come from.

        Raises:
            SchemaMismatch, Unavailable, BadSetting: the ledger of the settings cannot be opened.
        """
        if self._bars is None:
            settings = load(BounceSettings)
            self._ledger = open_ledger(settings.ledger_db, settings.data_dir, settings.ledger_purpose)
            self._bars = DailyBars(
                self._ledger, exchange=settings.bounce_exchange, volatility_index=settings.volatility_index
            )
        return self._bars

    def close(self) -> None:
        """Close the ledger, where it was opened here."""
        if self._ledger is not None:
            self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def _hash(self) -> str:
        return config_hash(self.config, self.bars.volatility_source)

    def _fresh(self) -> CachedModel | None:
        """The entry of this configuration, where it is not stale."""
        known = self._cache.get(self._hash) if self._use_cache else self._fitted
        return None if known is None or self._stale(known) else known

    def _stale(self, known: CachedModel) -> bool:
        return known.metadata.stale(time.time_ns() // 1_000_000, self._max_age_hours)

    def _fit(self, *, force_refresh: bool) -> CachedModel:
        found = None if force_refresh or not self._use_cache else self._fresh()
        if found is None and not self._use_cache:
            found = self._unsaved(prepare(self.bars, self.config))
        if found is None:
            with self._cache.alone(self._hash):
                # Another process may have fitted it while this one waited.
                found = None if force_refresh else self._fresh()
                found = found or self._saved(prepare(self.bars, self.config))
        self._fitted = found
        return found

    def _saved(self, prepared: Prepared) -> CachedModel:
        self._cache.save(self._made(prepared))
        saved = self._cache.get(prepared.config_hash)
        if saved is None:
            raise NotFound(f"the entry {prepared.config_hash} was removed as soon as it was written")
        return saved

    def _unsaved(self, prepared: Prepared) -> CachedModel:
        return CachedModel.of(self._made(prepared))

    def _made(self, prepared: Prepared) -> Made:
        return prepared.made(BounceModel.fit(prepared.rows, fewest=self.config.min_event_samples))
