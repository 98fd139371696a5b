"""An exchange that answers as Binance's spot and USD-M market data endpoints do, from a scenario and a clock.

Sources: https://developers.binance.com/docs/binance-spot-api-docs/rest-api and
https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from tidewheel.contracts.errors import BadInput, TidewheelError
from tidewheel.contracts.times import UtcMillis, step_millis
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.market.sim.clock import VirtualClock
from tidewheel.market.sim.scenario import Scenario, Series

TIMEFRAMES = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w")
DEFAULT_LIMIT = 500


class Face(StrEnum):
    """Which of the two exchanges is asked."""

    SPOT = "spot"
    USDM = "usdm"


MAX_LIMIT = {Face.SPOT: 1_000, Face.USDM: 1_500}


class Refused(TidewheelError):
    """The exchange's own error answer: `binance_code` and text as Binance sends them."""

    code, status, title = "refused", 400, "The simulated exchange refuses"

    def __init__(self, binance_code: int, text: str, *, status: int = 400, retry_after: float | None = None) -> None:
        super().__init__(text, binance_code=binance_code)
        self.status = status
        self.retry_after = retry_after


@dataclass(slots=True)
class Refusal:
    """Requests to turn away: the next `count` of them, with HTTP `status` and `Retry-After: retry_after`."""

    status: int  #: 429 too many, 418 banned, or a 5xx
    retry_after: float | None  #: seconds; None sends no header
    count: int  #: requests still to refuse


class SimulatedExchange:
    """Serves a scenario as of its clock: closed bars, and the open one as far as it has come.

    Args:
        scenario: what there is to tell.
        clock: what time it is; by default it stands at the end of the first phase.
    """

    def __init__(self, scenario: Scenario, clock: VirtualClock | None = None) -> None:
        self.scenario = scenario
        self.clock = clock or VirtualClock(scenario.ends[0])
        self.requests = 0  #: market data requests seen, refused ones included
        self.requests_while_banned = 0  #: those sent before a ban was over; only an exchange with faults bans
        self._refusal: Refusal | None = None
        self._series: dict[tuple[str, int], Series] = {}
        for series in scenario.series:
            key = (market_id(series.symbol), series.frame.step)
            if key in self._series:
                raise BadInput(f"there are two sources for {series.symbol} {series.timeframe}; keep one of them")
            self._series[key] = series

    def refuse(self, status: int, retry_after: float | None, count: int) -> None:
        """Turn the next `count` requests away."""
        if status not in (418, 429) and not 500 <= status <= 599:
            raise BadInput(f"status {status} cannot be simulated; choose 418, 429 or a 5xx")
        self._refusal = Refusal(status, retry_after, count) if count > 0 else None

    def admit(self) -> None:
        """Count one request.

        Raises:
            Refused: it is one of those to turn away.
        """
        self.requests += 1
        refusal = self._refusal
        if refusal is not None:
            refusal.count -= 1
            if refusal.count <= 0:
                self._refusal = None
            code, text = (-1003, "Too many requests.") if refusal.status < 500 else (-1001, "Internal error.")
            raise Refused(code, text, status=refusal.status, retry_after=refusal.retry_after)

    def to_phase(self, phase: int) -> None:
        """Move the clock to the end of the 1-based `phase`, so that exactly its bars have closed."""
        ends = self.scenario.ends
        if not 1 <= phase <= len(ends):
            raise BadInput(f"phase {phase} does not exist; the scenario {self.scenario.name} has 1 to {len(ends)}")
        self.clock.move_to(ends[phase - 1])

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """The pairs traded, such as `BTC/USDT`, in the scenario's order."""
        return tuple(dict.fromkeys(series.symbol for series in self.scenario.series))

    def time(self) -> dict[str, Any]:
        """Answer of `/time`."""
        return {"serverTime": self.clock.now(), "tidewheelOrigin": self.scenario.origin.value}

    def exchange_info(self, face: Face) -> dict[str, Any]:
        """Answer of `/exchangeInfo`."""
        return {
            "timezone": "UTC",
            **self.time(),
            "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6_000}],
            "exchangeFilters": [],
            "symbols": [_symbol_info(symbol, face) for symbol in self.symbols],
        }

    def klines(
        self,
        face: Face,
        symbol: str,
        interval: str,
        start: UtcMillis | None = None,
        end: UtcMillis | None = None,
        limit: int | None = None,
    ) -> list[list[Any]]:
        """Answer of `/klines`: from `start` on, or else the newest; bars opening after `end` or now are left out.

        Raises:
            Refused: as Binance refuses an unknown symbol or interval, or an impossible limit.
        """
        most = MAX_LIMIT[face]
        limit = DEFAULT_LIMIT if limit is None else limit
        if limit < 1:
            raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
        series = self._find(symbol, interval)
        now = self.clock.now()
        until = now + 1 if end is None else min(end, now) + 1
        served = _with_opening_bar(series.frame, now).between(start, until)
        served = served.take(slice(min(limit, most)) if start is not None else slice(-min(limit, most), None))
        return _rows(_with_open_bar(self._shown(series.symbol, served, now), now))

    def sent(self, body: bytes) -> bytes:
        """An answer's body as it leaves the exchange."""
        return body

    def _shown(self, symbol: str, frame: CandleFrame, now: UtcMillis) -> CandleFrame:
        """Bars of a series as the exchange shows them at `now`, apart from the open one."""
        return frame

    def _find(self, symbol: str, interval: str) -> Series:
        """The series asked for; one of a longer timeframe is made from the longest recorded one that divides it."""
        if interval not in TIMEFRAMES:
            raise Refused(-1120, "Invalid interval.")
        step = step_millis(interval)
        if (symbol, step) not in self._series:
            steps = [known for name, known in self._series if name == symbol]
            if not steps:
                raise Refused(-1121, "Invalid symbol.")
            parts = [known for known in steps if step % known == 0]
            if not parts:
                raise Refused(-1120, "Invalid interval.")
            source = self._series[symbol, max(parts)]
            self._series[symbol, step] = Series(source.symbol, interval, resampled(source.frame, step))
        return self._series[symbol, step]


def resampled(frame: CandleFrame, step: int) -> CandleFrame:
    """Bars of length `step`, a multiple of the frame's, over whatever bars there are; no bar, no longer bar."""
    opens = frame.open_time - frame.open_time % step
    times, first = np.unique(opens, return_index=True)
    if not len(times):
        return CandleFrame.empty(step)
    last = np.append(first[1:], len(frame)) - 1
    return CandleFrame(
        step=step,
        open_time=times,
        open=frame.open[first],
        high=np.maximum.reduceat(frame.high, first),
        low=np.minimum.reduceat(frame.low, first),
        close=frame.close[last],
        volume=np.add.reduceat(frame.volume, first),
        available_at=times + step,
        revision=np.zeros(len(times), dtype=np.int16),
    ).checked()


def market_id(symbol: str) -> str:
    """The exchange's own name of a pair: `BTC/USDT` is `BTCUSDT`."""
    return symbol.replace("/", "")


def _with_opening_bar(frame: CandleFrame, now: UtcMillis) -> CandleFrame:
    """The frame, and where the data have just ended the bar after it, flat: a market does not end with its recording.

    Real exchanges show such a bar as soon as the last one has closed, which tells that it has.
    """
    if not len(frame) or not 0 <= now - (end := int(frame.open_time[-1]) + frame.step) < frame.step:
        return frame
    price = frame.close[-1]
    last = {"open_time": end, "available_at": end + frame.step, "revision": 0, "volume": 0.0}
    columns = {name: np.append(getattr(frame, name), value) for name, value in last.items()}
    prices = {name: np.append(getattr(frame, name), price) for name in ("open", "high", "low", "close")}
    return CandleFrame(step=frame.step, **columns, **prices)


def _with_open_bar(frame: CandleFrame, now: UtcMillis) -> CandleFrame:
    """The frame with its last bar as it looked at `now`, if that is before the bar's close."""
    if not len(frame) or frame.open_time[-1] + frame.step <= now:
        return frame
    elapsed = (now - int(frame.open_time[-1])) / frame.step
    opened = frame.open[-1]

    def so_far(column: Floats) -> Floats:
        return np.append(column[:-1], opened + (column[-1] - opened) * elapsed)

    return CandleFrame(
        step=frame.step,
        open_time=frame.open_time,
        open=frame.open,
        high=so_far(frame.high),
        low=so_far(frame.low),
        close=so_far(frame.close),
        volume=np.append(frame.volume[:-1], frame.volume[-1] * elapsed),
        available_at=frame.available_at,
        revision=frame.revision,
    )


def _rows(frame: CandleFrame) -> list[list[Any]]:
    """Klines in Binance's form: numbers as decimal strings that read back to the same floats."""
    turnover = np.round(frame.volume * frame.close, 2)  # derived, so the exchange may round it
    columns = (
        frame.open_time.tolist(),
        *(_decimals(column) for column in (frame.open, frame.high, frame.low, frame.close, frame.volume)),
        (frame.open_time + frame.step - 1).tolist(),
        _decimals(turnover),
        np.ceil(frame.volume).astype(np.int64).tolist(),  # number of trades
        _decimals(np.round(frame.volume / 2, 8)),  # of it bought by the taker
        _decimals(np.round(turnover / 2, 2)),
        ["0"] * len(frame),
    )
    return list(map(list, zip(*columns, strict=True)))


def _decimals(column: Floats) -> list[str]:
    """The shortest decimals that read back to the same floats, without exponents."""
    texts = list(map(repr, column.tolist()))
    for index in np.flatnonzero((column != 0) & ((column < 1e-4) | (column >= 1e16))):
        texts[index] = np.format_float_positional(column[index], trim="0")
    return texts


def _symbol_info(symbol: str, face: Face) -> dict[str, Any]:
    base, quote = symbol.split("/")
    info: dict[str, Any] = {
        "symbol": market_id(symbol),
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.00000001", "maxPrice": "1000000", "tickSize": "0.00000001"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000000", "stepSize": "0.00001"},
        ],
    }
    if face is Face.SPOT:
        return {**info, "isSpotTradingAllowed": True, "isMarginTradingAllowed": False, "permissions": ["SPOT"]}
    perpetual = {"pair": market_id(symbol), "contractType": "PERPETUAL", "deliveryDate": 4_133_404_800_000}
    return {**info, **perpetual, "marginAsset": quote, "pricePrecision": 8, "quantityPrecision": 5}
