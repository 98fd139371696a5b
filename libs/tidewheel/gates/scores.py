"""Whether one model predicts better than another: paired scores per bar, and how sure their mean is.

A score is ln p(r_t | bars before t) of the raw log return, in nats: proper, and the same unit for every model.
Neighbouring bars are alike, so the bootstrap draws blocks of 60 of them (Künsch 1989), stream by stream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.returns import WINDOW, segment_returns
from tidewheel.models.base import Model

BLOCK = 60  #: bars
DRAWS = 2_000
QUANTILE = 0.05
Runs = Mapping[str, Sequence[Floats]]  #: stream -> one array of values per contiguous run


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The mean of a paired difference and its lower bound."""

    mean: float  #: in units of the scores
    quantile: float  #: the 5 % quantile of the resampled means
    bars: int
    blocks: int


def scores(model: Model, holdout: Mapping[str, Sequence[CandleFrame]]) -> Runs:
    """Score of each bar of `holdout` that has 30 returns to look back on, run by run; the model is not refitted."""
    found = {
        stream: [model.filter(run, stream=stream).score for run in segment_returns(frames)]
        for stream, frames in sorted(holdout.items())
    }
    return {stream: [run for run in runs if len(run)] for stream, runs in found.items()}


def scored_blocks(holdout: Mapping[str, Sequence[CandleFrame]]) -> int:
    """How many blocks `block_bootstrap` will cut the scores of `holdout` into, counted without a model."""
    lengths = [len(run) - WINDOW for frames in holdout.values() for frame in frames for run in frame.segments()]
    return sum(-(-scored // BLOCK) for scored in lengths if scored > 0)


def differences(challenger: Runs, champion: Runs) -> Runs:
    """Score of the challenger less that of the champion, bar by bar; both cover the same bars."""
    return {
        stream: [ours - theirs for ours, theirs in zip(runs, champion[stream], strict=True)]
        for stream, runs in challenger.items()
    }


def mean_score(runs: Runs) -> float:
    """Mean over all bars of all streams, nats a bar; NaN where there is no bar."""
    pooled = np.concatenate([np.zeros(0), *(run for found in runs.values() for run in found)])
    return float(pooled.mean()) if len(pooled) else float("nan")


def block_bootstrap(differences: Runs, seed: int, block: int = BLOCK) -> Bootstrap:
    """Resample blocks of `block` bars with replacement, as many from each stream as it has; there must be a bar.

    The last block of a run may be shorter and counts by its bars.
    """
    rng = np.random.default_rng(seed)
    sums, counts = np.zeros(DRAWS), np.zeros(DRAWS)
    total, bars, blocks = 0.0, 0, 0
    for stream in sorted(differences):
        cuts = [run[start : start + block] for run in differences[stream] for start in range(0, len(run), block)]
        if not cuts:
            continue
        sizes, values = np.array([len(cut) for cut in cuts]), np.array([cut.sum() for cut in cuts])
        drawn = rng.integers(len(cuts), size=(DRAWS, len(cuts)))
        sums += values[drawn].sum(axis=1)
        counts += sizes[drawn].sum(axis=1)
        total, bars, blocks = total + float(values.sum()), bars + int(sizes.sum()), blocks + len(cuts)
    return Bootstrap(total / bars, float(np.quantile(sums / counts, QUANTILE)), bars, blocks)
