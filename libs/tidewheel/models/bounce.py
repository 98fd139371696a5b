"""The probability that a dip bounces: a logistic regression with a calibrated answer.

Dips of all tickers stand in one order, that of time. Each number that judges or calibrates the model comes from a fit
on dips whose ends were known when the judged one closed: never from its own, a later, or a still open one.

References: Platt, Probabilistic outputs for support vector machines, 1999 (the calibration and its targets);
Lin, Lin and Weng, A note on Platt's probabilistic outputs, 2007 (Newton's method for it);
Lopez de Prado, Advances in Financial Machine Learning, 2018, chapter 7 (purging).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidewheel.contracts.canonical import canonical_json
from tidewheel.contracts.errors import BadBundle, BadFit, BadInput, NotEnoughData
from tidewheel.contracts.times import DAY, UtcMillis, iso
from tidewheel.features.bounce import NAMES, UNKNOWN
from tidewheel.features.frames import Floats, Ints
from tidewheel.features.rowsums import row_sums
from tidewheel.models.base import Payload
from tidewheel.models.payload import MODEL_FILE, Document

FAMILY = "bounce"
SCHEMA = 1
FEWEST_OF_A_KIND = 10  #: dips that bounced, and dips that did not, which a fit takes
_BLOCKS = 6  #: of time; the first only fits, the second calibrates the third, and so on
_NEWTON_STEPS = 100  # five or six do
_CONVERGED, _NEAR = 1e-24, 1e-8  # nats a dip that a whole step would gain
_MEMBERS = ("middle", "spread", "weights", "intercept", "slope", "offset", "trained", "known_at", "metrics")


@dataclass(frozen=True, eq=False, slots=True)
class DipRows:
    """Dips [n] of all tickers, sorted by time and ticker."""

    time: Ints  #: open time of the session, UTC ms
    ticker: Ints  #: its place in the sorted universe
    features: Floats  #: [n, 7], in the order of `NAMES`
    label: Ints  #: 1 bounced, 0 did not, -1 nobody knows yet
    known_at: Ints  #: UTC ms

    def __len__(self) -> int:
        return len(self.time)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Each array by its name: what files and processes hand on, and `DipRows(**columns)` takes back."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def take(self, which: Any) -> "DipRows":
        """Those that an index or a mask chooses."""
        return DipRows(*(column[which] for column in self.columns().values()))

    def known(self, when: UtcMillis | None = None) -> "DipRows":
        """Those whose end was known, at `when` or at all."""
        ended = self.label != UNKNOWN
        return self.take(ended if when is None else ended & (self.known_at <= when))

    @classmethod
    def empty(cls) -> "DipRows":
        """No dips."""
        none = np.zeros(0, np.int64)
        return cls(time=none, ticker=none, features=np.zeros((0, len(NAMES))), label=none, known_at=none)

    @classmethod
    def joined(cls, parts: Sequence["DipRows"]) -> "DipRows":
        """All of them in order."""
        every = cls(*map(np.concatenate, zip(*(part.columns().values() for part in parts), strict=True)))
        return every.take(np.lexsort((every.ticker, every.time)))


@dataclass(frozen=True, slots=True)
class BounceMetrics:
    """How good forward probabilities were; None where nothing could be judged."""

    n: int  #: dips that were judged
    base_rate: float | None  #: share of them that bounced
    brier: float | None
    brier_of_base_rate: float | None  #: of the share known before each block, as the forecast of each of its dips
    log_loss: float | None  #: nats
    auc: float | None  #: None also where only one kind came


@dataclass(frozen=True, eq=False, slots=True)
class BounceModel:
    """score = intercept + weights · (x - middle) / spread; probability = sigmoid(offset + slope · score)."""

    middle: Floats  #: [7]
    spread: Floats  #: [7]
    weights: Floats  #: [7]
    intercept: float
    slope: float
    offset: float
    trained: int  #: dips that it was fitted on
    known_at: UtcMillis  #: when the last of their labels was known: it may answer from then on
    metrics: BounceMetrics

    @classmethod
    def fit(cls, rows: DipRows, *, fewest: int) -> "BounceModel":
        """Fit on the dips of `rows` whose end is known; the same rows give the same bytes.

        Raises:
            NotEnoughData: fewer than `fewest` of them, or of one kind too few to calibrate; says how many are missing.
            BadInput: they are not in order of time and ticker.
            BadFit: `constant_market`, a feature never moves.
        """
        _require_order(rows)
        rows = rows.known()
        _require_enough(rows.label, fewest)
        still = [name for name, stands in zip(NAMES, _still(rows), strict=True) if stands]
        if still:
            raise BadFit(f"{', '.join(still)} is the same in all of {len(rows)} dips", code="constant_market")
        forward = _forward_scores(rows)
        judged = np.isfinite(forward)
        slope, offset = _calibrated(forward[judged], rows.label[judged])
        middle, spread, weights, intercept = _regression(rows)
        return cls(
            middle, spread, weights, intercept, slope, offset,
            trained=len(rows), known_at=int(rows.known_at.max()), metrics=_measured(rows, forward),
        )  # fmt: skip

    def probability(self, features: Floats) -> Floats:
        """Calibrated probability [n] for `features` [n, 7].

        Raises:
            BadInput: `feature_mismatch`; or a value is not finite.
        """
        if features.ndim != 2 or features.shape[1] != len(NAMES):
            raise BadInput(
                f"rows of shape {list(features.shape)} are not of the {len(NAMES)} features", code="feature_mismatch"
            )
        if not np.isfinite(features).all():
            raise BadInput("a feature of a dip is missing or not finite; it has no probability")
        score = self.intercept + row_sums((features - self.middle) / self.spread * self.weights)
        return _sigmoid(self.offset + self.slope * score)

    def to_payload(self) -> dict[str, bytes]:
        """`model.json`; equal models give equal bytes."""
        members = {
            "family": FAMILY,
            "schema": SCHEMA,
            **{name: getattr(self, name).tolist() for name in ("middle", "spread", "weights")},
            **{name: getattr(self, name) for name in ("intercept", "slope", "offset", "trained", "known_at")},
            "metrics": asdict(self.metrics),
        }
        return {MODEL_FILE: canonical_json(members)}

    @classmethod
    def from_payload(cls, payload: Payload) -> "BounceModel":
        """The model of `to_payload()`; needs numpy only.

        Raises:
            BadBundle: a member is missing, unknown, damaged, or not what a fit could have made.
        """
        document = Document.read(payload, family=FAMILY, schema=SCHEMA, keys=_MEMBERS)
        spread = document.array("spread", (len(NAMES),))
        if not (spread > 0).all():
            raise BadBundle(f"{MODEL_FILE}: spread is not positive everywhere")
        inner = document.inner("metrics")
        inner.require_keys(each.name for each in fields(BounceMetrics))
        figures = {name: inner.number_or_none(name) for name in inner.names() if name != "n"}
        return cls(
            middle=document.array("middle", (len(NAMES),)),
            spread=spread,
            weights=document.array("weights", (len(NAMES),)),
            intercept=document.number("intercept"),
            slope=document.number("slope"),
            offset=document.number("offset"),
            trained=document.count("trained"),
            known_at=document.count("known_at"),
            metrics=BounceMetrics(n=inner.count("n"), **figures),
        )


def _require_order(rows: DipRows) -> None:
    order = np.lexsort((rows.ticker, rows.time))
    wrong = np.flatnonzero(order != np.arange(len(rows)))
    if len(wrong):
        raise BadInput(f"the dip of {iso(int(rows.time[wrong[0]]))} stands out of the order of time and ticker")


def _require_enough(label: Ints, fewest: int) -> None:
    bounced = int(label.sum())
    short = {
        "dips with a known end": fewest - len(label),
        "dips that bounced": FEWEST_OF_A_KIND - bounced,
        "dips that did not": FEWEST_OF_A_KIND - (len(label) - bounced),
    }
    missing = [f"{more} more {what}" for what, more in short.items() if more > 0]
    if missing:
        raise NotEnoughData(
            f"{len(label)} dips are known, of which {bounced} bounced; a fit takes {' and '.join(missing)}: "
            "import a longer history, or more tickers"
        )


def _forward_scores(rows: DipRows) -> Floats:
    """Score [n] of each dip by a fit on those before its block; NaN in the first block, or where those were too few."""
    found = np.full(len(rows), np.nan)
    for first, last in _blocks(rows.time):
        past = rows.take(slice(0, first)).known(int(rows.time[first]) + DAY)
        kinds = np.bincount(past.label, minlength=2)
        if kinds.min() >= FEWEST_OF_A_KIND // 2:
            middle, spread, weights, intercept = _regression(past)
            found[first:last] = intercept + row_sums((rows.features[first:last] - middle) / spread * weights)
    return found


def _blocks(time: Ints) -> list[tuple[int, int]]:
    """Bounds of every block but the first; the dips of one session are never cut apart."""
    cuts = [int(np.searchsorted(time, time[len(time) * part // _BLOCKS])) for part in range(1, _BLOCKS)]
    bounds = [*sorted(set(cuts) - {0}), len(time)]
    return list(pairwise(bounds))


def _regression(rows: DipRows) -> tuple[Floats, Floats, Floats, float]:
    """Middle, spread, weights and intercept; a feature that stands still gets no weight."""
    from sklearn.linear_model import LogisticRegression

    middle = rows.features.mean(axis=0)
    spread = np.where(_still(rows), 1.0, rows.features.std(axis=0))
    fitted = LogisticRegression(class_weight="balanced", solver="newton-cholesky", tol=1e-10, max_iter=200)
    fitted.fit((rows.features - middle) / spread, rows.label)
    return middle, spread, np.asarray(fitted.coef_[0]), float(fitted.intercept_[0])


def _still(rows: DipRows) -> NDArray[np.bool_]:
    moves: NDArray[np.bool_] = rows.features.std(axis=0) > 1e-10 * np.maximum(np.abs(rows.features.mean(axis=0)), 1.0)
    return ~moves


def _calibrated(score: Floats, label: Ints) -> tuple[float, float]:
    """Slope and offset of Platt's sigmoid, whose cross entropy with his softened targets is least."""
    kinds = np.bincount(label, minlength=2)
    if kinds.min() < FEWEST_OF_A_KIND // 2:
        raise NotEnoughData(
            f"{kinds[1]} dips that bounced and {kinds[0]} that did not were judged by an earlier fit; "
            f"{FEWEST_OF_A_KIND // 2} of each are needed to calibrate: import a longer history, or more tickers"
        )
    target = np.where(label == 1, (kinds[1] + 1.0) / (kinds[1] + 2.0), 1.0 / (kinds[0] + 2.0))
    # scikit-learn takes a target between 0 and 1 only as two weighted rows, at ten times the time.
    inputs = np.vstack([score, np.ones(len(score))])
    found = np.array([0.0, np.log((kinds[1] + 1.0) / (kinds[0] + 1.0))])
    for _ in range(_NEWTON_STEPS):
        chance = _sigmoid(found @ inputs)
        gradient = inputs @ (chance - target)
        step = np.linalg.lstsq((inputs * (chance * (1.0 - chance))) @ inputs.T, gradient, rcond=None)[0]
        gain = float(gradient @ step)
        if gain <= _CONVERGED * len(score):
            return float(found[0]), float(found[1])
        # Close to the end the loss can no longer tell one step from another, and whole ones are right.
        if gain > _NEAR * len(score):
            loss = _loss(found, inputs, target)
            while _loss(found - step, inputs, target) > loss:
                step, gain = step / 2.0, gain / 2.0
                if gain <= _NEAR * len(score):
                    break
        found = found - step
    raise BadFit(f"the sigmoid over {len(score)} scores did not settle in {_NEWTON_STEPS} steps", code="not_converged")


def _loss(weights: Floats, inputs: Floats, target: Floats) -> float:
    """Cross entropy, nats."""
    logit = weights @ inputs
    return float(np.logaddexp(0.0, logit).sum() - target @ logit)


def _measured(rows: DipRows, forward: Floats) -> BounceMetrics:
    """Probabilities as they would have been given: score and sigmoid both from dips that had ended by then."""
    found, base = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    for first, last in _blocks(rows.time):
        before = np.flatnonzero(rows.known_at[:first] <= int(rows.time[first]) + DAY)
        scored = before[np.isfinite(forward[before])]
        if np.bincount(rows.label[scored], minlength=2).min() >= FEWEST_OF_A_KIND // 2:
            slope, offset = _calibrated(forward[scored], rows.label[scored])
            found[first:last] = _sigmoid(offset + slope * forward[first:last])
            base[first:last] = rows.label[before].mean()
    judged = np.isfinite(found)
    if not judged.any():
        return BounceMetrics(0, None, None, None, None, None)
    label, given = rows.label[judged], found[judged]
    surprise = -np.log(np.clip(np.where(label == 1, given, 1.0 - given), 1e-15, None))
    return BounceMetrics(
        n=len(label),
        base_rate=float(label.mean()),
        brier=float(((given - label) ** 2).mean()),
        brier_of_base_rate=float(((base[judged] - label) ** 2).mean()),
        log_loss=float(surprise.mean()),
        auc=_auc(given, label),
    )


def _auc(given: Floats, label: Ints) -> float | None:
    """Share of pairs of a bounce and a failure that are ranked rightly, ties counting half."""
    high, low = given[label == 1], np.sort(given[label == 0])
    if not len(high) or not len(low):
        return None
    below, upto = np.searchsorted(low, high, "left"), np.searchsorted(low, high, "right")
    return float((below + upto).mean() / 2.0 / len(low))


def _sigmoid(score: Floats) -> Floats:
    with np.errstate(over="ignore"):  # far below zero the chance is 0
        return np.asarray(1.0 / (1.0 + np.exp(-score)))
