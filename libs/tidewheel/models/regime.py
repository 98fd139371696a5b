"""The regime model: a Gaussian hidden Markov model of log return and log realised volatility.

One model is pooled over all streams of a timeframe. A stream's returns are divided by its own robust scale, so that
quiet and wild markets share states; a gap ends a sequence. Bar t emits z_t = r_t / scale and v_t, the log realised
volatility of the last 30 scaled returns, independent given the state (docs/decisions/0007-regime-model.md).

Served and scored regimes are filtered, p(s_t | bars up to t), never smoothed: nothing looks ahead.

Reference: Rabiner (1989), A tutorial on hidden Markov models, section III.A (forward recursion).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import mul
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tidewheel.contracts.canonical import canonical_json
from tidewheel.contracts.errors import BadBundle, BadInput, NotEnoughData
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.returns import WINDOW, checked_returns, regime_features, robust_scale, segment_returns
from tidewheel.models.base import Filtered, FilterState, Payload
from tidewheel.models.identity import STATES, canonical_order, matching_order
from tidewheel.models.payload import MODEL_FILE, Document
from tidewheel.models.statistics import Statistics

if TYPE_CHECKING:
    from tidewheel.models.baum_welch import Fitted, Progress

SCHEMA = 1
MIN_ROWS = 300  #: fewer feature rows cannot tell three states apart
Segments = Mapping[str, Sequence[CandleFrame]]
_K, _D = len(STATES), 2
_MEMBERS = ("states", "step", "seed", "restarts", "startprob", "transmat", "means", "covars", "default_scale")


def _silent(event: Mapping[str, Any]) -> None:
    """Hears progress and does nothing."""


@dataclass(frozen=True, eq=False, slots=True)
class RegimeModel:
    """A fitted regime model; states in the order of `STATES`, emissions in scaled units."""

    family: ClassVar[str] = "hmm"

    step: int  #: length of the bars it was fitted on, ms
    startprob: Floats  #: [3], the stationary distribution of `transmat`
    transmat: Floats  #: [3, 3], row: from; no entry is zero
    means: Floats  #: [3, 2], of z and v
    covars: Floats  #: [3, 2], variances of z and v
    scales: Mapping[str, float]  #: stream -> robust scale of its log returns
    default_scale: float  #: for returns of no known stream: the median of `scales`
    statistics: Statistics  #: of the bars it was fitted on, for `update`
    seed: int
    restarts: int

    @classmethod
    def fit(
        cls,
        segments: Segments,
        *,
        seed: int,
        restarts: int = 5,
        max_iter: int = 200,
        progress: "Progress" = _silent,
        champion: "RegimeModel | None" = None,
    ) -> "RegimeModel":
        """Fit on `segments` (stream -> its frames; cut at gaps here), best of `restarts` EM runs.

        One seed and the same bars give the same model to the bit. State names are matched to `champion`'s.
        `progress` is described at `baum_welch`.

        Raises:
            NotEnoughData: fewer than 300 feature rows.
            BadFit: a market does not move, a state starves, or EM does not settle.
        """
        from tidewheel.models.baum_welch import baum_welch, starts

        runs = {stream: segment_returns(frames) for stream, frames in sorted(segments.items())}
        _require_rows(runs)
        scales = {stream: robust_scale(stream, found) for stream, found in runs.items()}
        sequences = _sequences(runs, scales)
        points = starts(sequences, _K, restarts, seed)
        fitted = baum_welch(sequences, points, Statistics.prior(_K, _D), max_iter=max_iter, progress=progress)
        default_scale = float(np.median(list(scales.values())))
        model = cls._of(fitted, _step(segments), scales, default_scale, seed, restarts)
        model = model.permuted(canonical_order(model.means))
        return model.matched_to(champion) if champion else model

    def update(self, segments: Segments, *, max_iter: int = 200, progress: "Progress" = _silent) -> "RegimeModel":
        """Learn from new bars without the old ones, whose statistics S₀ stay as they are (strict mode).

        Each iteration takes the new bars' statistics S(θ) and maximises over S₀ + S(θ): EM on the new bars with the
        old ones as a conjugate prior. It raises ln p(new | θ) + <S₀, ln p(complete | θ)> and ends where that settles.
        Known streams keep their scales, or S₀ would mean something else; a new stream gets its own.

        Raises:
            NotEnoughData: fewer than 300 new feature rows.
            BadFit: as in `fit`.
            BadInput: the bars are of another timeframe.
        """
        from tidewheel.models.baum_welch import Parameters, baum_welch

        runs = {stream: segment_returns(frames) for stream, frames in sorted(segments.items())}
        _require_rows(runs)
        if _step(segments) != self.step:
            raise BadInput(f"the new bars are {_step(segments)} ms long, the model's {self.step} ms")
        new = {stream: robust_scale(stream, found) for stream, found in runs.items() if stream not in self.scales}
        scales = {**self.scales, **new}
        sequences, point = _sequences(runs, scales), Parameters(self.transmat, self.means, self.covars)
        fitted = baum_welch(sequences, [point], self.statistics, max_iter=max_iter, progress=progress)
        return self._of(fitted, self.step, scales, self.default_scale, self.seed, self.restarts)

    @classmethod
    def _of(
        cls, fitted: "Fitted", step: int, scales: Mapping[str, float], default_scale: float, seed: int, restarts: int
    ) -> "RegimeModel":
        found = fitted.parameters
        return cls(
            step=step,
            startprob=_stationary(found.transmat),
            transmat=found.transmat,
            means=found.means,
            covars=found.covars,
            scales=dict(sorted(scales.items())),
            default_scale=default_scale,
            statistics=fitted.statistics,
            seed=seed,
            restarts=restarts,
        )

    def scale(self, stream: str | None) -> float:
        """Scale of `stream`'s log returns; the default one when it is None or unknown."""
        return self.default_scale if stream is None else self.scales.get(stream, self.default_scale)

    def filter(
        self, logret: Iterable[float], *, stream: str | None = None, state: FilterState | None = None
    ) -> Filtered:
        """Go through contiguous log returns, looking back only; O(1) work per return.

        The first 29 returns of a run give no row. Feeding a run in pieces through `state` gives the same bits as
        feeding it whole. Start afresh (no `state`) after a gap.

        Raises:
            BadInput: a return is not a finite number.
        """
        before = state or FilterState((), None)
        returns = np.concatenate([np.array(before.recent), checked_returns(logret)])
        scale = self.scale(stream)
        rows = regime_features(returns, scale)
        probs, score = self._forward(rows, math.log(scale), before.probs)
        last = tuple(probs[-1].tolist()) if len(probs) else before.probs
        after = FilterState(tuple(returns[len(returns) - min(len(returns), WINDOW - 1) :].tolist()), last)
        return Filtered(STATES, probs, score, len(returns), after)

    def _forward(self, rows: Floats, log_scale: float, before: tuple[float, ...] | None) -> tuple[Floats, Floats]:
        # Elementwise numpy arithmetic rounds each row alike wherever it stands; exp and log are taken one by one.
        # Densities are divided by each row's largest, so one always stays 1 and an outlier cannot underflow all.
        deviation = (rows[:, None, :] - self.means) ** 2 / self.covars
        constant = -0.5 * np.array([[math.log(2.0 * math.pi * var) for var in row] for row in self.covars.tolist()])
        log_return = constant[:, 0] - 0.5 * deviation[:, :, 0]
        log_joint = log_return + (constant[:, 1] - 0.5 * deviation[:, :, 1])
        joint_peak, return_peak = log_joint.max(axis=1, keepdims=True), log_return.max(axis=1, keepdims=True)
        joints, returns = (log_joint - joint_peak).tolist(), (log_return - return_peak).tolist()
        columns, exp = self.transmat.T.tolist(), math.exp
        predicted: list[float] = self.startprob.tolist()
        filtered = before
        probs, score = [], []
        for joint, single in zip(joints, returns, strict=True):
            if filtered is not None:
                predicted = [sum(map(mul, filtered, column)) for column in columns]
            score.append(math.log(sum(map(mul, predicted, map(exp, single)))))
            weights = [p * exp(density) for p, density in zip(predicted, joint, strict=True)]
            total = sum(weights)
            filtered = tuple([weight / total for weight in weights])
            probs.append(filtered)
        return np.array(probs).reshape(-1, _K), np.array(score) + return_peak[:, 0] - log_scale

    def matched_to(self, champion: "RegimeModel") -> "RegimeModel":
        """This model with its states named after those of `champion` that they resemble most."""
        streams = sorted(set(self.scales) & set(champion.scales))
        names: list[str | None] = [*streams] or [None]
        return self.permuted(matching_order(*self._raw(names), *champion._raw(names)))

    def _raw(self, streams: Sequence[str | None]) -> tuple[Floats, Floats]:
        """Means and variances of log return and log volatility in raw units, each [S, 3, 2]."""
        scales = [self.scale(stream) for stream in streams]
        means = np.array([self.means * [scale, 1.0] + [0.0, math.log(scale)] for scale in scales])
        return means, np.array([self.covars * [scale**2, 1.0] for scale in scales])

    def permuted(self, order: list[int]) -> "RegimeModel":
        """The same model with its states renamed: state i becomes what was state `order[i]`."""
        return replace(
            self,
            startprob=self.startprob[order],
            transmat=self.transmat[np.ix_(order, order)],
            means=self.means[order],
            covars=self.covars[order],
            statistics=self.statistics.permuted(order),
        )

    def to_payload(self) -> dict[str, bytes]:
        """`{"model.json": canonical JSON}`; equal models give equal bytes."""
        found = self.statistics
        members = {
            "family": self.family,
            "schema": SCHEMA,
            "states": list(STATES),
            "step": self.step,
            "seed": self.seed,
            "restarts": self.restarts,
            "startprob": self.startprob.tolist(),
            "transmat": self.transmat.tolist(),
            "means": self.means.tolist(),
            "covars": self.covars.tolist(),
            "default_scale": self.default_scale,
            "scales": dict(self.scales),
            "statistics": {
                "transitions": found.transitions.tolist(),
                "occupancy": found.occupancy.tolist(),
                "first": found.first.tolist(),
                "second": found.second.tolist(),
            },
        }
        return {MODEL_FILE: canonical_json(members)}

    @classmethod
    def from_payload(cls, payload: Payload) -> "RegimeModel":
        """The model of `to_payload()`; needs numpy only.

        Raises:
            BadBundle: a member is missing, unknown, of a wrong shape, not finite, or no probability or variance.
        """
        document = Document.read(payload, family=cls.family, schema=SCHEMA, keys=(*_MEMBERS, "scales", "statistics"))
        scales, statistics = document.inner("scales"), document.inner("statistics")
        statistics.require_keys(("transitions", "occupancy", "first", "second"))
        document.require_states(STATES)
        return cls(
            step=document.count("step"),
            startprob=document.array("startprob", (_K,)),
            transmat=document.array("transmat", (_K, _K)),
            means=document.array("means", (_K, _D)),
            covars=document.array("covars", (_K, _D)),
            scales={stream: scales.number(stream) for stream in scales.names()},
            default_scale=document.number("default_scale"),
            statistics=Statistics(
                statistics.array("transitions", (_K, _K)),
                statistics.array("occupancy", (_K,)),
                statistics.array("first", (_K, _D)),
                statistics.array("second", (_K, _D)),
            ),
            seed=document.count("seed"),
            restarts=document.count("restarts"),
        )._sound()

    def _sound(self) -> "RegimeModel":
        scales = np.array([self.default_scale, *self.scales.values()])
        found = self.statistics
        problems = (
            (self.step <= 0, "step is not positive"),
            (np.any(self.startprob <= 0) or abs(self.startprob.sum() - 1) > 1e-9, "startprob is no distribution"),
            (np.any(self.transmat <= 0), "transmat holds an impossible transition"),
            (np.any(np.abs(self.transmat.sum(axis=1) - 1) > 1e-9), "a row of transmat does not sum to 1"),
            (np.any(self.covars < 1e-6), "a variance is not positive"),
            (np.any(scales < 1e-12), "a scale is not positive"),
            (np.any(found.transitions < 0) or np.any(found.occupancy < 0), "an expected count is negative"),
            (np.any(found.second < 0), "a sum of squares is negative"),
        )
        for wrong, why in problems:
            if wrong:
                raise BadBundle(f"{MODEL_FILE} is not a sound regime model: {why}")
        return self


def _step(segments: Segments) -> int:
    steps = {frame.step for frames in segments.values() for frame in frames}
    if len(steps) != 1:
        raise BadInput(f"the bars are {sorted(steps)} ms long; one model takes one timeframe")
    return steps.pop()


def _require_rows(runs: Mapping[str, Sequence[Floats]]) -> None:
    rows = sum(max(0, len(run) - WINDOW + 1) for found in runs.values() for run in found)
    if rows < MIN_ROWS:
        raise NotEnoughData(
            f"{rows} bars have {WINDOW} returns to look back on without a gap; a regime model needs {MIN_ROWS}, "
            f"{MIN_ROWS - rows} more"
        )


def _sequences(runs: Mapping[str, Sequence[Floats]], scales: Mapping[str, float]) -> list[Floats]:
    features = [regime_features(run, scales[stream]) for stream, found in runs.items() for run in found]
    return [sequence for sequence in features if len(sequence)]


def _stationary(transmat: Floats) -> Floats:
    """The distribution that `transmat` keeps."""
    states = len(transmat)
    system = np.vstack([(transmat.T - np.eye(states))[:-1], np.ones(states)])
    found: Floats = np.linalg.solve(system, np.eye(states)[-1])
    found /= found.sum()
    return found
