"""What a model learns from, and what it is judged on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidewheel.contracts.errors import BadInput, NotEnoughData
from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import CandleFrame
from tidewheel.features.returns import WINDOW

HOLDOUT_PERCENT = 20


@dataclass(frozen=True, eq=False, slots=True)
class Split:
    """Two runs of time, the same for all streams; frames are contiguous (cut at gaps)."""

    train: Mapping[str, list[CandleFrame]]  #: bars that open before `cut - purge`
    holdout: Mapping[str, list[CandleFrame]]  #: bars that open at `cut` or later
    cut: UtcMillis  #: start of the hold-out

    @property
    def train_bars(self) -> int:
        """Bars to learn from, over all streams."""
        return _bars(self.train)

    @property
    def holdout_bars(self) -> int:
        """Bars to be judged on, over all streams."""
        return _bars(self.holdout)


def split(window: Mapping[str, CandleFrame], *, purge: int = WINDOW) -> Split:
    """Hold out the last 20 % of `window` by time, and drop the `purge` bars before it.

    No feature of a training bar then shares a return with one of the hold-out, nor is near to it. A stream that has
    no bars on one side is absent there.

    Raises:
        NotEnoughData: there are no bars at all.
        BadInput: the streams are of different timeframes.
    """
    frames = {stream: frame for stream, frame in window.items() if len(frame)}
    if not frames:
        raise NotEnoughData("there are no bars to split into a training and a hold-out part")
    steps = {frame.step for frame in frames.values()}
    if len(steps) > 1:
        raise BadInput(f"the bars are {sorted(steps)} ms long; one model takes one timeframe")
    step = steps.pop()
    start = min(int(frame.open_time[0]) for frame in frames.values())
    end = max(int(frame.open_time[-1]) for frame in frames.values()) + step
    cut = end - (end - start) // step * HOLDOUT_PERCENT // 100 * step
    return Split(
        train=_segments(frames, None, cut - purge * step),
        holdout=_segments(frames, cut, None),
        cut=cut,
    )


def _segments(
    frames: Mapping[str, CandleFrame], start: UtcMillis | None, end: UtcMillis | None
) -> dict[str, list[CandleFrame]]:
    cuts = {stream: frame.between(start, end).segments() for stream, frame in frames.items()}
    return {stream: found for stream, found in cuts.items() if found}


def _bars(side: Mapping[str, Sequence[CandleFrame]]) -> int:
    return sum(len(frame) for frames in side.values() for frame in frames)
