"""Whether a window of bars is enough to fit a model and to judge it, told before anybody fits.

Two things can be short: the bars to learn from (MIN_TRAIN_BARS), and the blocks of hold-out that the gate's steps ask
for. Both are told in one sentence, for one remedy helps both: more bars.
"""

from dataclasses import dataclass

from tidewheel.features.returns import WINDOW
from tidewheel.gates.scores import BLOCK, scored_blocks
from tidewheel.gates.splits import HOLDOUT_PERCENT, Split


@dataclass(frozen=True, kw_only=True, slots=True)
class Enough:
    """What a window has, beside what a fit and a verdict need."""

    bars: int  #: of the window, over all streams
    streams: int  #: that have bars
    train_bars: int  #: bars in the training part
    min_train_bars: int  #: MIN_TRAIN_BARS
    blocks: int  #: blocks of scored bars in the hold-out
    min_blocks: int  #: `Gate.min_blocks`

    @classmethod
    def of(cls, parts: Split | None, *, bars: int, streams: int, min_train_bars: int, min_blocks: int) -> "Enough":
        """`parts` is the window's split; None where it has no bars."""
        return cls(
            bars=bars,
            streams=streams,
            train_bars=parts.train_bars if parts else 0,
            min_train_bars=min_train_bars,
            blocks=scored_blocks(parts.holdout) if parts else 0,
            min_blocks=min_blocks,
        )

    @property
    def to_fit(self) -> bool:
        """The training part holds MIN_TRAIN_BARS."""
        return self.train_bars >= self.min_train_bars

    @property
    def to_judge(self) -> bool:
        """The hold-out holds the blocks that the gate asks for."""
        return self.blocks >= self.min_blocks

    @property
    def needed_bars(self) -> int:
        """Bars of a window that is enough, were its streams unbroken and equally long."""
        streams = max(1, self.streams)
        learnt = -(-self.min_train_bars // streams) + WINDOW  # the purge takes WINDOW bars
        blocks = -(-self.min_blocks // streams)
        judged = (blocks - 1) * BLOCK + 1 + WINDOW if blocks else 0
        return streams * max(-(-learnt * 100 // (100 - HOLDOUT_PERCENT)), -(-judged * 100 // HOLDOUT_PERCENT))

    def __str__(self) -> str:
        return (
            f"{self.bars} bars, about {self.needed_bars} unbroken ones are needed: {self.train_bars} are training bars "
            f"(MIN_TRAIN_BARS={self.min_train_bars}), and the fifth that is held out has {self.blocks} of the "
            f"{self.min_blocks} blocks of {BLOCK} scored bars that a verdict takes"
        )
