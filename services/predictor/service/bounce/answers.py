"""What a scan found, in the document's words."""

from services.predictor.schemas.bounce import (
    ScanAnswer,
    ScanCacheInfo,
    SignalView,
    Source,
    StatisticsView,
    VolatilityView,
)
from tidewheel.bounce.entries import CachedModel, ModelMetadata
from tidewheel.bounce.scanning import Scan, Signal
from tidewheel.contracts.times import DAY, UtcMillis, iso

_LONG_AGO = 5 * DAY  #: a market's longest weekend


def answered(
    found: Scan,
    cached: CachedModel,
    *,
    source: Source,
    run_id: int | None,
    max_age_hours: float,
    now: UtcMillis,
) -> ScanAnswer:
    """The answer of a scan."""
    metadata, as_of = cached.metadata, cached.metadata.config.as_of
    return ScanAnswer(
        scan_timestamp=now,
        total_tickers_scanned=len(found.scanned),
        signals_found=len(found.signals),
        signals=[_signal(signal) for signal in found.signals],
        statistics=_statistics(found, metadata),
        cache_info=ScanCacheInfo.of(metadata, now, max_age_hours, source=source, run_id=run_id),
        volatility=VolatilityView(
            source=found.volatility.source, percentile=found.volatility.percentile, threshold=found.threshold
        ),
        session=_date(found.session),
        as_of=as_of,
        data_as_of=found.session + DAY,
        left_out=dict(found.left_out),
        origin=found.origin,
        warnings=_warnings(found, metadata, now if as_of is None else as_of),
    )


def _signal(signal: Signal) -> SignalView:
    told = signal.features
    return SignalView(
        ticker=signal.ticker,
        signal_date=_date(signal.session),
        probability=signal.probability,
        z_score=told["z5"],
        rsi2=told["rsi2"],
        bb_deviation=told["bb_dev"],
        distance_200ma=told["dist_200"],
        trend_63d=told["trend_63"],
        gap_down=told["gap_dn"],
        vix_regime=signal.volatility.regime,
        entry_price=signal.entry_price,
        target_price=signal.target_price,
        stop_price=signal.stop_price,
    )


def _statistics(found: Scan, metadata: ModelMetadata) -> StatisticsView:
    chances = [signal.probability for signal in found.signals]
    depths = [signal.features["z5"] for signal in found.signals]
    return StatisticsView(
        avg_probability=sum(chances) / len(chances) if chances else None,
        max_probability=max(chances, default=None),
        min_probability=min(chances, default=None),
        avg_z_score=sum(depths) / len(depths) if depths else None,
        gap_down_count=sum(signal.features["gap_dn"] < 0 for signal in found.signals),
        training_samples=metadata.training_samples,
    )


def _warnings(found: Scan, metadata: ModelMetadata, moment: UtcMillis) -> list[str]:
    warnings = []
    if (silent := moment - found.session - DAY) > _LONG_AGO:
        warnings.append(
            f"the newest session is of {_date(found.session)}, {silent // DAY} days before {_date(moment)}: import or "
            "ingest what came since"
        )
    brier, base = metadata.metrics.get("brier"), metadata.metrics.get("brier_of_base_rate")
    if brier is None or base is None:
        warnings.append("too few dips to judge the model's forward probabilities: take them for what they are")
    elif brier >= base:
        warnings.append(
            f"the model's forward probabilities were no better than the share of dips that bounce (Brier {brier:.3f} "
            f"against {base:.3f} on {metadata.metrics['n']}): it has shown no skill on these tickers"
        )
    return warnings


def _date(moment: UtcMillis) -> str:
    return iso(moment)[:10]
