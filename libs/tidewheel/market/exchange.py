"""Any ccxt exchange as a source of closed candles: spot, or linear perpetual futures.

What ccxt leaves open is decided here: only bars that have closed by the exchange's own clock are handed out, a rate
limit is honoured by every process of the fleet, and trouble on the network is retried a few times and then told.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidewheel.contracts.errors import BadCandles, BadInput, Unavailable
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import MINUTE, UtcMillis, iso, step_millis
from tidewheel.features.frames import CandleFrame
from tidewheel.market.calls import ATTEMPTS, Calls
from tidewheel.market.limiter import Bucket
from tidewheel.market.screen import Screened, screen
from tidewheel.market.symbols import resolved

log = logging.getLogger(__name__)

PAGE_MOST = 100_000  #: more bars than any exchange gives at once
PAGE_UNSAID = 500  #: bars asked for at once where ccxt does not know the exchange's limit
SETTLED = 2 * MINUTE  #: ms behind the exchange's clock after which a bar has closed though no later one is shown
OTHER_BOUNDARY = 7  #: bars; a page that is asked for again begins so much earlier, each time


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of `closed_bars`."""

    frame: CandleFrame  #: closed bars only
    server_time: UtcMillis  #: by which they are known to have closed
    next_since: UtcMillis  #: where to go on
    complete: bool  #: whether nothing more had closed, up to `until` if that was given
    refused: Mapping[UtcMillis, str]  #: open times of bars that cannot be, however often they are asked for, and why


@dataclass(frozen=True, slots=True)
class Rechecked:
    """What two requests said about bars that are missing."""

    frame: CandleFrame  #: those of the bars that they showed
    agreed: bool  #: whether both showed what stands around the bars, and the same in between
    requests: list[dict[str, int]]  #: `since` and `limit` of each, and the exchange's time `at` which it was sent
    refused: Mapping[UtcMillis, str]  #: those of the bars that cannot be, and why


class Exchange:
    """Closed candles of one exchange; made by `market.open.open_exchange`. Not for several threads at once.

    Args:
        client: a ccxt exchange.
        futures: whether linear perpetuals are meant, rather than spot pairs.
        bucket: asked before each request.
        pause: least seconds between two requests for candles.
    """

    def __init__(self, client: Any, *, futures: bool, bucket: Bucket, pause: float) -> None:
        self._client, self._futures, self._pause = client, futures, pause
        self._calls = Calls(client, bucket)
        self._listed: dict[str, Any] = {}
        self._server_time: UtcMillis = 0
        self._last_page = 0.0

    @property
    def id(self) -> str:
        """The ccxt id, `binanceusdm` for Binance's futures."""
        return str(self._client.id)

    @property
    def timeframes(self) -> tuple[str, ...]:
        """The exchange's timeframes of fixed length, shortest first."""
        return tuple(sorted(filter(_has_fixed_length, self._client.timeframes or {}), key=step_millis))

    def check_timeframe(self, timeframe: str) -> str:
        """The timeframe, if the exchange has it.

        Raises:
            BadInput: it has not; names those it has.
        """
        if timeframe not in self.timeframes:
            raise BadInput(
                f"timeframe {timeframe!r} is not offered by {self.id}; choose one of {', '.join(self.timeframes)}",
                code="unknown_timeframe",
            )
        return timeframe

    def resolve(self, symbol_text: str) -> str:
        """ccxt's symbol of a pair written as `BTC/USDT`, `btc-usdt` or the exchange's own `btcusdt`.

        Raises:
            BadInput: the exchange does not trade it so; names the nearest.
            Unavailable: the exchange cannot be reached.
            Overloaded: the exchange wants no requests now.
        """
        return resolved(symbol_text, self._markets(), f"{self.id} ({self._kind})")

    def server_time(self) -> UtcMillis:
        """The exchange's time now; where it has no clock to ask, that of its last answer's Date header.

        Raises:
            Unavailable: the exchange cannot be reached, or tells no time at all.
            Overloaded: the exchange wants no requests now.
        """
        if self._client.has.get("fetchTime"):
            self._server_time = int(self._calls.send("its time", self._client.fetch_time))
        else:
            self._calls.send("its markets", lambda: self._client.load_markets(reload=True))
            self._server_time = self._calls.date_of_answer()
        return self._server_time

    def origin(self) -> Origin:
        """Where the bars come from, as the exchange says of itself: a simulated one admits it beside its time.

        Raises:
            Unavailable, Overloaded: as `server_time`.
        """
        self.server_time()
        answer = self._client.last_json_response
        said = answer.get("tidewheelOrigin", Origin.EXCHANGE) if isinstance(answer, dict) else Origin.EXCHANGE
        try:
            return Origin(said)
        except ValueError as error:
            raise BadInput(f"{self.id} says that its bars are {said!r}, which is none of {list(Origin)}") from error

    def closed_bars(
        self, symbol: str, timeframe: str, since: UtcMillis, limit: int, until: UtcMillis | None = None
    ) -> Page:
        """Up to `limit` bars with `since <= open_time < until` that have closed, in as many requests as it takes.

        Args:
            symbol: as `resolve` gives it.
            limit: bars wanted, any number; the exchange's own page size is seen to.

        Raises:
            BadCandles: the exchange sent something else than candles.
            BadInput: the symbol or timeframe is not offered, or the limit is below 1.
            Unavailable: the exchange cannot be reached, or keeps failing.
            Overloaded: the exchange wants no requests now; `retry_after` says for how long.
        """
        if limit < 1:
            raise BadInput(f"limit {limit} asks for nothing; write 1 or more")
        step = step_millis(self.check_timeframe(timeframe))
        symbol = self.resolve(symbol)
        frames: list[CandleFrame] = []
        refused: dict[UtcMillis, str] = {}
        at, wanted, complete = since + -since % step, limit, until is not None and until <= since
        in_hole = False
        while wanted > 0 and not complete:
            # A hole is crossed in the longest strides that the exchange allows, however few bars are wanted.
            page = self._page(symbol, timeframe, at, PAGE_MOST if in_hole else wanted, until)
            page = page if len(page.frame) <= wanted else _cut(page, wanted)
            in_hole = not len(page.frame)
            frames.append(page.frame)
            refused |= page.refused
            wanted -= len(page.frame)
            at, complete = page.next_since, page.complete
        return Page(CandleFrame.concat(frames, step), self._server_time, at, complete, refused)

    def recheck(self, symbol: str, timeframe: str, start: UtcMillis, end: UtcMillis) -> Rechecked:
        """Ask for the bars of [start, end), which must have closed, twice, in pages that begin at different bars.

        Raises:
            BadCandles, Unavailable, Overloaded: as `closed_bars`.
        """
        step = step_millis(timeframe)
        at = self.server_time()
        answers: list[Screened] = []
        requests: list[dict[str, int]] = []
        for earlier in (OTHER_BOUNDARY // 2, OTHER_BOUNDARY):
            since = max(0, start - earlier * step)
            limit = min((end - start) // step + 2 * earlier, self.most(symbol))
            answers.append(self._asked(symbol, timeframe, since, limit))
            requests.append({"since": since, "limit": limit, "at": at})
        first, second = (answer.frame.between(start, end) for answer in answers)
        enclosed = all(
            len(answer.frame.between(None, start)) and len(answer.frame.between(end, None)) for answer in answers
        )
        both = answers[0].joined(answers[1])
        return Rechecked(
            both.frame.between(start, end),
            enclosed and end <= self._settled_end(step) and np.array_equal(first.open_time, second.open_time),
            requests,
            {time: why for time, why in both.refused.items() if start <= time < end},
        )

    @property
    def per_second(self) -> float:
        """Requests that the exchange lets one host send each second, as ccxt knows it."""
        return round(1_000 / max(1.0, float(self._client.rateLimit)), 1)

    def most(self, symbol: str) -> int:
        """Bars that one request can ask for."""
        market = self._markets()[symbol]
        most = self._client.feature_value_by_type(market["type"], market.get("subType"), "fetchOHLCV", "limit")
        return int(most or PAGE_UNSAID)

    def _page(self, symbol: str, timeframe: str, since: UtcMillis, limit: int, until: UtcMillis | None) -> Page:
        """One request's worth of bars; `since` is aligned."""
        step = step_millis(timeframe)
        # One bar more than is wanted is asked for: a bar with a later one beside it has closed, whatever a clock says.
        limit = min(limit, max(1, self.most(symbol) - 1))
        if until is not None:
            limit = min(limit, -(-(until - since) // step))
        window_end = since + limit * step
        # Asked before the candles are read: a bar closed by then was final when it was read. What had closed by an
        # earlier answer stays closed, so a page of old bars needs no new one.
        own_clock = bool(self._client.has.get("fetchTime"))
        fresh = window_end + SETTLED > self._server_time or not own_clock
        if own_clock and fresh:
            self.server_time()
        shown = self._shown(symbol, timeframe, since, limit + 1, until)
        settled_end, closed_end = self._settled_end(step), self._server_time - self._server_time % step
        target = closed_end if until is None else min(closed_end, until)
        times = shown.frame.open_time
        end = min(target, max(settled_end, int(times[-1]) if len(times) else settled_end))
        frame = shown.frame.between(since, end).take(slice(limit))
        at_the_end = fresh or target == until
        if len(frame):
            next_since = int(frame.open_time[-1]) + step
            complete = at_the_end and next_since >= target
        else:
            # Either nothing newer is shown yet, or a hole fills the window: some exchanges show nothing beyond it.
            complete = at_the_end and (window_end >= target or since >= min(settled_end, target))
            next_since = since if complete else window_end
        refused = {time: why for time, why in shown.refused.items() if since <= time < next_since}
        return Page(frame, self._server_time, next_since, complete, refused)

    def _shown(self, symbol: str, timeframe: str, since: UtcMillis, limit: int, until: UtcMillis | None) -> Screened:
        """What the exchange shows from `since` on; asked again, from other boundaries, where it cannot be believed.

        A refused bar, a missing bar and an answer that ends too early, or is empty, may be a passing fault. They are
        believed when a second answer, which shows what stands around them, says the same: an answer that ends early
        may be an old one, made when its last bar was still open and others had not been corrected yet.

        Raises:
            Unavailable: no two answers end at the same bar with the same values.
        """
        step = step_millis(timeframe)
        shown = self._asked(symbol, timeframe, since, limit)
        for attempt in range(1, ATTEMPTS):
            doubtful = self._doubtful(shown, since, limit, until)
            if not doubtful:
                return shown
            earlier = attempt * OTHER_BOUNDARY
            again = self._asked(
                symbol, timeframe, max(0, since - earlier * step), min(limit + earlier, self.most(symbol))
            )
            joined = shown.joined(again)
            before, now = (each.frame.between(since, until) for each in (shown, joined))
            agreed = now.rows() == before.rows() and joined.refused == shown.refused
            # Bars at both sides of what is doubtful; behind an answer without bars there are none to be shown.
            around = len(again.frame.between(None, doubtful[0])) and (
                not len(now) or len(again.frame.between(doubtful[-1], None))
            )
            shown = joined
            if agreed and around:
                return shown
        if self._ends_early(shown, since, limit, until):
            raise Unavailable(
                f"{self.id} ends its candles of {symbol} elsewhere each time it is asked; try again later"
            )
        return shown

    def _doubtful(self, shown: Screened, since: UtcMillis, limit: int, until: UtcMillis | None) -> list[UtcMillis]:
        """Open times in what one answer shows from `since` on that need another answer, sorted."""
        here = shown.frame.between(since, until)
        if not len(here):
            return [since] if since < self._expected_end(here.step, until) else []
        missing = np.flatnonzero(np.diff(here.open_time, prepend=since - here.step) != here.step)
        doubtful = [int(here.open_time[at]) for at in missing[:1]] + [time for time in shown.refused if time >= since]
        if self._ends_early(shown, since, limit, until):
            doubtful.append(int(shown.frame.open_time[-1]))
        return sorted(doubtful)

    def _ends_early(self, shown: Screened, since: UtcMillis, limit: int, until: UtcMillis | None) -> bool:
        """Whether the last bar shown must have closed, though nothing beside it says so and there was room for more."""
        rows = shown.frame.between(since, None)
        told = len(rows) + sum(time >= since for time in shown.refused)
        return bool(len(rows) > 0 and told < limit and rows.open_time[-1] < self._expected_end(rows.step, until))

    def _expected_end(self, step: int, until: UtcMillis | None) -> UtcMillis:
        """Bars that open before this, and before `until`, are there unless the market has a hole."""
        return self._settled_end(step) if until is None else min(self._settled_end(step), until)

    def _asked(self, symbol: str, timeframe: str, since: UtcMillis, limit: int) -> Screened:
        """The bars of one request.

        Raises:
            BadCandles: the answer is something else.
            Unavailable: it begins elsewhere than was asked, again and again.
        """
        step = step_millis(timeframe)
        own_clock = bool(self._client.has.get("fetchTime"))
        for _ in range(ATTEMPTS):
            self._wait_for_pause()
            rows = self._calls.send("its candles", lambda: self._client.fetch_ohlcv(symbol, timeframe, since, limit))
            if not own_clock:
                self._server_time = self._calls.date_of_answer()
            try:
                screened = screen(step, rows)
            except (TypeError, ValueError, IndexError) as error:
                raise BadCandles(
                    f"{self.id} sent something else than candles for {symbol}: {str(rows)[:80]!r}"
                ) from error
            times = [*screened.frame.open_time.tolist(), *screened.refused]
            if not times or min(times) >= since:
                return screened
            log.warning("exchange_page_of_elsewhere exchange=%s symbol=%s since=%s", self.id, symbol, since)
        raise Unavailable(f"{self.id} sends other candles of {symbol} than those from {iso(since)}; try again later")

    def _settled_end(self, step: int) -> UtcMillis:
        """Bars that open before this closed so long ago that no error of a clock matters."""
        settled = self._server_time - SETTLED
        return settled - settled % step

    def _markets(self) -> dict[str, Any]:
        """The markets of our kind, by ccxt symbol."""
        if not self._listed:
            listed = self._calls.send("its markets", self._client.load_markets)
            marks = ("swap", "linear") if self._futures else ("spot",)
            self._listed = {name: market for name, market in listed.items() if all(market.get(mark) for mark in marks)}
        if not self._listed:
            raise Unavailable(
                f"{self.id} lists no {self._kind} markets; check EXCHANGE, EXCHANGE_TYPE and EXCHANGE_URL"
            )
        return self._listed

    @property
    def _kind(self) -> str:
        return "futures" if self._futures else "spot"

    def _wait_for_pause(self) -> None:
        time.sleep(max(0.0, self._last_page + self._pause - time.monotonic()))
        self._last_page = time.monotonic()


def _cut(page: Page, limit: int) -> Page:
    """The page's first `limit` bars, of more."""
    frame = page.frame.take(slice(limit))
    next_since = int(frame.open_time[-1]) + frame.step
    refused = {time: why for time, why in page.refused.items() if time < next_since}
    return Page(frame, page.server_time, next_since, complete=False, refused=refused)


def _has_fixed_length(timeframe: str) -> bool:
    try:
        step_millis(timeframe)
    except BadInput:
        return False
    return True
