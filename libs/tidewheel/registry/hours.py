"""Which stream is meant, and its newest complete hours: what a forecast is made from."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidewheel.contracts.errors import NoHistoricalData
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import HOUR
from tidewheel.features.frames import CandleFrame
from tidewheel.features.hourly import parts_of_hour, to_hours
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Stream
from tidewheel.ledger.streams import known_stream

STALE_HOURS = 3  #: that the base hour may lie behind the stream's clock


@dataclass(frozen=True, eq=False, slots=True)
class RecentHours:
    """The newest complete hours of a stream."""

    stream: StreamKey
    frame: CandleFrame
    stale: bool  #: whether the last of them lies more than 3 hours behind the stream's clock


def recent_hours(ledger: Ledger, wanted: StreamKey | None, symbols: Sequence[str], hours: int) -> RecentHours:
    """The newest `hours` hours and a few more.

    Where no stream is wanted, of the first of `symbols` that the ledger holds, else of its first stream.

    Raises:
        NotFound: the ledger has no such stream.
        NoHistoricalData: not one hour of it is complete, or there is no stream at all.
        BadInput: its bars do not make up hours.
    """
    streams = ledger.streams.all()
    stream = meant_stream(streams, wanted, symbols)
    key = stream.key
    # The newest hour is rarely complete, and the first may be cut.
    frame = to_hours(ledger.bars.last(key, (hours + 2) * parts_of_hour(key.step)))
    if not len(frame):
        raise NoHistoricalData(str(key))
    behind = ledger.streams.clock(stream, streams) - (int(frame.open_time[-1]) + HOUR)
    return RecentHours(key, frame, behind > STALE_HOURS * HOUR)


def meant_stream(streams: Sequence[Stream], wanted: StreamKey | None, symbols: Sequence[str]) -> Stream:
    """The wanted stream, or where none is wanted, `default_stream`.

    Raises:
        NotFound: it is not among `streams`.
        NoHistoricalData: there is none to choose.
    """
    key = wanted or default_stream([each.key for each in streams], symbols)
    if key is None:
        raise NoHistoricalData("none")
    return known_stream(key, streams)


def default_stream(known: Sequence[StreamKey], symbols: Sequence[str]) -> StreamKey | None:
    """Which of the known streams is meant where none is named: of the first of `symbols` that has one, else the first.

    One whose bars do not make up hours is never meant.
    """
    hourly = [key for key in known if HOUR % key.step == 0]
    named = [key for symbol in symbols for key in hourly if _plain(key.symbol) == _plain(symbol)]
    return next(iter([*named, *hourly]), None)


def _plain(symbol: str) -> str:
    """`BTC/USDT` may be written btcusdt too."""
    return symbol.replace("/", "").lower()
