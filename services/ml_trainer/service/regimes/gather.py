"""Which bars a run trains on, and which it is judged on."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tidewheel.contracts.errors import BadCandles, BadFit, NotFound
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import DAY, UtcMillis
from tidewheel.features.frames import CandleFrame
from tidewheel.features.returns import WINDOW, robust_scale, segment_returns
from tidewheel.gates.splits import Split, split
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import SealedFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The bars of one run, by stream; gaps are left in place."""

    files: tuple[SealedFile, ...]  #: what the run claimed, by id
    bars: Mapping[StreamKey, CandleFrame]  #: what the run sees; no stream is empty
    aside: Mapping[str, str] = field(default_factory=dict)  #: streams that it does not see, and why
    unread: Mapping[int, str] = field(default_factory=dict)  #: claimed files that the archive does not give, and why

    @property
    def new_bars(self) -> int:
        """Bars in the claimed files."""
        return sum(file.bars for file in self.files)

    @property
    def total(self) -> int:
        """Bars of all streams together."""
        return sum(len(frame) for frame in self.bars.values())

    @property
    def data_as_of(self) -> UtcMillis:
        """End of the newest bar: when the data could first be known."""
        return max(int(frame.open_time[-1]) + frame.step for frame in self.bars.values())

    @property
    def segments(self) -> list[int]:
        """Length of every unbroken run of bars, of all streams."""
        return [len(run) for frame in self.bars.values() for run in frame.segments()]

    @property
    def short_segments(self) -> int:
        """How many of them are too short to train on: a row of features looks back on 30 returns, which are 31 bars."""
        return sum(length <= WINDOW for length in self.segments)

    def ranges(self) -> dict[str, list[list[int]]]:
        """`[start, end)` of every unbroken run of bars, by stream."""
        return {
            str(key): [[int(run.open_time[0]), int(run.open_time[-1]) + run.step] for run in frame.segments()]
            for key, frame in self.bars.items()
        }

    def lineage(self) -> dict[str, Any]:
        """What a version says of the data that it came from."""
        files = [file.id for file in self.files]
        aside = {"left_aside": dict(self.aside)} if self.aside else {}
        return {"files": files, "new_bars": self.new_bars, "bars": self.total, "ranges": self.ranges(), **aside}


def strict_window(ledger: Ledger, files: Sequence[SealedFile]) -> Window:
    """The bars of the claimed files as first sealed, and no other: each bar is trained at most once.

    A file that is damaged or gone leaves a gap; the others are none the worse for it.
    """
    frames: dict[StreamKey, list[CandleFrame]] = {}
    unread: dict[int, str] = {}
    for file in sorted(files, key=lambda file: (file.key, file.start)):
        try:
            bars = ledger.bars.as_sealed(file)
        except (BadCandles, NotFound) as damaged:
            unread[file.id] = damaged.detail
        else:
            frames.setdefault(file.key, []).append(bars)
    read = [file for file in files if file.id not in unread]
    return replace(
        _window(read, {key: CandleFrame.concat(parts, key.step) for key, parts in frames.items()}), unread=unread
    )


def sliding_window(ledger: Ledger, files: Sequence[SealedFile], timeframe: str, days: int) -> Window:
    """The sealed bars of the last `days` before the newest one, over all streams of `timeframe`.

    The claimed files lie in it or behind it; a corrected bar replaces the older copy.
    """
    ends = {
        stream.key: stream.watermark
        for stream in ledger.streams.all()
        if stream.key.timeframe == timeframe and stream.watermark is not None
    }
    start = max(ends.values(), default=0) - days * DAY
    return _window(files, {key: ledger.bars.read(key, start, end) for key, end in ends.items() if end > start})


def usable(window: Window, known: Collection[str]) -> tuple[Window, Split | None]:
    """The window without the streams that would fail the fit of all others, and its two parts; None without bars.

    Where every stream is such a one nothing is left aside: the fit itself says why it fails.

    Args:
        known: streams whose scale the model has already.
    """
    while window.total:
        parts = split({str(key): frame for key, frame in window.bars.items()})
        unfit = _unfit(parts, known)
        if not unfit or len(unfit) == len(parts.train):
            return window, parts
        bars = {key: frame for key, frame in window.bars.items() if str(key) not in unfit}
        window = replace(window, bars=bars, aside={**window.aside, **unfit})
    return window, None


def _unfit(parts: Split, known: Collection[str]) -> dict[str, str]:
    """Streams whose training bars give no scale, and why."""
    unfit: dict[str, str] = {}
    for stream, frames in parts.train.items():
        try:
            if stream not in known:
                robust_scale(stream, segment_returns(frames))
        except BadFit as why:
            unfit[stream] = f"{why.code}: {why.detail}"
    return unfit


def _window(files: Sequence[SealedFile], bars: Mapping[StreamKey, CandleFrame]) -> Window:
    return Window(
        files=tuple(sorted(files, key=lambda file: file.id)),
        bars={key: bars[key] for key in sorted(bars) if len(bars[key])},
    )
