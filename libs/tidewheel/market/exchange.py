"""Any ccxt exchange as a source of closed candles: spot, or linear perpetual futures.

What ccxt leaves open is decided here: only bars that have closed by the exchange's own clock are handed out, a rate
limit is honoured by every process of the fleet, and trouble on the network is retried a few times and then told.
"""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from email.utils import parsedate_to_datetime
from random import SystemRandom
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit, urlunsplit

from tidewheel.contracts.errors import BadCandles, BadInput, BadSetting, Overloaded, Unavailable
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import UtcMillis, step_millis, to_millis
from tidewheel.features.frames import CandleFrame
from tidewheel.market.limiter import MAX_WAIT, Bucket, Limiter

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

ATTEMPTS = 4
FIRST_PAUSE = 0.25  #: seconds before the second attempt; doubled for each further one, jittered
RETRY_AFTER_UNSAID = 30.0  #: seconds to stay away when the exchange refuses without saying for how long
PAGE_MOST = 100_000  #: more bars than any exchange gives at once
PAGE_UNSAID = 500  #: bars asked for at once where ccxt does not know the exchange's limit
_URL_KINDS = ("api", "test", "demo")
_DATE_MARGIN = 2_000  #: ms; a Date header is of whole seconds and is written after the candles were read


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of `closed_bars`."""

    frame: CandleFrame  #: closed bars only
    server_time: UtcMillis  #: by which they are known to have closed
    next_since: UtcMillis  #: where to go on
    complete: bool  #: whether nothing more had closed, up to `until` if that was given


def open_exchange(
    exchange_id: str,
    *,
    type: Literal["spot", "futures"] = "spot",
    url: str | None = None,
    api_key: str | None = None,
    secret: str | None = None,
    sleep_ms: int = 0,
    limiter: Limiter,
) -> "Exchange":
    """The exchange of that ccxt id; no request is sent yet.

    Args:
        exchange_id: such as `binance`.
        type: `futures` means linear perpetuals (USD-M), under their own id where ccxt has one (`binanceusdm`).
        url: EXCHANGE_URL; every REST and websocket address keeps its path and is asked here instead.
        api_key, secret: only for exchanges that show candles to nobody else.
        sleep_ms: SLEEP_MS, the least pause between two requests for candles.
        limiter: shared by the fleet.

    Raises:
        BadInput: ccxt does not know the exchange, or it has no candles.
        BadSetting: the url is not one.
    """
    import ccxt

    known: list[str] = ccxt.exchanges
    wanted = exchange_id.strip().lower()
    if wanted not in known:
        raise BadInput(
            f"exchange {exchange_id!r} is not known to ccxt{_nearest(wanted, known)}", code="unknown_exchange"
        )
    if type == "futures":
        own_id = {"binance": "binanceusdm"}.get(wanted, f"{wanted}futures")
        wanted = own_id if own_id in known else wanted
    options: dict[str, Any] = {} if type == "spot" else {"defaultType": "swap", "defaultSubType": "linear"}
    if wanted.startswith("binance"):
        options["fetchMarkets"] = {"types": ["spot" if type == "spot" else "linear"]}
        # With a key ccxt would also ask for margin pairs, signed, which not every key may.
        options["fetchMargins"] = False
    client = getattr(ccxt, wanted)({"apiKey": api_key, "secret": secret, "options": options})
    if not client.has.get("fetchOHLCV"):
        raise BadInput(f"exchange {wanted!r} offers no candles through ccxt; choose another", code="unknown_exchange")
    # Binance's list of currencies needs a key and tells nothing about candles.
    if wanted.startswith("binance"):
        client.has["fetchCurrencies"] = False
    if url is not None:
        redirect(client, url)
    per_second = 1_000 / max(1.0, float(client.rateLimit))
    host = urlsplit(url or _first_address(client.urls["api"])).netloc
    bucket = limiter.bucket(wanted, client.implode_hostname(host), per_second, burst=max(1.0, 2 * per_second))
    return Exchange(client, futures=type == "futures", bucket=bucket, pause=sleep_ms / 1_000)


class Exchange:
    """Closed candles of one exchange; made by `open_exchange`. Not for several threads at once.

    Args:
        client: a ccxt exchange.
        futures: whether linear perpetuals are meant, rather than spot pairs.
        bucket: asked before each request.
        pause: least seconds between two requests for candles.
    """

    def __init__(self, client: Any, *, futures: bool, bucket: Bucket, pause: float) -> None:
        self._client, self._futures, self._bucket, self._pause = client, futures, bucket, pause
        self._listed: dict[str, Any] = {}
        self._server_time: UtcMillis = 0
        self._last_page = 0.0
        client.enableLastJsonResponse = True  # more is read from the answer than ccxt returns
        # ccxt knows what each request costs; its own throttle is per process and ignores Retry-After.
        client.throttle = lambda cost=None: bucket.take(1.0 if cost is None else float(cost))

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
        markets = self._markets()
        text = symbol_text.strip()
        if text in markets:
            return text
        wanted = _letters(text)
        spellings: dict[str, str] = {}
        for symbol, market in markets.items():
            for spelling in (symbol, symbol.partition(":")[0], str(market["id"])):
                spellings.setdefault(_letters(spelling), symbol)
        if wanted in spellings:
            return spellings[wanted]
        near = get_close_matches(wanted, spellings, n=3, cutoff=0.6)
        hint = _nearest_of(list(dict.fromkeys(spellings[name] for name in near)))
        raise BadInput(f"symbol {symbol_text!r} is not traded on {self.id} ({self._kind}){hint}", code="unknown_symbol")

    def server_time(self) -> UtcMillis:
        """The exchange's time now; where it has no clock to ask, that of its last answer's Date header.

        Raises:
            Unavailable: the exchange cannot be reached, or tells no time at all.
            Overloaded: the exchange wants no requests now.
        """
        if self._client.has.get("fetchTime"):
            self._server_time = int(self._call("its time", self._client.fetch_time))
        else:
            self._call("its markets", lambda: self._client.load_markets(reload=True))
            self._server_time = self._date_of_answer()
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
            BadCandles: the exchange sent a bar that cannot be.
            BadInput: the symbol or timeframe is not offered, or the limit is below 1.
            Unavailable: the exchange cannot be reached, or keeps failing.
            Overloaded: the exchange wants no requests now; `retry_after` says for how long.
        """
        if limit < 1:
            raise BadInput(f"limit {limit} asks for nothing; write 1 or more")
        step = step_millis(self.check_timeframe(timeframe))
        symbol = self.resolve(symbol)
        frames: list[CandleFrame] = []
        at, wanted, complete = since + -since % step, limit, until is not None and until <= since
        in_hole = False
        while wanted > 0 and not complete:
            # A hole is crossed in the longest strides that the exchange allows, however few bars are wanted.
            page = self._page(symbol, timeframe, at, PAGE_MOST if in_hole else wanted, until)
            page = page if len(page.frame) <= wanted else _cut(page, wanted)
            in_hole = not len(page.frame)
            frames.append(page.frame)
            wanted -= len(page.frame)
            at, complete = page.next_since, page.complete
        return Page(CandleFrame.concat(frames, step), self._server_time, at, complete)

    def _page(self, symbol: str, timeframe: str, since: UtcMillis, limit: int, until: UtcMillis | None) -> Page:
        """One request's worth of bars; `since` is aligned."""
        step = step_millis(timeframe)
        market = self._markets()[symbol]
        most = self._client.feature_value_by_type(market["type"], market.get("subType"), "fetchOHLCV", "limit")
        limit = min(limit, int(most or PAGE_UNSAID))
        if until is not None:
            limit = min(limit, -(-(until - since) // step))
        window_end = since + limit * step
        # Asked before the candles are read: a bar closed by then was final when it was read. What had closed by an
        # earlier answer stays closed, so a page of old bars needs no new one.
        own_clock = bool(self._client.has.get("fetchTime"))
        fresh = window_end > self._server_time or not own_clock
        if own_clock and fresh:
            self.server_time()
        self._wait_for_pause()
        rows = self._call("its candles", lambda: self._client.fetch_ohlcv(symbol, timeframe, since, limit))
        if not own_clock:
            self._server_time = self._date_of_answer()
        closed_end = self._server_time - self._server_time % step  # closed bars open before this
        end = closed_end if until is None else min(closed_end, until)
        frame = self._frame(symbol, step, rows).between(since, end).take(slice(limit))
        at_the_end = fresh or end == until
        if len(frame):
            next_since = int(frame.open_time[-1]) + step
            complete = at_the_end and next_since >= end
        else:
            # Either nothing newer is shown yet, or a hole fills the window: some exchanges show nothing beyond it.
            complete = at_the_end and window_end >= end
            next_since = since if complete else window_end
        return Page(frame, self._server_time, next_since, complete)

    def _frame(self, symbol: str, step: int, rows: Any) -> CandleFrame:
        try:
            return CandleFrame.from_rows(step, [row[:6] for row in rows])
        except (TypeError, ValueError, IndexError) as error:
            raise BadCandles(f"{self.id} sent something else than candles for {symbol}: {str(rows)[:80]!r}") from error
        except BadCandles as error:
            raise BadCandles(f"{self.id} {symbol}: {error.detail}; nothing of this page was stored") from error

    def _markets(self) -> dict[str, Any]:
        """The markets of our kind, by ccxt symbol."""
        if not self._listed:
            listed = self._call("its markets", self._client.load_markets)
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

    def _date_of_answer(self) -> UtcMillis:
        text = (self._client.last_response_headers or {}).get("Date")
        if text is None:
            raise Unavailable(f"{self.id} tells no time, so nobody can say which of its candles have closed")
        return to_millis(parsedate_to_datetime(text)) - _DATE_MARGIN

    def _call(self, what: str, request: Callable[[], Answer]) -> Answer:
        """Send a request; named network troubles are tried again, a refusal is obeyed."""
        import ccxt

        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = request()
                # ccxt takes a cut or foreign answer for an empty one, which here would look like a hole in the market.
                if self._client.last_json_response is None:
                    raise ccxt.BadResponse("the answer is not JSON")
                return answer
            except (ccxt.DDoSProtection, ccxt.RateLimitExceeded) as error:  # no kin of each other
                seconds = self._retry_after()
                self._bucket.ban(seconds)
                log.warning("exchange_refused exchange=%s seconds=%s", self.id, seconds)
                if seconds > MAX_WAIT or attempt == ATTEMPTS:
                    raise Overloaded(
                        f"{self.id} refuses requests for {seconds:g} s; nothing is sent until then",
                        code="exchange_refused",
                        retry_after=seconds,
                    ) from error
            except ccxt.OperationFailed as error:
                log.warning("exchange_failed exchange=%s attempt=%s error=%s", self.id, attempt, type(error).__name__)
                if attempt == ATTEMPTS:
                    raise Unavailable(
                        f"{self.id} did not give {what} in {ATTEMPTS} attempts ({type(error).__name__}: "
                        f"{_without_queries(error)[:200]}); check the network and EXCHANGE_URL, then try again",
                        code="exchange_unavailable",
                    ) from error
                time.sleep(FIRST_PAUSE * 2 ** (attempt - 1) * SystemRandom().uniform(0.5, 1.5))
            except ccxt.BaseError as error:
                raise BadInput(
                    f"{self.id} refused to give {what}: {_without_queries(error)[:300]}", code="exchange_error"
                ) from error
        raise AssertionError("the last attempt returns or raises")

    def _retry_after(self) -> float:
        """Seconds that the last answer asks us to stay away (RFC 9110, section 10.2.3)."""
        text = str((self._client.last_response_headers or {}).get("Retry-After", "")).strip()
        if not text:
            return RETRY_AFTER_UNSAID
        try:
            return max(0.0, float(text))
        except ValueError:
            try:
                return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
            except ValueError:
                return RETRY_AFTER_UNSAID


def _without_queries(error: Exception) -> str:
    """What ccxt says, without the queries of its addresses: they may hold a key or a signature."""
    return re.sub(r"\?\S+", "", str(error))


def _cut(page: Page, limit: int) -> Page:
    """The page's first `limit` bars, of more."""
    frame = page.frame.take(slice(limit))
    return Page(frame, page.server_time, int(frame.open_time[-1]) + frame.step, complete=False)


def redirect(client: Any, url: str) -> None:
    """Let every REST and websocket address of a ccxt client point to `url`, each with its own path kept.

    Raises:
        BadSetting: `url` is not http(s)://host[:port][/prefix].
    """
    base = urlsplit(url)
    if base.scheme not in ("http", "https") or not base.netloc or base.query or base.fragment:
        raise BadSetting(f"EXCHANGE_URL {url!r} is not an address such as http://127.0.0.1:9000")
    web = {"http": "ws", "https": "wss"}[base.scheme]

    def moved(address: Any) -> Any:
        if isinstance(address, dict):
            return {name: moved(part) for name, part in address.items()}
        if isinstance(address, list):
            return [moved(part) for part in address]
        if not isinstance(address, str):
            return address
        old = urlsplit(address)
        scheme = web if old.scheme in ("ws", "wss") else base.scheme
        return urlunsplit((scheme, base.netloc, base.path.rstrip("/") + old.path, old.query, ""))

    client.urls = {kind: moved(part) if kind in _URL_KINDS else part for kind, part in client.urls.items()}


def _first_address(part: Any) -> str:
    """Some address of a client, to name its host by."""
    while not isinstance(part, str):
        part = part.get("public", part.get("rest", next(iter(part.values()))))
    return part


def _has_fixed_length(timeframe: str) -> bool:
    try:
        step_millis(timeframe)
    except BadInput:
        return False
    return True


def _letters(symbol: str) -> str:
    return "".join(character for character in symbol.upper() if character.isalnum())


def _nearest(name: str, known: list[str]) -> str:
    return _nearest_of(get_close_matches(name, known, n=3, cutoff=0.6))


def _nearest_of(near: list[str]) -> str:
    return f"; did you mean {' or '.join(near)}?" if near else ""
