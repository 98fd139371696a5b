"""What the tour holds the metrics to."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from services.fleet.tour.checks import Checks


def hold_against_truth(
    checks: Checks, which: str, told: Mapping[str, Any], came: Sequence[tuple[Mapping[str, Any], float]]
) -> None:
    """One horizon's metrics are the sums over what was answered and the closes that came, to 1e-9."""
    if not came:
        return
    answers, closes = [answer for answer, _ in came], np.array([close for _, close in came])
    off = np.abs(np.array([answer["predicted_value"] for answer in answers]) - closes)
    naive = np.abs(np.array([answer["current_price"] for answer in answers]) - closes)
    held = [
        answer["interval"]["lower"] <= close <= answer["interval"]["upper"]
        for answer, close in came
        if answer["interval"]["lower"] is not None
    ]
    expected = {
        "n": len(came), "mae": float(off.mean()), "rmse": float(np.sqrt((off**2).mean())),
        "naive_mae": float(naive.mean()), "skill": float(1 - off.mean() / naive.mean()),
        "coverage": sum(held) / len(held) if held else None, "coverage_n": len(held),
    }  # fmt: skip
    for name, value in expected.items():
        checks.that(f"{name} {which} is the sum of what came", _equal(told[name], value), (told[name], value))


def _equal(told: float | None, value: float | None) -> bool:
    """To 1e-9; no number equals only no number."""
    if told is None or value is None:
        return told is value
    return abs(told - value) <= 1e-9 * max(1.0, abs(value))
