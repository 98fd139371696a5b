"""The hours that a model is trained on and judged by: all complete ones of a stream."""

from tidewheel.contracts.times import DAY, HOUR
from tidewheel.features.frames import CandleFrame
from tidewheel.features.hourly import to_hours
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Stream

_PIECE = 30 * DAY  #: read at once: years of minutes would fill the memory, years of hours do not


def hours_of(ledger: Ledger, stream: Stream) -> CandleFrame:
    """Every complete hour of the stream, of bars in their newest revision; empty where it has none.

    Raises:
        BadCandles, NotFound: a file of it is damaged or gone.
    """
    if stream.first_open is None or stream.next_open is None:
        return CandleFrame.empty(HOUR)
    starts = range(stream.first_open // HOUR * HOUR, stream.next_open, _PIECE)
    return CandleFrame.concat([to_hours(ledger.bars.read(stream.key, start, start + _PIECE)) for start in starts], HOUR)
