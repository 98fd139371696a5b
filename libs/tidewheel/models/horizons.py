"""Our own forecasts of the close some hours ahead: for each horizon a regressor of its own.

Family `baseline` is linear, `random_forest` a forest. Both read the documented features relative to the price and
answer the simple return to the close h hours on, so a level that the fit never saw is no new world to them.

A documented feature that the market hardly ever has (a mean over a week, where weekends are closed) is not one of the
model's: `features` names those that it does read.

The width of the interval follows the volatility of the last day where the horizon is no longer than that: shocks are
gone within days, so beyond a day the width is constant.

Rows are taken in time: the older ones fit, the newer ones calibrate the interval. A row's label must be known before
the first row of the next slice: no hour is behind both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidewheel.contracts.canonical import canonical_json, digest_of
from tidewheel.contracts.errors import BadBundle, BadInput, NotEnoughData
from tidewheel.contracts.times import HOUR, UtcMillis
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.hourly import (
    CATALOGUE,
    VOLATILITY_HOURS,
    documented,
    lookback,
    signature,
    table,
    target,
    volatility,
)
from tidewheel.models.base import Payload
from tidewheel.models.conformal import Conformal
from tidewheel.models.drift import Reference
from tidewheel.models.forest import TREES, Forest
from tidewheel.models.linear import LinearModel
from tidewheel.models.payload import MODEL_FILE, Document

SCHEMA = 1
HORIZONS = (1, 3, 24, 168)  #: hours
MIN_FIT = 200  #: rows
MIN_CALIBRATE = 50  #: rows
_FEWEST_PERCENT = 10  #: of the bars at which a feature must be known to be one of the model's
_CALIBRATE_PERCENT = 25  #: of the rows, where the fit keeps its 200
_MOST_HOURS = 24 * 365 * 10  #: of a horizon
_MEMBERS = ("horizons", "left_out", "seed", "start", "end")
_HORIZON_MEMBERS = ("features", "fit_rows", "calibrate_rows", "level", "half_width", "scale", "reference")
_SCALED, _CONSTANT = "volatility", "price"  #: what the width of an interval is proportional to
_REGRESSORS: Mapping[str, type[LinearModel] | type[Forest]] = {"baseline": LinearModel, "random_forest": Forest}
FAMILIES = tuple(_REGRESSORS)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Forecaster:
    """The part of a model that looks one horizon ahead."""

    features: tuple[str, ...]  #: names of its columns, relative to the price
    regressor: LinearModel | Forest
    band: Conformal  #: of the calibration residuals, relative to the price, and where `scaled` to the volatility
    scaled: bool
    reference: tuple[Reference, ...]  #: of each feature in the rows of the fit
    fit_rows: int
    calibrate_rows: int  #: whose residuals are in the band


@dataclass(frozen=True, eq=False, slots=True)
class HorizonModel:
    """A forecaster for each horizon that had rows enough."""

    family: str  #: `baseline` or `random_forest`
    parts: Mapping[int, Forecaster]  #: by horizon, hours
    left_out: Mapping[int, str]  #: horizons that had too few rows, and how few
    seed: int
    start: UtcMillis  #: open time of the first bar that was used
    end: UtcMillis  #: close time of the last one: no label was known later

    @property
    def horizons(self) -> tuple[int, ...]:
        """Hours that it can look ahead, rising."""
        return tuple(sorted(self.parts))

    @property
    def signature(self) -> str:
        """Digest of what the numbers that enter it mean, over all horizons."""
        return digest_of({str(h): signature(part.features, relative=True) for h, part in self.parts.items()})

    @classmethod
    def fit(
        cls,
        hours: CandleFrame,
        *,
        family: str,
        horizons: Sequence[int] = HORIZONS,
        seed: int,
        trees: int = TREES,
        progress: Callable[[int], None] = lambda _: None,
    ) -> "HorizonModel":
        """Fit and calibrate on `hours`, all of which the model may see; `progress` is told each horizon that is done,
        `trees` is the size of a forest.

        A horizon with too few rows is left out and named in `left_out`. One seed and the same bars give one model to
        the byte.

        Raises:
            NotEnoughData: no horizon has rows enough.
            BadInput: the family is none of ours, a horizon is not possible, or the bars are not hours.
        """
        if family not in _REGRESSORS:
            raise BadInput(f"family {family!r} is not trained here; the families are {', '.join(FAMILIES)}")
        wanted = sorted(set(horizons))
        if not wanted or wanted[0] < 1 or wanted[-1] > _MOST_HOURS:
            raise BadInput(f"horizons {list(horizons)} are not possible; name hours from 1 to {_MOST_HOURS}")
        parts: dict[int, Forecaster] = {}
        left_out: dict[int, str] = {}
        for horizon in wanted:
            slices = _slices(hours, horizon)
            if isinstance(slices, str):
                left_out[horizon] = slices
            else:
                parts[horizon] = _fitted(slices, family, seed, trees)
            progress(horizon)
        if not parts:
            told = "; ".join(f"{horizon} h: {why}" for horizon, why in left_out.items())
            raise NotEnoughData(
                f"{len(hours)} complete hours are too few for any horizon: {told}; ingest or backfill more"
            )
        return cls(family, parts, left_out, seed, int(hours.open_time[0]), int(hours.open_time[-1]) + HOUR)

    def features(self, horizon: int) -> tuple[str, ...]:
        """Names of the columns that `predict` reads at `horizon`."""
        return self._part(horizon).features

    def band(self, horizon: int) -> Conformal:
        """The interval around a forecast over `horizon`, in units of `scale`."""
        return self._part(horizon).band

    def scale(self, horizon: int, hours: CandleFrame) -> Floats:
        """What `band` is in units of at each bar, shape [n], in prices: the close, up to a day ahead times volatility.

        NaN where the volatility is not known, or the price stood still.
        """
        if not self._part(horizon).scaled:
            return hours.close.copy()
        moves = volatility(hours)
        return hours.close * np.where(moves > 0.0, moves, np.nan)

    def reach(self, horizon: int, hours: CandleFrame) -> Floats:
        """Half the width of the interval around the forecast at each bar, in prices, shape [n]; NaN as `scale`."""
        half_width = self.band(horizon).half_width
        return self.scale(horizon, hours) * (np.nan if half_width is None else half_width)

    def reference(self, horizon: int) -> dict[str, Reference]:
        """What each feature of `horizon` looked like in the rows of the fit."""
        part = self._part(horizon)
        return dict(zip(part.features, part.reference, strict=True))

    def predict(self, horizon: int, rows: Floats) -> Floats:
        """Simple returns over `horizon` hours for relative features `rows` [n, f], shape [n].

        Raises:
            BadInput: `feature_mismatch`, the rows have another number of columns; or a value is not finite.
        """
        part = self._part(horizon)
        if rows.ndim != 2 or rows.shape[1] != len(part.features):
            raise BadInput(
                f"rows of shape {list(rows.shape)} do not fit the {len(part.features)} features of {horizon} h",
                code="feature_mismatch",
            )
        if not np.isfinite(rows).all():
            raise BadInput(f"a feature of {horizon} h is missing or not finite; no forecast is made without it")
        return part.regressor.predict(rows)

    def forecast(self, horizon: int, hours: CandleFrame) -> Floats:
        """Forecast close `horizon` hours after each bar, shape [n]; NaN at a bar where a feature is missing."""
        rows = table(hours, self.features(horizon), horizon=horizon, relative=True)
        known = ~np.isnan(rows).any(axis=1)
        found = np.full(len(hours), np.nan)
        found[known] = hours.close[known] * (1.0 + self.predict(horizon, rows[known]))
        return found

    def to_payload(self) -> dict[str, bytes]:
        """`model.json`, and `h<horizon>.npz` for each horizon; equal models give equal bytes."""
        members = {
            "family": self.family,
            "schema": SCHEMA,
            "seed": self.seed,
            "start": self.start,
            "end": self.end,
            "left_out": {str(horizon): why for horizon, why in self.left_out.items()},
            "horizons": {str(horizon): _members(part) for horizon, part in self.parts.items()},
        }
        weights = {f"h{horizon}.npz": self.parts[horizon].regressor.to_arrays() for horizon in self.horizons}
        return {MODEL_FILE: canonical_json(members), **weights}

    @classmethod
    def from_payload(cls, payload: Payload) -> "HorizonModel":
        """The model of `to_payload()`; needs numpy only.

        Raises:
            BadBundle: a file or a member is missing, unknown, damaged, or not what a fit could have made.
        """
        document = Document.read_beside(payload, families=FAMILIES, schema=SCHEMA, keys=_MEMBERS)
        inner = document.inner("horizons")
        horizons = sorted(_hours(name) for name in inner.names())
        if not horizons or set(payload) != {MODEL_FILE, *(f"h{horizon}.npz" for horizon in horizons)}:
            raise BadBundle(
                f"the model's files are {sorted(payload)[:8]}, which are not those of horizons {horizons[:8]}"
            )
        family, left_out = document.text("family"), document.inner("left_out")
        return cls(
            family=family,
            parts={horizon: _read(payload, inner.inner(str(horizon)), family, horizon) for horizon in horizons},
            left_out={_hours(name): left_out.text(name) for name in left_out.names()},
            seed=document.count("seed"),
            start=document.count("start"),
            end=document.count("end"),
        )

    def _part(self, horizon: int) -> Forecaster:
        if horizon not in self.parts:
            raise BadInput(
                f"horizon {horizon} h is not one of this model's {list(self.horizons)}", code="horizon_not_supported"
            )
        return self.parts[horizon]


@dataclass(frozen=True, eq=False, slots=True)
class _Slices:
    features: tuple[str, ...]
    rows: Floats  # [n, f], features of every usable bar, oldest first
    targets: Floats  # [n]
    volatility: Floats  # [n], NaN where it is not known
    horizon: int
    fit: int  # the first so many rows fit
    calibrate: int  # from this row on they calibrate


def fewest_hours(horizon: int) -> int:
    """Unbroken hours without which no forecaster of `horizon` can be fitted."""
    return lookback(documented(horizon)) + MIN_FIT + MIN_CALIBRATE + 2 * horizon


def _slices(hours: CandleFrame, horizon: int) -> _Slices | str:
    """The usable rows of `horizon`, cut in two; or why they are too few."""
    rows = table(hours, documented(horizon), horizon=horizon, relative=True)
    targets = target(hours, horizon, relative=True)
    had = (~np.isnan(rows)).sum(axis=0) * 100 >= len(rows) * _FEWEST_PERCENT
    features, rows = tuple(name for name, kept in zip(documented(horizon), had, strict=True) if kept), rows[:, had]
    usable = ~(np.isnan(rows).any(axis=1) | np.isnan(targets))
    opened = hours.open_time[usable]
    for_fit = len(opened) - horizon - MIN_FIT  # what calibration may take without the fit going short
    calibrate = max(MIN_CALIBRATE, min(len(opened) * _CALIBRATE_PERCENT // 100, for_fit))
    first = max(0, len(opened) - calibrate)
    # A label is known when its bar closes. The first row that calibrates reads bars up to its own close.
    fit = int(np.searchsorted(opened + (horizon + 1) * HOUR, opened[first], side="right")) if first < len(opened) else 0
    if fit < MIN_FIT or len(opened) - first < MIN_CALIBRATE:
        return (
            f"{len(opened)} bars have all features and an outcome, of which {fit} may fit and {len(opened) - first} "
            f"calibrate; {MIN_FIT} and {MIN_CALIBRATE} are needed"
        )
    return _Slices(features, rows[usable], targets[usable], volatility(hours)[usable], horizon, fit, first)


def _fitted(slices: _Slices, family: str, seed: int, trees: int) -> Forecaster:
    rows, targets = slices.rows[: slices.fit], slices.targets[: slices.fit]
    linear = _REGRESSORS[family] is LinearModel
    regressor = LinearModel.fit(rows, targets) if linear else Forest.fit(rows, targets, seed=seed, trees=trees)
    residuals = slices.targets[slices.calibrate :] - regressor.predict(slices.rows[slices.calibrate :])
    moves = slices.volatility[slices.calibrate :]
    moved = moves > 0.0
    # A market that mostly stood still has no volatility to follow.
    scaled = slices.horizon <= VOLATILITY_HOURS and int(moved.sum()) >= MIN_CALIBRATE
    band = Conformal.of(residuals[moved] / moves[moved] if scaled else residuals)
    return Forecaster(
        features=slices.features,
        regressor=regressor,
        band=band,
        scaled=scaled,
        reference=tuple(Reference.of(column) for column in rows.T),
        fit_rows=len(rows),
        calibrate_rows=band.n,
    )


def _members(part: Forecaster) -> dict[str, Any]:
    return {
        "features": list(part.features),
        "fit_rows": part.fit_rows,
        "calibrate_rows": part.calibrate_rows,
        "level": part.band.level,
        "half_width": part.band.half_width,
        "scale": _SCALED if part.scaled else _CONSTANT,
        "reference": {
            name: {"edges": list(found.edges), "counts": list(found.counts)}
            for name, found in zip(part.features, part.reference, strict=True)
        },
    }


def _read(payload: Payload, members: Document, family: str, horizon: int) -> Forecaster:
    members.require_keys(_HORIZON_MEMBERS)
    features = tuple(members.texts("features"))
    if not features or not CATALOGUE.issuperset(features) or len(set(features)) != len(features):
        raise BadBundle(
            f"{MODEL_FILE}: the features of {horizon} h are {str(features)[:200]}, not names of the catalogue"
        )
    file = f"h{horizon}.npz"
    found = members.inner("reference")
    found.require_keys(features)
    level, half_width, n = members.number("level"), members.number("half_width"), members.count("calibrate_rows")
    scale = members.text("scale")
    if scale not in (_SCALED, _CONSTANT):
        raise BadBundle(f"{MODEL_FILE}: the interval of {horizon} h is in units of {scale[:40]!r}")
    if not (0.0 < level < 1.0 and half_width >= 0.0):
        raise BadBundle(f"{MODEL_FILE}: the interval of {horizon} h has level {level:g}, half width {half_width:g}")
    return Forecaster(
        features=features,
        regressor=_REGRESSORS[family].from_arrays(file, payload[file], len(features)),
        band=Conformal(level, half_width, n),
        scaled=scale == _SCALED,
        reference=tuple(_reference(found.inner(name), name) for name in features),
        fit_rows=members.count("fit_rows"),
        calibrate_rows=n,
    )


def _reference(members: Document, name: str) -> Reference:
    members.require_keys(("edges", "counts"))
    edges, counts = tuple(members.numbers("edges")), tuple(members.counts("counts"))
    if len(counts) != len(edges) + 1 or sum(counts) < 1 or list(edges) != sorted(set(edges)):
        raise BadBundle(f"{MODEL_FILE}: the drift reference of {name} is no histogram")
    return Reference(edges, counts)


def _hours(name: str) -> int:
    if not (name.isascii() and name.isdigit() and len(name) <= 5 and 1 <= int(name) <= _MOST_HOURS and name[0] != "0"):
        raise BadBundle(f"{MODEL_FILE}: {name[:40]!r} is no horizon in hours")
    return int(name)
