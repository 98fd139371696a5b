"""Daily bars of tickers, as the ledger has them now."""

from collections.abc import Iterable, Iterator

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import DAY, UtcMillis
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Stream

UNIVERSE = "universe"  #: volatility source: the realised volatility of the tickers themselves
_NAMED = 5  #: tickers that an error lists
_RECENT = 440 * DAY  #: of bars that a scan reads: 273 sessions of a market that trades 5 days of 7, and holidays
_GRID = 32 * DAY  #: to which its start is rounded, so that what was read yesterday is known today


class DailyBars:
    """The daily streams of one ledger, named by ticker."""

    def __init__(
        self, ledger: Ledger, *, exchange: str | None = None, volatility_index: StreamKey | None = None
    ) -> None:
        """`exchange` is meant where several have a ticker; without an index the universe's own volatility is taken."""
        self._ledger, self._exchange, self._index = ledger, exchange, volatility_index

    @property
    def volatility_source(self) -> str:
        """`universe`, or the stream of the index."""
        return UNIVERSE if self._index is None else str(self._index)

    def streams(self, tickers: Iterable[str]) -> dict[str, Stream]:
        """The daily stream of each ticker.

        Raises:
            BadInput: `unknown_ticker`, with the command that imports it; `ambiguous_ticker`, several exchanges have it.
        """
        daily: dict[str, list[Stream]] = {}
        for stream in self._ledger.streams.all():
            if stream.key.step == DAY and self._exchange in (None, stream.key.exchange):
                daily.setdefault(stream.key.symbol.upper(), []).append(stream)
        wanted = list(tickers)
        self._require_known([ticker for ticker in wanted if ticker not in daily])
        several = next((ticker for ticker in wanted if len(daily[ticker]) > 1), None)
        if several is not None:
            listed = ", ".join(str(stream.key) for stream in daily[several])
            raise BadInput(
                f"{several} is {listed}; name the exchange that is meant by BOUNCE_EXCHANGE", code="ambiguous_ticker"
            )
        return {ticker: daily[ticker][0] for ticker in wanted}

    def history(self, streams: Iterable[Stream], as_of: UtcMillis | None) -> Iterator[CandleFrame]:
        """All sessions of each stream that had closed by `as_of`; one stream is in memory at a time."""
        return (bars for _, bars in self._ledger.bars.read_many([each.key for each in streams], None, _end(as_of)))

    def recent(self, streams: Iterable[Stream], as_of: UtcMillis | None) -> tuple[UtcMillis, Iterator[CandleFrame]]:
        """A time, and the sessions of each stream from it on that had closed by `as_of`.

        They reach back so far that features and a year's volatility can be told of the newest one of any of them.
        """
        listed = list(streams)
        newest = max((each.next_open or 0 for each in listed), default=0)
        start = (min(newest, newest if as_of is None else as_of) - _RECENT) // _GRID * _GRID
        found = self._ledger.bars.read_many([each.key for each in listed], start, _end(as_of), cached=True)
        return start, (bars for _, bars in found)

    def index(self, start: UtcMillis | None, as_of: UtcMillis | None) -> CandleFrame | None:
        """The volatility index from `start` on, where one was named.

        Raises:
            NotFound: the ledger has no such stream.
        """
        return None if self._index is None else self._ledger.bars.read(self._index, start, _end(as_of))

    def _require_known(self, unknown: list[str]) -> None:
        if unknown:
            more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
            fetched = f"or fetch a coin's: tidewheel backfill EXCHANGE:{unknown[0]}:1d --start DATE"
            raise BadInput(
                f"no daily candles of {', '.join(unknown[:_NAMED])}{more} are in the ledger; import them: "
                f"tidewheel import {_file(unknown[0])} --symbol {unknown[0]} --timeframe 1d --utc --offline"
                f"{f', {fetched}' if '/' in unknown[0] else ''}",
                code="unknown_ticker",
                tickers=unknown,
            )


def _end(as_of: UtcMillis | None) -> UtcMillis | None:
    """A session that opened before it had closed by `as_of`."""
    return None if as_of is None else as_of - DAY + 1


def _file(ticker: str) -> str:
    return ticker.replace("/", "") + ".csv"
