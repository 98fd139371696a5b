"""EM for one pooled Gaussian HMM, by hmmlearn; imported only where a model is fitted (its import takes seconds).

hmmlearn's `scaling` recursion is 2.7 times faster than `log`, but stops where all states' densities underflow, as
one bar of 40 sigma makes them. Each bar's densities are therefore divided by the largest of them and its logarithm
is added back to the likelihood: posteriors are unchanged, and nothing underflows.

Everything runs on one BLAS thread, so that sums round alike and one seed gives one model to the bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hmmlearn.base import ConvergenceMonitor
from hmmlearn.hmm import GaussianHMM
from threadpoolctl import threadpool_limits

from tidewheel.contracts.errors import BadFit
from tidewheel.features.frames import Floats
from tidewheel.models.statistics import Statistics

Progress = Callable[[Mapping[str, Any]], None]

COVARIANCE_FLOOR = np.array([1e-2, 1e-3])  #: smallest variance of z and of v, scaled units
MIN_OCCUPANCY = 0.01  #: share of the bars that every state must explain
TOLERANCE = 1e-6  #: EM has settled when an iteration gains less than this, nats a bar


@dataclass(frozen=True, eq=False, slots=True)
class Parameters:
    """What EM moves: `transmat` [K, K], `means` [K, 2], `covars` [K, 2] (variances)."""

    transmat: Floats
    means: Floats
    covars: Floats


@dataclass(frozen=True, eq=False, slots=True)
class Fitted:
    """A settled fit."""

    parameters: Parameters
    statistics: Statistics  #: the inherited ones plus those of the new bars at `parameters`
    objective: float  #: log likelihood of the new bars plus the inherited statistics' log density, nats


class _Monitor(ConvergenceMonitor):  # type: ignore[misc]  # hmmlearn has no types
    """Settles on a small change per bar, and does not call running out of iterations convergence."""

    def __init__(self, tol: float, n_iter: int, report: Callable[[int, float], None]) -> None:
        super().__init__(tol, n_iter, verbose=False)
        self._report = report

    @property
    def gain(self) -> float:
        return float(self.history[-1] - self.history[-2]) if len(self.history) > 1 else np.inf

    @property
    def settled(self) -> bool:
        return bool(abs(self.gain) < self.tol)

    @property
    def converged(self) -> bool:
        return self.settled or self.iter >= self.n_iter

    def report(self, log_prob: float) -> None:
        self.history.append(log_prob)
        self.iter += 1
        self._report(self.iter, log_prob)


class _PooledHmm(GaussianHMM):  # type: ignore[misc]  # hmmlearn has no types
    """GaussianHMM whose M-step starts from inherited statistics; its start probabilities stay uniform."""

    _covars_: Floats

    def start_from(self, parameters: Parameters, inherited: Statistics, monitor: _Monitor) -> None:
        states, self.n_features = parameters.means.shape
        self.startprob_ = np.full(states, 1.0 / states)
        self.transmat_, self.means_ = parameters.transmat.copy(), parameters.means.copy()
        self.covars_ = parameters.covars
        self.inherited, self.monitor_ = inherited, monitor

    @property
    def parameters(self) -> Parameters:
        return Parameters(self.transmat_, self.means_, self._covars_)

    def _compute_likelihood(self, X: Floats) -> Floats:
        log_density = self._compute_log_likelihood(X)
        peak = log_density.max(axis=1, keepdims=True)
        self._divided_out = float(peak.sum())
        with np.errstate(under="ignore"):
            likelihood: Floats = np.exp(log_density - peak)
        return likelihood

    def _fit_scaling(self, X: Floats) -> tuple[Floats, float, Floats, Floats, Floats]:
        lattice, log_prob, posteriors, forward, backward = super()._fit_scaling(X)
        return lattice, log_prob + self._divided_out, posteriors, forward, backward

    def _initialize_sufficient_statistics(self) -> dict[str, Any]:
        stats: dict[str, Any] = super()._initialize_sufficient_statistics()
        stats["trans"] += self.inherited.transitions
        stats["post"] += self.inherited.occupancy
        stats["obs"] += self.inherited.first
        stats["obs**2"] += self.inherited.second
        return stats

    def _do_mstep(self, stats: dict[str, Any]) -> None:
        super()._do_mstep(stats)
        # Clipping is the exact constrained maximum: in each variance the objective has a single peak.
        self._covars_ = np.maximum(self._covars_, COVARIANCE_FLOOR)

    def _compute_lower_bound(self, curr_logprob: float) -> float:
        return curr_logprob + self.inherited.log_density(self.transmat_, self.means_, self._covars_)

    def statistics(self, X: Floats, lengths: list[int]) -> tuple[Statistics, float]:
        """Statistics (inherited ones included) and objective at the present parameters."""
        stats, log_prob = self._do_estep(X, lengths)
        total = Statistics(stats["trans"], stats["post"], stats["obs"], stats["obs**2"])
        return total, self._compute_lower_bound(log_prob)


def starts(sequences: Sequence[Floats], states: int, restarts: int, seed: int) -> list[Parameters]:
    """Where EM begins: first at the equal-sized slices of volatility, then at randomly drawn bars."""
    X = np.concatenate(sequences)
    spread = np.maximum(X.var(axis=0), COVARIANCE_FLOOR)
    slices = np.array_split(X[np.argsort(X[:, 1], kind="stable")], states)
    points = [
        Parameters(_sticky(states, 0.95), np.array([part.mean(axis=0) for part in slices]), _rows(spread, states))
    ]
    for restart in range(1, restarts):
        rng = np.random.default_rng([seed, restart])
        means = X[rng.choice(len(X), size=states, replace=False)]
        stay, width = rng.uniform(0.9, 0.99), rng.uniform(0.3, 1.0)
        points.append(
            Parameters(_sticky(states, stay), means, _rows(np.maximum(width * spread, COVARIANCE_FLOOR), states))
        )
    return points


def _sticky(states: int, stay: float) -> Floats:
    return np.full((states, states), (1 - stay) / (states - 1)) + np.eye(states) * (stay - (1 - stay) / (states - 1))


def _rows(row: Floats, count: int) -> Floats:
    return np.tile(row, (count, 1))


def baum_welch(
    sequences: Sequence[Floats],
    points: Sequence[Parameters],
    inherited: Statistics,
    *,
    max_iter: int,
    progress: Progress,
) -> Fitted:
    """The best settled fit over all starting points.

    `sequences` are contiguous runs of features, each [n, 2]. `progress` hears `{restart, restarts, iteration,
    log_likelihood, done}` after each iteration and, with `done` true, after each restart; `restart` counts from 1
    and `log_likelihood` is the objective in nats. It may raise to stop the fit.

    Raises:
        BadFit: `not_converged` or `degenerate_states`, when no starting point gave a usable model.
    """
    X, lengths = np.concatenate(sequences), [len(sequence) for sequence in sequences]
    best: Fitted | None = None
    unsettled: list[float] = []
    thin: list[float] = []
    with threadpool_limits(limits=1):
        for number, point in enumerate(points, start=1):
            told = {"restart": number, "restarts": len(points)}

            def report(iteration: int, objective: float, told: dict[str, int] = told) -> None:
                progress({**told, "iteration": iteration, "log_likelihood": objective, "done": False})

            monitor = _Monitor(TOLERANCE * len(X), max_iter, report)
            hmm = _new_hmm(len(point.means), max_iter)
            hmm.start_from(point, inherited, monitor)
            hmm.fit(X, lengths)
            statistics, objective = hmm.statistics(X, lengths)
            progress({**told, "iteration": monitor.iter, "log_likelihood": objective, "done": True})
            smallest = float(statistics.occupancy.min() / statistics.occupancy.sum())
            if not monitor.settled:
                unsettled.append(monitor.gain)
            elif smallest < MIN_OCCUPANCY:
                thin.append(smallest)
            elif best is None or objective > best.objective:
                best = Fitted(hmm.parameters, statistics, objective)
    if best is None:
        raise _no_fit(unsettled, thin, max_iter)
    return best


def _new_hmm(states: int, max_iter: int) -> _PooledHmm:
    return _PooledHmm(
        n_components=states,
        covariance_type="diag",
        implementation="scaling",
        n_iter=max_iter,
        params="tmc",
        init_params="",
        covars_prior=0.0,
    )


def _no_fit(unsettled: list[float], thin: list[float], max_iter: int) -> BadFit:
    parts = []
    if unsettled:
        gain = min(map(abs, unsettled))
        parts.append(
            f"{len(unsettled)} still moved by {gain:.3g} nats or more an iteration after {max_iter} iterations"
        )
    if thin:
        parts.append(f"{len(thin)} left a state with {max(thin):.2%} of the bars or fewer ({MIN_OCCUPANCY:.0%} needed)")
    return BadFit(
        f"none of {len(unsettled) + len(thin)} EM starts gave a usable model: {'; '.join(parts)}. "
        "Train on more bars, or with more restarts",
        code="not_converged" if unsettled else "degenerate_states",
    )
