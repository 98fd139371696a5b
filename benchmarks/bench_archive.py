"""An archive file of 1,000,000 bars, ours beside pyarrow's default parquet."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.archive import parquet_bytes, read_parquet

BARS = 1_000_000
NAMES = ("open_time", "open", "high", "low", "close", "volume", "available_at")


def market() -> CandleFrame:
    """A random walk in ticks of one cent, seeded."""
    rng = np.random.default_rng(1)
    close = np.round(20_000 * np.exp(np.cumsum(rng.normal(0, 4e-4, BARS))), 2)
    opened = np.concatenate(([close[0]], close[:-1]))
    high, low = np.maximum(opened, close) + 0.5, np.minimum(opened, close) - 0.5
    times = 60_000 * np.arange(BARS, dtype=np.int64)
    volume = np.round(rng.exponential(10, BARS), 5)
    return CandleFrame(60_000, times, opened, high, low, close, volume, times + 60_000, np.zeros(BARS, np.int16))


def default_bytes(frame: CandleFrame) -> bytes:
    """The same columns as pyarrow writes them when nothing is said."""
    sink = io.BytesIO()
    pq.write_table(pa.table({name: getattr(frame, name) for name in NAMES}), sink)
    return sink.getvalue()


def default_columns(data: bytes) -> list[Any]:
    """All columns as numpy arrays."""
    return [column.to_numpy() for column in pq.read_table(io.BytesIO(data)).columns]


@pytest.mark.benchmark(group="write 1,000,000 bars")
@pytest.mark.parametrize("write", [parquet_bytes, default_bytes], ids=["tidewheel", "pyarrow default"])
def test_write(benchmark: Any, write: Callable[[CandleFrame], bytes]) -> None:
    """Bytes of one archive file."""
    frame = market()

    data = benchmark.pedantic(write, args=(frame,), rounds=5)

    benchmark.extra_info["megabytes"] = round(len(data) / 1e6, 1)


@pytest.mark.benchmark(group="read 1,000,000 bars")
def test_read_tidewheel(benchmark: Any) -> None:
    """Back to columns, equal to what was written."""
    frame = market()

    found = benchmark.pedantic(read_parquet, args=(parquet_bytes(frame),), rounds=5)

    np.testing.assert_array_equal(found.close, frame.close)


@pytest.mark.benchmark(group="read 1,000,000 bars")
def test_read_pyarrow_default(benchmark: Any) -> None:
    """Back to columns, by pyarrow alone."""
    benchmark.pedantic(default_columns, args=(default_bytes(market()),), rounds=5)
