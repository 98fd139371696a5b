"""Recorded candles as a scenario: feather, parquet or CSV files, holes kept."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from tidewheel.contracts.errors import BadCandles, BadInput
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import step_millis
from tidewheel.features.frames import CandleFrame, Floats, Ints
from tidewheel.market.sim.engine import TIMEFRAMES
from tidewheel.market.sim.scenario import Scenario, Series

_TIME_NAMES = ("open_time", "date", "datetime", "timestamp", "time", "")
_VALUES = ("open", "high", "low", "close", "volume")
_NAME = re.compile(r"(?P<base>[A-Za-z0-9]+?)(?:_(?P<quote>[A-Za-z0-9]+))?(?:-(?P<timeframe>[1-9][0-9]*[smhdw]))?")
#: Quotes that a name without an underscore may end with, longest first.
_QUOTES = ("USDT", "USDC", "FDUSD", "USD", "EUR", "GBP", "JPY", "BTC", "ETH", "BNB")
_SECONDS_BELOW = 100_000_000_000  # as milliseconds that would be March 1973


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
    times, values = _columns(path)
    order = np.argsort(times, kind="stable")
    times = times[order]
    if not len(times):
        raise BadInput(f"{path} holds no candles")
    step = step_millis(timeframe) if timeframe else _usual_step(times)
    own_name = next((known for known in TIMEFRAMES if step_millis(known) == step), None)
    if own_name is None:
        raise BadInput(f"{path}: its bars are {step} ms apart; the exchange has only {', '.join(TIMEFRAMES)}")
    opened, high, low, close, volume = values[:, order]
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


def _columns(path: Path) -> tuple[Ints, Floats]:
    """Open times in UTC ms, [n], and open, high, low, close, volume, [5, n], in the file's order."""
    import pyarrow as pa
    from pyarrow import csv, feather, parquet

    readers = {".feather": feather.read_table, ".parquet": parquet.read_table, ".csv": csv.read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadInput(f"{path} is neither a .feather nor a .parquet nor a .csv file")
    try:
        table = reader(str(path))
        names = {name.strip().lower(): name for name in reversed(table.column_names)}
        time_name = next((names[name] for name in _TIME_NAMES if name in names), None)
        missing = [value for value in _VALUES if value not in names]
        if time_name is None or missing:
            wanted = "date,open,high,low,close,volume"
            raise BadInput(f"{path} has the columns {table.column_names}; it needs {wanted}")
        values = [table[names[value]].cast(pa.float64()).to_numpy() for value in _VALUES]
        return _millis(table[time_name], path), np.array(values, dtype=np.float64)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path} cannot be read as candles: {str(error).splitlines()[0]}") from error


def _millis(times: Any, path: Path) -> Ints:
    """UTC ms of a column of timestamps, dates, ISO texts or epoch numbers; naive ones are UTC."""
    import pyarrow as pa
    import pyarrow.types as kinds

    kind = times.type
    if kinds.is_integer(kind):
        numbers: Ints = times.cast(pa.int64()).to_numpy()
        return numbers * 1_000 if len(numbers) and numbers.max() < _SECONDS_BELOW else numbers
    if kinds.is_date(kind) or kinds.is_timestamp(kind):
        zone = getattr(kind, "tz", None)
        millis: Ints = times.cast(pa.timestamp("ms", zone)).cast(pa.int64()).to_numpy()
        return millis
    raise BadInput(f"{path}: its times are of the type {kind}; write UTC timestamps or epoch milliseconds")


def _usual_step(times: Ints) -> int:
    """The most frequent distance of two bars, ms; 0 when there is but one."""
    steps, counts = np.unique(np.diff(times), return_counts=True)
    return int(steps[np.argmax(counts)]) if len(steps) else 0
