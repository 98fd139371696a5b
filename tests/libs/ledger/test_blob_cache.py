"""Bars that are kept in memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tests.libs.ledger.test_archive import KEY, STEP, candles
from tidewheel.ledger.archive import Archive
from tidewheel.ledger.blob_cache import BlobCache


def test_what_lies_within_is_kept() -> None:
    """A later start is cut from what is kept; an earlier one is not known."""
    cache, frame = BlobCache(1_000_000), candles(100)
    cache.put("a", 40 * STEP, frame.take(slice(40, 100)))
    found = cache.get("a", 60 * STEP)
    assert found is not None
    assert found.open_time.tolist() == frame.open_time[60:].tolist()
    assert cache.get("a", 39 * STEP) is None
    assert cache.get("a", None) is None
    assert cache.get("b", 60 * STEP) is None


def test_the_longest_unasked_goes_first_and_the_limit_holds() -> None:
    """Whatever comes, no more is kept than was allowed; one that is larger than all of it is not kept."""
    frame = candles(100)
    one = BlobCache(1_000_000)
    one.put("a", None, frame)
    cache = BlobCache(3 * one.kept_bytes)
    for name in "abc":
        cache.put(name, None, frame)
    cache.get("a", None)
    cache.put("d", None, frame)
    assert [name for name in "abcd" if cache.get(name, None) is not None] == ["a", "c", "d"]
    cache.put("e", None, candles(10_000))
    assert cache.get("e", None) is None
    assert cache.get("d", None) is not None
    assert cache.kept_bytes == 3 * one.kept_bytes

    for _ in range(5):
        cache.put("a", None, frame)
    assert cache.kept_bytes == 3 * one.kept_bytes


def test_a_slice_does_not_keep_the_whole() -> None:
    """What is kept owns its numbers, and no more of them than it was asked for."""
    cache = BlobCache(1_000_000)
    cache.put("a", 90 * STEP, candles(100).take(slice(90, 100)))
    found = cache.get("a", 90 * STEP)
    assert found is not None
    assert all(column.base is None and len(column) == 10 for column in (found.close, found.open_time, found.revision))


def test_an_empty_part_of_a_blob_is_known_too(tmp_path: Path) -> None:
    """A blob whose bars all lie before is not opened for each question."""
    archive = Archive(tmp_path)
    stored = archive.store(KEY, candles(10))
    assert len(archive.recall(stored.blob_path, stored.digest, 50 * STEP)) == 0
    (tmp_path / stored.blob_path).unlink()
    assert len(archive.recall(stored.blob_path, stored.digest, 50 * STEP)) == 0


def test_whole_blobs_leave_the_memory_alone(tmp_path: Path) -> None:
    """`load` keeps nothing."""
    archive = Archive(tmp_path)
    stored = archive.store(KEY, candles(10))
    archive.load(stored.blob_path, stored.digest)
    assert archive._cache.kept_bytes == 0


def test_threads_share_it() -> None:
    """The sum stays what is kept, whoever puts and asks meanwhile."""
    cache, frame = BlobCache(60_000), candles(50)

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(300):
            name, low = str(rng.integers(12)), int(rng.integers(50))
            cache.put(name, low * STEP, frame.take(slice(low, 50)))
            found = cache.get(str(rng.integers(12)), 49 * STEP)
            assert found is None or found.open_time.tolist() == [49 * STEP]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert 0 < cache.kept_bytes <= 60_000
    for name in map(str, range(12)):
        cache.put(name, None, candles(10_000))
    assert cache.kept_bytes == 0
