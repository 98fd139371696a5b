"""`/api/bouncehunter`: what is asked and answered. Dates are of sessions; every other time is UTC ms."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from tidewheel.bounce.entries import Listed, ModelMetadata
from tidewheel.contracts.bounce import MAX_TICKERS
from tidewheel.contracts.states import Origin, RunState
from tidewheel.contracts.times import UtcMillis
from tidewheel.kit.schemas import Answer, RequestBody

MAX_AGE_HOURS = 8_760.0
Ticker = Annotated[str, Field(min_length=1, max_length=40)]
Source = Literal["memory", "disk", "trained", "bypassed"]  #: of the model that a scan was answered with
MaxAge = Annotated[float, Field(ge=0, le=MAX_AGE_HOURS)]


class ScanRequest(RequestBody):
    """Which tickers, and how old their model may be."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"tickers": ["AAPL", "MSFT", "GOOGL"]}]})

    tickers: list[Ticker] = Field(min_length=1, max_length=MAX_TICKERS, description="The universe, in any order.")
    use_cache: bool = Field(True, description="false: a model fitted now for this scan alone, which is not kept.")
    force_refresh: bool = Field(False, description="true: fit anew, and keep it.")
    max_cache_age_hours: MaxAge = Field(24.0, description="A model that read its data longer ago is fitted anew.")
    as_of: str | None = Field(
        None,
        max_length=40,
        description="A date (that session included) or a time in the past: nothing is used that was not known then.",
        examples=["2022-06-30"],
    )


class EntryView(Answer):
    """A configuration's fitted model."""

    config_hash: str = Field(description="sha256 of tickers, thresholds and the meaning of every number.")
    model_hash: str = Field(description="sha256 of weights, training rows and volatility.")
    version: str = Field(description="Of the entry's layout.")
    bundle: str = Field(description="The entry's version on disk, which the run that made it names.")
    created_at: UtcMillis
    updated_at: UtcMillis = Field(description="When its data were last read.")
    age_hours: float = Field(description="Since then.")
    stale: bool = Field(description="Whether it is older than max_cache_age_hours.")
    training_samples: int = Field(description="Dips whose end was known.")
    metrics: dict[str, Any] = Field(
        description="Of forward probabilities alone: n, base_rate, brier, brier_of_base_rate, log_loss, auc."
    )
    data_as_of: UtcMillis = Field(description="Close of the newest session that it has seen.")
    as_of: UtcMillis | None = Field(description="The time in the past that it was fitted for.")
    volatility_source: str
    origin: Origin = Field(description="The least real one of its tickers.")
    parent: str | None = Field(description="config_hash of the entry that it grew from.")

    @classmethod
    def of(cls, metadata: ModelMetadata, now: UtcMillis, max_age_hours: float, **more: Any) -> Self:
        """From what the cache tells, and `more` of what an answer adds."""
        more |= {
            "age_hours": metadata.age_hours(now),
            "stale": metadata.stale(now, max_age_hours),
            "as_of": metadata.config.as_of,
        }
        return cls(**{name: getattr(metadata, name) for name in cls.model_fields if name not in more}, **more)


class CacheInfo(EntryView):
    """An entry, and whose dips it learnt from."""

    tickers: list[str]
    left_out: dict[str, str] = Field(description="Tickers of the configuration that it could not use, and why.")


class ListedView(Answer):
    """An entry on disk."""

    name: str = Field(description="Its folder.")
    bytes: int
    fault: str | None = Field(description="Why it cannot be read; the next scan puts it aside and fits anew.")
    info: CacheInfo | None

    @classmethod
    def of(cls, listed: Listed, now: UtcMillis, max_age_hours: float) -> "ListedView":
        """From what the cache tells."""
        return cls(
            name=listed.name,
            bytes=listed.bytes,
            fault=listed.fault,
            info=None if listed.metadata is None else CacheInfo.of(listed.metadata, now, max_age_hours),
        )


class CacheList(Answer):
    """Every entry."""

    models: list[ListedView]
    total: int
    total_bytes: int


class ClearedView(Answer):
    """What was removed."""

    cleared: int = Field(description="Entries.")
    freed_bytes: int


class ScanCacheInfo(EntryView):
    """The model that a scan was answered with."""

    source: Source = Field(description="trained: fitted for this scan and kept; bypassed: fitted for this scan alone.")
    run_id: int | None = Field(description="The run that fitted it for this scan.")


class SignalView(Answer):
    """A dip of the ticker's newest session that the model rates high enough. Shares are decimals: 0.03 is 3 %."""

    ticker: str
    signal_date: str
    probability: float = Field(description="That target_price is touched before stop_price within five sessions.")
    z_score: float
    rsi2: float
    bb_deviation: float
    distance_200ma: float
    trend_63d: float
    gap_down: float
    vix_regime: Literal["low", "normal", "high"]
    entry_price: float
    target_price: float
    stop_price: float


class StatisticsView(Answer):
    """Of the signals; null where there is none."""

    avg_probability: float | None
    max_probability: float | None
    min_probability: float | None
    avg_z_score: float | None
    gap_down_count: int
    training_samples: int


class VolatilityView(Answer):
    """Where volatility stands in the past year."""

    source: str = Field(description="`universe`: its own realised volatility; else the stream of an index.")
    percentile: float
    threshold: float = Field(description="Least probability of a signal there.")


class ScanAnswer(Answer):
    """The signals of the newest session."""

    scan_timestamp: UtcMillis
    total_tickers_scanned: int
    signals_found: int
    signals: list[SignalView] = Field(description="By probability, highest first.")
    statistics: StatisticsView
    cache_info: ScanCacheInfo
    volatility: VolatilityView
    session: str = Field(description="Date of the newest session of any ticker.")
    as_of: UtcMillis | None
    data_as_of: UtcMillis = Field(description="Close of that session.")
    left_out: dict[str, str] = Field(description="Tickers that were not scanned, and why.")
    origin: Origin = Field(description="The least real one of the tickers.")
    warnings: list[str]


class PendingRun(Answer):
    """The model is still being fitted."""

    run_id: int
    state: RunState
    follow: str = Field(description="Where to look; once it has ended, ask again.", examples=["/runs/7"])


class IncrementalRequest(RequestBody):
    """Which tickers an entry grows by."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"new_tickers": ["TSLA", "AMD"]}]})

    new_tickers: list[Ticker] | None = Field(
        None,
        min_length=1,
        max_length=MAX_TICKERS,
        description="Those that the entry lacks are added, and only they are read; where it has one of them, or none "
        "is named, every ticker is read again.",
    )
    config_hash: str | None = Field(None, max_length=64, description="Which entry; else the one updated last.")


class IncrementalAnswer(CacheInfo):
    """The entry that came of it."""

    run_id: int
    added: list[str]
    refreshed: list[str] = Field(description="Tickers that were read again.")
