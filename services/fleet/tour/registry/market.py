"""Hours of a market in which something can be learnt: a trend feeds itself, and turns once it has run too far.

The hour's drift is a sine of the distance from the mean of the last ten hours. A line sees the part of it that goes
with the distance, a forest the turn as well. Nothing outside the tour knows of it.
"""

from pathlib import Path

import numpy as np

from tidewheel.contracts.times import HOUR, parse_time
from tidewheel.features.frames import Floats

START = parse_time("2025-01-01T00:00Z")
SYMBOL, FILE = "BTC/USDT", "BTC_USDT-1h.csv"
_SIZE, _TURN, _NOISE, _PULL, _MEMORY = 0.003, 0.004, 0.003, 0.002, 10


def closes(hours: int, seed: int) -> Floats:
    """Closes of `hours` hours in cents, [hours]."""
    noise = _NOISE * np.random.default_rng(seed).standard_normal(hours)
    level = np.zeros(hours)
    for hour in range(1, hours):
        before = level[hour - 1]
        run = before - level[max(0, hour - _MEMORY) : hour].mean()
        level[hour] = before + _SIZE * np.sin(run / _TURN) + noise[hour] - _PULL * before
    return np.round(30_000 * np.exp(level), 2)


def write(folder: Path, close: Floats) -> Path:
    """The hours as a file that the simulated exchange replays."""
    opened = np.concatenate((close[:1], close[:-1]))
    columns = (opened, np.maximum(opened, close), np.minimum(opened, close), close, np.full(len(close), 10.0))
    rows = ["open_time,open,high,low,close,volume"]
    for hour, values in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        rows.append(",".join(map(str, (START + hour * HOUR, *values))))
    path = folder / FILE
    path.write_text("\n".join(rows) + "\n")
    return path
