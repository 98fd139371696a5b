"""Candles as bytes: CSV for people and other programs, parquet for us, and the digest that is the same for both."""

import hashlib
import io

import numpy as np

from tidewheel.contracts.errors import BadCandles
from tidewheel.features.frames import CandleFrame

CSV_HEADER = "open_time,open,high,low,close,volume"
_FLOATS = ("open", "high", "low", "close", "volume")
_DIGEST_DOMAIN = b"tidewheel candles 1\n"


def content_digest(frame: CandleFrame) -> str:
    """Sha256 (hex) over step, count, and the columns open_time, available_at (int64) and OHLCV (float64).

    Columns are taken little-endian and minus zero as zero, so the digest does not depend on how a file is packed.
    The revision is the ledger's, not the candles' own, and is left out.
    """
    hasher = hashlib.sha256(_DIGEST_DOMAIN)
    hasher.update(np.array([frame.step, len(frame)], dtype="<i8").tobytes())
    for times in (frame.open_time, frame.available_at):
        hasher.update(times.astype("<i8").tobytes())
    for name in _FLOATS:
        hasher.update((getattr(frame, name) + 0.0).astype("<f8").tobytes())
    return hasher.hexdigest()


def csv_text(frame: CandleFrame) -> str:
    """The candles as CSV; every float is written with the fewest digits that read back as the same float."""
    lines = [CSV_HEADER]
    lines += [
        f"{time},{opened!r},{high!r},{low!r},{close!r},{volume!r}"
        for time, opened, high, low, close, volume in frame.rows()
    ]
    return "\n".join(lines) + "\n"


def parquet_bytes(frame: CandleFrame) -> bytes:
    """The candles as one parquet file: zstd, times delta-coded, floats split into byte streams."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    times = ("open_time", "available_at")
    columns = {name: getattr(frame, name) for name in (*times, *_FLOATS)}
    table = pa.table(columns).replace_schema_metadata({"step": str(frame.step)})
    encodings = dict.fromkeys(times, "DELTA_BINARY_PACKED") | dict.fromkeys(_FLOATS, "BYTE_STREAM_SPLIT")
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", use_dictionary=False, column_encoding=encodings, store_schema=True)
    return sink.getvalue()


def read_parquet(data: bytes) -> CandleFrame:
    """The candles of `parquet_bytes`, all with revision 0.

    Raises:
        BadCandles: the bytes are not such a file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # One thread: a file is small, and the trainer's time belongs to its fit.
        table = pq.read_table(io.BytesIO(data), use_threads=False)
        step = int((table.schema.metadata or {})[b"step"])
        columns = {name: table.column(name).to_numpy() for name in ("open_time", *_FLOATS, "available_at")}
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise BadCandles(f"the parquet file cannot be read: {error}") from error
    return CandleFrame(step=step, revision=np.zeros(table.num_rows, dtype=np.int16), **columns)
