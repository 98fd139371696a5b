"""Tickers of which the tour knows what each dip comes to, and the session at whose close its story begins."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tidewheel.contracts.times import DAY, UtcMillis, iso
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.market.sim.dips import SESSIONS, TICKERS, DipsMarket, dips_market

FIRST, LATER = TICKERS[:3], TICKERS[3:]  #: what is scanned at once, and what joins in time
LIKELY = 0.7  #: chance of a bounce from which on a signal is to be expected
COIN, COIN_FILE = "BTC/USDT", "BTC_USDT-1d.csv"
WINDOW, HORIZON, MARGIN = 200, 5, 0.03  #: sessions behind a dip and ahead of it, and what it gains or loses
_UNDECIDED = 0.1  #: share of dips that end after five sessions, without a touch
_EDGE = 2.5  #: plain enough that what is likely becomes a signal, by a model of some two hundred dips
_ROOM = 20  #: sessions that pass in the story at least


@dataclass(frozen=True, eq=False, slots=True)
class Truth:
    """The market, and where the story stands in it."""

    market: DipsMarket
    today: int  #: place of the session at whose close the story begins
    passing: int  #: sessions from there to the one at whose close it ends

    def day(self, ahead: int = 0) -> str:
        """Its date, or that of a session so much later."""
        return iso(self.open_time(ahead))[:10]

    def open_time(self, ahead: int = 0) -> UtcMillis:
        """When it opens, UTC ms."""
        return int(self.market.frames[FIRST[0]].open_time[self.today + ahead])

    def until(self, ahead: int = 0) -> dict[str, CandleFrame]:
        """The bars of each ticker up to that session."""
        return {ticker: frame.take(slice(self.today + ahead + 1)) for ticker, frame in self.market.frames.items()}

    def dipped(self, tickers: Iterable[str], ahead: int = 0) -> dict[str, float]:
        """The tickers that had dipped at its close, each with its true chance of a bounce."""
        found = {ticker: float(self.market.chance[ticker][self.today + ahead]) for ticker in tickers}
        return {ticker: chance for ticker, chance in found.items() if not np.isnan(chance)}

    def known(self, tickers: Iterable[str], ahead: int = 0) -> int:
        """How many dips had ended by its close: by the first touch of either margin, read off the bars themselves."""
        return sum(_known(self.market.frames[each], self.market.chance[each], self.today + ahead) for each in tickers)


def _known(frame: CandleFrame, chance: Floats, today: int) -> int:
    count = 0
    for at in np.flatnonzero(np.isfinite(chance[: today + 1])).tolist():
        ahead = slice(at + 1, min(at + HORIZON, today) + 1)
        entry = frame.close[at]
        touched = (frame.high[ahead] >= entry * (1 + MARGIN)) | (frame.low[ahead] <= entry * (1 - MARGIN))
        count += bool(at >= WINDOW - 1 and (touched.any() or at + HORIZON <= today))
    return count


def truth(seed: int) -> Truth:
    """The market of that seed; a first ticker's bounce is likely where the story begins, and again where it ends."""
    market = dips_market(seed=seed, edge=_EDGE, undecided=_UNDECIDED)
    highest = np.nan_to_num([market.chance[ticker] for ticker in FIRST]).max(axis=0)
    likely = np.flatnonzero(highest >= LIKELY)
    today = int(likely[likely <= likely[-1] - _ROOM][-1])
    return Truth(market, today, int(likely[-1]) - today)


def unusable(frame: CandleFrame) -> dict[str, CandleFrame]:
    """What people have that cannot be used, by the reason that is to be told."""
    count = len(frame)
    late = np.arange(count) >= count // 2
    half, one = np.where(late, 0.5, 1.0), np.ones(count)
    split = {name: getattr(frame, name) * half for name in ("high", "low", "close")}
    opened = np.where(np.arange(count) == count // 2, np.roll(frame.close, 1), frame.open) * half
    split["high"], split["low"] = np.maximum(split["high"], opened), np.minimum(split["low"], opened)
    return {
        "unadjusted_split": replace(frame, open=opened, **split),
        "constant_prices": replace(frame, open=5 * one, high=5 * one, low=5 * one, close=5 * one),
        "no_volume": replace(frame, volume=0 * one),
        "not_enough_data": frame.take(slice(-100, None)),
    }


def write_coin(folder: Path, seed: int, days: int = SESSIONS) -> tuple[Path, CandleFrame]:
    """Days of a coin, which trades on Sundays too, as a file that the simulated exchange replays."""
    made = dips_market(["COIN"], days, seed + 1).frames["COIN"]
    times = made.open_time[0] + DAY * np.arange(len(made), dtype=np.int64)
    frame = replace(made, open_time=times, available_at=times + DAY)
    path = folder / COIN_FILE
    rows = [",".join(map(repr, row)) for row in frame.rows()]
    path.write_text("\n".join(["open_time,open,high,low,close,volume", *rows]) + "\n")
    return path, frame
