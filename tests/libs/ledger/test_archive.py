"""Candle files on disk."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidewheel.contracts.errors import BadCandles, NotFound, Unavailable
from tidewheel.contracts.keys import StreamKey
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.archive import Archive
from tidewheel.ledger.formats import content_digest, csv_text, parquet_bytes, read_parquet

KEY = StreamKey("binance", "BTC/USDT", "1m")
STEP = 60_000


def candles(count: int, start: int = 0, price: float = 100.0) -> CandleFrame:
    rng = np.random.default_rng(7)
    closes = price * np.exp(np.cumsum(rng.normal(0, 1e-3, count)))
    return CandleFrame.from_rows(
        STEP, [(start + i * STEP, c, c * 1.01, c * 0.99, c, rng.uniform(0, 9)) for i, c in enumerate(closes)]
    )


price = st.floats(min_value=1e-12, max_value=1e12)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(price, price, price, price, st.floats(min_value=0, max_value=1e15)), min_size=1, max_size=20))
def test_any_floats_round_trip_exactly(values: list[tuple[float, float, float, float, float]]) -> None:
    """CSV and parquet give back the very bits that were written, and the digest says so."""
    rows = [(i * STEP, o, max(o, h, low, c), min(o, h, low, c), c, v) for i, (o, h, low, c, v) in enumerate(values)]
    frame = CandleFrame.from_rows(STEP, rows)

    from_csv = [[float(cell) for cell in line.split(",")] for line in csv_text(frame).splitlines()[1:]]

    assert content_digest(CandleFrame.from_rows(STEP, from_csv)) == content_digest(frame)
    assert content_digest(read_parquet(parquet_bytes(frame))) == content_digest(frame)


def test_digest_names_content_only(tmp_path: Path) -> None:
    """The digest follows every value and ignores revision and packing; minus zero is zero."""
    frame = candles(100)
    moved = candles(100)
    moved.close[50] = np.nextafter(moved.close[50], 0)
    zeros, minus = candles(3), candles(3)
    zeros.volume[:], minus.volume[:] = 0.0, -0.0

    assert content_digest(frame) == content_digest(candles(100))
    assert content_digest(frame) != content_digest(moved)
    assert content_digest(zeros) == content_digest(minus)
    assert content_digest(frame.take(slice(0, 99))) != content_digest(frame)


def test_store_names_files_after_stream_interval_and_content(tmp_path: Path) -> None:
    """The symbol is one encoded folder, the CSV has the documented header, and nothing else is left behind."""
    archive = Archive(tmp_path)
    frame = candles(3, start=600_000)

    stored = archive.store(KEY, frame)

    assert stored.csv_path == f"incoming/binance/BTC%2FUSDT/1m/600000-780000-{stored.digest[:8]}.csv"
    assert stored.blob_path == f"blobs/{stored.digest[:2]}/{stored.digest}.parquet"
    assert (tmp_path / stored.csv_path).read_text().splitlines()[0] == "open_time,open,high,low,close,volume"
    assert sorted(archive.orphans([])) == sorted([stored.csv_path, stored.blob_path])
    assert list(archive.orphans([stored.csv_path, stored.blob_path])) == []


def test_same_candles_are_stored_once_and_a_damaged_blob_is_replaced(tmp_path: Path) -> None:
    """Storing again leaves an intact blob alone and heals a broken one."""
    archive = Archive(tmp_path)
    stored = archive.store(KEY, candles(50))
    blob = tmp_path / stored.blob_path
    inode = blob.stat().st_ino

    assert archive.store(KEY, candles(50)) == stored
    assert blob.stat().st_ino == inode

    blob.write_bytes(blob.read_bytes()[:-7])
    archive.store(KEY, candles(50))
    assert content_digest(archive.load(stored.blob_path, stored.digest)) == stored.digest


def test_every_byte_flip_is_found(tmp_path: Path) -> None:
    """A blob with one changed byte is refused, or holds the same candles all the same."""
    archive = Archive(tmp_path)
    stored = archive.store(KEY, candles(40))
    blob = tmp_path / stored.blob_path
    intact = blob.read_bytes()
    refused = 0
    for position in range(0, len(intact), 17):
        damaged = bytearray(intact)
        damaged[position] ^= 0xFF
        blob.write_bytes(damaged)
        try:
            frame = archive.load(stored.blob_path, stored.digest)
        except BadCandles:
            refused += 1
        else:
            assert content_digest(frame) == stored.digest
    assert refused > 20


def test_missing_blob_says_so(tmp_path: Path) -> None:
    """A deleted blob is named."""
    with pytest.raises(NotFound, match="is missing"):
        Archive(tmp_path).load("blobs/aa/none.parquet", "aa")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tests.libs.ledger.test_archive import KEY, candles
from tidewheel.contracts.errors import Unavailable
from tidewheel.ledger.archive import Archive
import pyarrow.parquet

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    Archive(Path(sys.argv[1])).store(KEY, candles(500))
except Unavailable as error:
    print(error.detail)
"""


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """When a write ends short, the caller hears why and no file, not even a temporary one, stays."""
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)

    assert "cannot be written" in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_unwritable_folder_is_a_sentence(tmp_path: Path) -> None:
    """A file where a folder should be is told with its path."""
    (tmp_path / "incoming").write_text("in the way")
    with pytest.raises(Unavailable, match=f"{os.sep}incoming"):
        Archive(tmp_path).store(KEY, candles(5))
