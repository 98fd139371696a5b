"""Recorded candles as a scenario: feather, parquet or CSV files, holes kept."""

import re
from pathlib import Path

import numpy as np

from tidewheel.contracts.errors import BadCandles, BadInput
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import step_millis
from tidewheel.features.frames import CandleFrame
from tidewheel.market.candle_files import read_pieces, usual_step
from tidewheel.market.sim.engine import TIMEFRAMES
from tidewheel.market.sim.scenario import Scenario, Series

_NAME = re.compile(r"(?P<base>[A-Za-z0-9]+?)(?:_(?P<quote>[A-Za-z0-9]+))?(?:-(?P<timeframe>[1-9][0-9]*[smhdw]))?")
#: Quotes that a name without an underscore may end with, longest first.
_QUOTES = ("USDT", "USDC", "FDUSD", "USD", "EUR", "GBP", "JPY", "BTC", "ETH", "BNB")


def replayed(files: tuple[str, ...]) -> Scenario:
    """The candles of all files as one phase.

    Args:
        files: paths such as `ETH_BTC-5m.feather`, whose name tells symbol and timeframe (the latter may be left
            to the data), or `GOOG_USD-1d=prices.csv` where it does not.

    Raises:
        BadInput: a file cannot be read as candles, or its symbol cannot be told.
        BadCandles: a bar cannot be.
    """
    if not files:
        raise BadInput("no file of recorded candles is named; write FILE[,FILE], feather, parquet or csv")
    series = tuple(_read(file) for file in files)
    start = min(int(one.frame.open_time[0]) for one in series)
    end = max(int(one.frame.open_time[-1]) + one.frame.step for one in series)
    return Scenario("replay", Origin.REPLAY, start, (end,), series)


def _read(file: str) -> Series:
    name, _, path_text = file.rpartition("=")
    if not _NAME.fullmatch(name):
        name, path_text = "", file
    path = Path(path_text)
    base, quote, timeframe = _named(name or path.stem, file)
    pieces = [piece.table for piece in read_pieces(path, naive_is_utc=True)]
    table = np.concatenate([*pieces, np.zeros((0, 6))])
    table = table[np.argsort(table[:, 0], kind="stable")]
    times = table[:, 0].astype(np.int64)
    if not len(times):
        raise BadInput(f"{path} holds no candles")
    step = step_millis(timeframe) if timeframe else usual_step(times)
    own_name = next((known for known in TIMEFRAMES if step_millis(known) == step), None)
    if own_name is None:
        raise BadInput(f"{path}: its bars are {step} ms apart; the exchange has only {', '.join(TIMEFRAMES)}")
    opened, high, low, close, volume = np.ascontiguousarray(table[:, 1:].T)
    revision = np.zeros(len(times), dtype=np.int16)
    frame = CandleFrame(step, times, opened, high, low, close, volume, times + step, revision)
    try:
        return Series(f"{base}/{quote}", own_name, frame.checked())
    except BadCandles as error:
        raise BadCandles(f"{path}: {error.detail}") from error


def _named(name: str, file: str) -> tuple[str, str, str | None]:
    """Base, quote and timeframe that a name tells, such as `ETH_BTC-5m`, `ETHBTC` or `EUR_USD`."""
    match = _NAME.fullmatch(name)
    if match is not None:
        base, quote = match["base"].upper(), (match["quote"] or "").upper()
        if not quote:
            quote = next((known for known in _QUOTES if base.endswith(known) and base != known), "")
            base = base.removesuffix(quote)
        if quote:
            return base, quote, match["timeframe"]
    raise BadInput(
        f"{file!r} does not tell its symbol; name the file like ETH_BTC-5m.feather, or write GOOG_USD-1d=FILE"
    )
