"""Sealed candles on disk: a CSV for people and other programs, a parquet blob for us.

Both are named after the digest of the candles' columns, so the same candles are stored once and a damaged file
is found. A file appears under its name only when all of its bytes are on the disk; what a crash leaves behind is
a temporary file, or a whole file that no ledger row names, and `orphans` lists both.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tidewheel.contracts.errors import BadCandles, NotFound, Unavailable
from tidewheel.contracts.keys import StreamKey, path_part
from tidewheel.contracts.times import UtcMillis
from tidewheel.disk import is_unused_name, make_folders, replace_durably
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.blob_cache import BlobCache
from tidewheel.ledger.formats import content_digest, csv_text, parquet_bytes, read_parquet

_FOLDERS = ("incoming", "blobs")
_SEAL_SECONDS = 3_600


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Where one run of candles lies; paths are relative to the data directory."""

    digest: str  #: sha256 over the columns, hex
    csv_path: str  #: incoming/<exchange>/<symbol>/<timeframe>/<start>-<end>-<sha8>.csv
    blob_path: str  #: blobs/<aa>/<sha256>.parquet


class Archive:
    """The candle files under one data directory, and up to `cache_bytes` of their bars in memory."""

    def __init__(self, data_dir: Path, cache_bytes: int = 64 * 1024 * 1024) -> None:
        self._root = data_dir
        self._cache = BlobCache(cache_bytes)

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
        _write(self._root / csv, csv_text(frame).encode())
        if not self._intact(blob, digest):
            _write(self._root / blob, parquet_bytes(frame))
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

    def recall(self, blob_path: str, digest: str, start: UtcMillis | None) -> CandleFrame:
        """The bars of a blob from `start` on, out of memory where they were asked for before; as `load` otherwise."""
        known = self._cache.get(digest, start)
        if known is None:
            known = self.load(blob_path, digest).between(start, None)
            self._cache.put(digest, start, known)
        return known

    def orphans(self, known: Iterable[str]) -> Iterator[str]:
        """Relative paths of files under incoming/ and blobs/ that are not among `known`."""
        names = set(known)
        for folder in _FOLDERS:
            for path in sorted((self._root / folder).rglob("*")):
                relative = path.relative_to(self._root).as_posix()
                if path.is_file() and relative not in names:
                    yield relative

    def half_written(self) -> list[Path]:
        """Temporary files older than an hour: a living seal renames its own within seconds."""
        old = time.time() - _SEAL_SECONDS
        hidden = (path for folder in _FOLDERS for path in sorted((self._root / folder).rglob(".*")) if path.is_file())
        return [path for path in hidden if is_unused_name(path) and path.stat().st_mtime < old]

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


def _write(path: Path, content: bytes) -> None:
    try:
        make_folders(path.parent)
        replace_durably(path, content)
    except OSError as error:
        raise Unavailable(
            f"candle file {path} cannot be written: {error.strerror}; free or mend the disk", code="disk_refused"
        ) from error
