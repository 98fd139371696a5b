"""Whether one forecaster of later closes errs less than another, on hours that neither has seen.

Its score at a base time is minus its error, |forecast - close| / price at the base time, divided for each horizon by
the mean error of the naive forecast (the price stays) and averaged over the horizons that both have: so an hour and a
week weigh alike, and a mean difference of 0.01 is one per cent of skill.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from tidewheel.contracts.times import UtcMillis, iso
from tidewheel.contracts.verdicts import StepResult
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.hourly import target
from tidewheel.gates.paired import MeanBound, stretches
from tidewheel.gates.steps import SchemaStep, read_back_problem
from tidewheel.models.base import Payload
from tidewheel.models.conformal import Coverage
from tidewheel.models.horizons import HorizonModel


class Forecasts(Protocol):
    """Anything that foretells the close some hours ahead: a model of ours, a registered one, the naive forecast."""

    @property
    def horizons(self) -> tuple[int, ...]:
        """Hours that it can look ahead."""
        ...

    def forecast(self, horizon: int, hours: CandleFrame) -> Floats:
        """Forecast close `horizon` hours after each bar, shape [n], from bars up to it; NaN where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Persistence:
    """The naive forecast: the price stays."""

    horizons: tuple[int, ...]

    def forecast(self, horizon: int, hours: CandleFrame) -> Floats:
        """The close of each bar itself."""
        return hours.close.copy()


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class ForecastCandidate:
    """A forecaster that challenges, and all that the gate may know of it."""

    family: str  #: name under which it would be published
    model: HorizonModel  #: the challenger
    payload: Payload  #: the challenger as the files that would be published
    feature_signature: str  #: what the challenger was fitted on
    opponent: Forecasts  #: champion of its name, else the baseline's; `Persistence` where there is neither
    opponent_name: str  #: such as `random_forest v2026-11-20-1a2b3c4d`, `baseline v...`, `naive`
    replaces: bool  #: the opponent is the champion whose place it would take
    hours: CandleFrame  #: history and comparison; the features at the cut look back
    cut: UtcMillis  #: base times from here on are compared; the challenger was fitted on bars before it
    bundle_dir: Path | None = None  #: staged bundle, for the steps that read files


class ForecastSchemaStep:
    """The files read back as the very model that was fitted, on the features that serving computes."""

    name: ClassVar[str] = SchemaStep.name
    min_blocks: ClassVar[int] = 0

    def __call__(self, candidate: ForecastCandidate) -> StepResult:
        """Refuse files that hold another model, and a signature that this program would not give it."""
        served, told = candidate.model.signature, candidate.feature_signature
        problem = read_back_problem(candidate)
        if served != told:
            problem = f"feature signature {told[:12]}, served is {served[:12]}"
        reason = problem or "the files read back as the fitted model"
        return StepResult(step=self.name, passed=problem is None, reason=reason, numbers={"feature_signature": told})


class ForecastChampionStep:
    """On hours that neither has seen, the challenger errs less than its opponent, and surely so.

    Passed when the mean paired difference is above zero with 95 % confidence. A challenger that lacks a horizon of the
    champion whose place it would take is refused: nobody may lose a forecast.
    """

    name: ClassVar[str] = "forecast_champion"
    min_blocks: ClassVar[int] = 4  #: of time, each twice as long as the longest horizon or longer

    def __call__(self, candidate: ForecastCandidate) -> StepResult:
        """Judge; the numbers tell each horizon's errors beside the opponent's and the naive ones."""
        ours, theirs, opponent = candidate.model, candidate.opponent, candidate.opponent_name
        shared = sorted(set(ours.horizons) & set(theirs.horizons))
        lost = sorted(set(theirs.horizons) - set(ours.horizons)) if candidate.replaces else []
        if lost or not shared:
            why = f"forecasts {lost} h too, which the challenger does not" if lost else "has none of its horizons"
            return self._answer(False, f"{opponent} {why}", {"opponent": opponent, "horizons": {}})
        seen = _Comparison.of(candidate, shared)
        size, n = 2 * max(shared), int(seen.known.sum())
        numbers: dict[str, Any] = {"opponent": opponent, "n": n, "block_hours": size, "horizons": seen.by_horizon()}
        if n and seen.still:
            return self._answer(False, f"the price stands still over {seen.still} h: nothing to compare", numbers)
        blocks = stretches(candidate.hours.open_time[seen.known], candidate.cut, size)
        numbers["blocks"] = len(blocks)
        if len(blocks) < self.min_blocks:
            reason = (
                f"no verdict: from {iso(candidate.cut)} on {n} base times can be compared, in {len(blocks)} blocks of "
                f"{size} h; {self.min_blocks} are needed, {(self.min_blocks - len(blocks)) * size} h more"
            )
            return self._answer(False, reason, numbers)
        paired = seen.difference()
        found = MeanBound.of([paired[block] for block in blocks])
        numbers |= {"mean_difference": found.mean, "lower_95": found.lower}
        passed = found.lower > 0.0
        reason = (
            f"{'better' if passed else 'not surely better'} than {opponent}: {found.mean:+.4f} of the naive error, "
            f"with 95 % confidence {found.lower:+.4f} or more, over {n} base times in {len(blocks)} blocks of {size} h"
        )
        return self._answer(passed, reason, numbers)

    def _answer(self, passed: bool, reason: str, numbers: dict[str, Any]) -> StepResult:
        return StepResult(step=self.name, passed=passed, reason=reason, numbers=numbers)


@dataclass(frozen=True, eq=False, slots=True)
class _Comparison:
    horizons: Sequence[int]  # [k], those that both have
    known: NDArray[np.bool_]  # [bars], base times at which both forecast every one of them, and all came
    errors: Floats  # [3, k, n] at those: |forecast - close| / price of challenger, opponent, naive
    inside: Floats  # [k, n], 1 where the challenger's interval held the close, else 0; NaN where it gives none

    @classmethod
    def of(cls, candidate: ForecastCandidate, horizons: Sequence[int]) -> "_Comparison":
        hours = candidate.hours
        rivals: list[Forecasts] = [candidate.model, candidate.opponent, Persistence(tuple(horizons))]
        came = np.array([target(hours, horizon, relative=False) for horizon in horizons])
        foretold = np.array([[rival.forecast(horizon, hours) for horizon in horizons] for rival in rivals])
        errors = np.abs(foretold - came) / hours.close
        known = (hours.open_time >= candidate.cut) & ~np.isnan(errors).any(axis=(0, 1))
        reach = np.array([candidate.model.reach(horizon, hours) for horizon in horizons])
        inside = np.where(np.isnan(reach), np.nan, errors[0] * hours.close <= reach)
        return cls(horizons, known, errors[:, :, known], inside[:, known])

    @property
    def still(self) -> list[int]:
        """Horizons over which the price never moved."""
        naive = self.errors[2].mean(axis=1)
        return [horizon for horizon, error in zip(self.horizons, naive.tolist(), strict=True) if error == 0.0]

    def difference(self) -> Floats:
        """Score of the challenger less that of its opponent, shape [n]."""
        scale = self.errors[2].mean(axis=1, keepdims=True)
        paired: Floats = ((self.errors[1] - self.errors[0]) / scale).mean(axis=0)
        return paired

    def by_horizon(self) -> dict[str, dict[str, Any]]:
        """Mean errors relative to the price, and how often the challenger's interval held the close."""
        if not self.errors.shape[2]:
            return {}
        rows = zip(self.horizons, self.errors.mean(axis=2).T.tolist(), self.inside, strict=True)
        return {
            str(horizon): {
                "mae": mae[0],
                "opponent_mae": mae[1],
                "naive_mae": mae[2],
                "skill": 1.0 - mae[0] / mae[2] if mae[2] else None,
                "coverage": Coverage.of(inside[~np.isnan(inside)] > 0.0).share,
            }
            for horizon, mae, inside in rows
        }
