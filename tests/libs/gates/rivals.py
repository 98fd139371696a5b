"""How often the comparison of forecasters lets a rival pass, on random walks where its skill is known.

`python -m tests.libs.gates.rivals` counts it over many walks (half a minute).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from tidewheel.contracts.times import HOUR
from tidewheel.features.frames import Floats
from tidewheel.gates.paired import MeanBound, stretches


def differences(
    hours: int, horizons: Sequence[int], skills: tuple[float, float], walks: int, seed: int
) -> Iterator[Floats]:
    """Scores of a challenger less those of its opponent at every hour of a random walk, walk by walk, shape [hours].

    Each knows a part of the move over a horizon, of its own and calibrated, so that its mean error is 1 - skill of the
    naive forecast's.
    """
    rng = np.random.default_rng(seed)
    known = [1.0 - (1.0 - skill) ** 2 for skill in skills]  # share of the variance
    for _ in range(walks):
        walk, *own = np.cumsum(rng.standard_normal((3, hours + max(horizons) + 1)), axis=1)
        score = np.zeros(hours)
        for horizon in horizons:
            came, *seen = (path[horizon : horizon + hours] - path[:hours] for path in (walk, *own))
            ours, theirs = (
                np.abs(came - (part * came + np.sqrt(part * (1.0 - part)) * noise))
                for part, noise in zip(known, seen, strict=True)
            )
            score += (theirs - ours) / np.abs(came).mean() / len(horizons)
        yield score


def pass_rate(blocks: int, horizons: Sequence[int], skills: tuple[float, float], *, walks: int, seed: int = 1) -> float:
    """Share of walks on which the challenger passes; they are `blocks` times the longest horizon long."""
    hours = blocks * max(horizons)
    cuts = stretches(HOUR * np.arange(hours), 0, 2 * max(horizons))
    found = differences(hours, horizons, skills, walks, seed)
    return sum(MeanBound.of([score[cut] for cut in cuts]).lower > 0.0 for score in found) / walks


def main() -> None:
    """Print the table."""
    for horizons in ((24,), (1, 3, 24), (1, 3, 24, 168)):
        for blocks in (8, 10, 20):
            rates = [
                f"{name} {pass_rate(blocks, horizons, skills, walks=4_000 if name == 'equal' else 1_000):.3f}"
                for name, skills in (("equal", (0.03, 0.03)), ("2 % better", (0.02, 0)), ("5 % better", (0.05, 0)))
            ]
            print(f"horizons {horizons}, {blocks} of the longest: {', '.join(rates)}")


if __name__ == "__main__":
    main()
