"""Sealed candles on disk: a CSV for people and other programs, a parquet blob for us.

Both are named after the digest of the candles' columns, so the same candles are stored once and a damaged file
is found. A file appears under its name only when all of its bytes are on the disk; what a crash leaves behind is
a temporary file, or a whole file that no ledger row names, and `orphans` lists both.
"""

import hashlib
import io
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np

from tidewheel.contracts.errors import BadCandles, NotFound, Unavailable
from tidewheel.contracts.keys import StreamKey, path_part
from tidewheel.features.frames import CandleFrame

CSV_HEADER = "open_time,open,high,low,close,volume"
_FLOATS = ("open", "high", "low", "close", "volume")
_TEMPORARY = ".part-"
_DIGEST_DOMAIN = b"tidewheel candles 1\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Where one run of candles lies; paths are relative to the data directory."""

    digest: str  #: sha256 over the columns, hex
    csv_path: str  #: incoming/<exchange>/<symbol>/<timeframe>/<start>-<end>-<sha8>.csv
    blob_path: str  #: blobs/<aa>/<sha256>.parquet


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


class Archive:
    """The candle files under one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir

    def store(self, key: StreamKey, frame: CandleFrame) -> Stored:
        """Write CSV and blob of `frame` (not empty), both on disk when this returns.

        An existing blob of the same digest is kept when its bytes are intact, and replaced when they are not.

        Raises:
            Unavailable: the disk is full or cannot be written; nothing appears under the final names.
        """
        start, end = int(frame.open_time[0]), int(frame.open_time[-1]) + frame.step
        digest = content_digest(frame)
        csv = self._incoming(key) / f"{start}-{end}-{digest[:8]}.csv"
        blob = Path("blobs", digest[:2], f"{digest}.parquet")
        write_durably(self._root / csv, csv_text(frame).encode())
        if not self._intact(blob, digest):
            write_durably(self._root / blob, parquet_bytes(frame))
        return Stored(digest=digest, csv_path=csv.as_posix(), blob_path=blob.as_posix())

    def load(self, blob_path: str, digest: str) -> CandleFrame:
        """The candles of a blob, compared with the digest that the ledger holds.

        Raises:
            NotFound: the blob is missing.
            BadCandles: it is damaged.
        """
        path = self._root / blob_path
        try:
            frame = read_parquet(path.read_bytes())
        except FileNotFoundError:
            raise NotFound(f"candle file {path} is missing; restore it from a backup", code="blob_missing") from None
        if content_digest(frame) != digest:
            raise BadCandles(
                f"candle file {path} is damaged: its content is not that of digest {digest}; restore it from a backup",
                code="blob_damaged",
            )
        return frame

    def orphans(self, known: Iterable[str]) -> Iterator[str]:
        """Relative paths of files under incoming/ and blobs/ that are not among `known`."""
        names = set(known)
        for folder in ("incoming", "blobs"):
            for path in sorted((self._root / folder).rglob("*")):
                relative = path.relative_to(self._root).as_posix()
                if path.is_file() and relative not in names:
                    yield relative

    def drop_csv(self, key: StreamKey, older_than_seconds: float) -> int:
        """Remove the stream's CSV files that were written so long ago, and say how many; the blobs stay."""
        written_before = time.time() - older_than_seconds
        old = [
            path for path in (self._root / self._incoming(key)).glob("*.csv") if path.stat().st_mtime < written_before
        ]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def _incoming(self, key: StreamKey) -> Path:
        return Path("incoming", path_part(key.exchange), path_part(key.symbol), path_part(key.timeframe))

    def _intact(self, blob: Path, digest: str) -> bool:
        try:
            self.load(blob.as_posix(), digest)
        except (NotFound, BadCandles):
            return False
        return True


def write_durably(path: Path, data: bytes) -> None:
    """Put `data` at `path` so that after a crash the file is whole or not there.

    Raises:
        Unavailable: the disk refused; the temporary file is gone again.
    """
    temporary = path.with_name(f"{_TEMPORARY}{uuid4().hex}")
    try:
        _make_folders(path.parent)
        try:
            _write_all(temporary, data)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise Unavailable(
            f"candle file {path} cannot be written: {error.strerror}; free or mend the disk", code="disk_refused"
        ) from error


def _write_all(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        rest = memoryview(data)
        while rest:  # a full disk may take a part without an error
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folders(folder: Path) -> None:
    """Create `folder`; each created level is made durable in the one above it."""
    missing = [level for level in (folder, *folder.parents) if not level.exists()]
    for level in reversed(missing):
        level.mkdir(exist_ok=True)
        _sync_folder(level.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
