"""The entries of the model cache as HTTP shows them."""

from collections.abc import Sequence

from services.predictor.schemas.bounce import CacheInfo, CacheList, ClearedView, ListedView
from tidewheel.bounce.entries import ModelCache, ModelMetadata, config_hash
from tidewheel.bounce.market import DailyBars
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import NotFound
from tidewheel.ledger.open import Ledger


class Entries:
    """Tells of entries, and removes them."""

    def __init__(self, ledger: Ledger, cache: ModelCache, bars: DailyBars) -> None:
        self._ledger, self._cache, self._bars = ledger, cache, bars

    def meant(self, digest: str | None, tickers: Sequence[str] | None = None) -> ModelMetadata:
        """The entry of that hash, or of those tickers; else the one updated last.

        Raises:
            NotFound: `no_cached_model`, there is none.
            BadBundle: it is damaged.
            BadInput: no such hash or ticker can be.
        """
        if digest is None and tickers is not None:
            digest = config_hash(BounceHunterConfig.of(tickers), self._bars.volatility_source)
        found = self._cache.latest() if digest is None else self._cache.metadata(digest)
        if found is None:
            which = "no model is cached" if digest is None else f"no model of the configuration {digest} is cached"
            raise NotFound(f"{which}; POST /api/bouncehunter/scan fits one", code="no_cached_model")
        return found

    def info(self, digest: str | None, tickers: Sequence[str] | None, max_age_hours: float) -> CacheInfo:
        """What is told of an entry; raises as `meant`."""
        return CacheInfo.of(self.meant(digest, tickers), self._ledger.now(), max_age_hours)

    def all(self, max_age_hours: float) -> CacheList:
        """Every entry, also those that cannot be read."""
        listed, now = self._cache.entries(), self._ledger.now()
        return CacheList(
            models=[ListedView.of(each, now, max_age_hours) for each in listed],
            total=len(listed),
            total_bytes=sum(each.bytes for each in listed),
        )

    def clear(self, older_than_days: float | None) -> ClearedView:
        """Remove all, or those whose data were read longer ago."""
        gone = self._cache.clear(older_than_days)
        return ClearedView(cleared=gone.cleared, freed_bytes=gone.freed_bytes)
