"""Bars of many streams at once, and those that are kept in memory; on both dialects."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event

from tests.libs.ledger.test_archive import candles
from tests.libs.ledger.test_bars import repriced
from tidewheel.contracts.errors import BadCandles, NotFound
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.archive import Archive
from tidewheel.ledger.bulk import _AT_ONCE
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Lease

M = 60_000
KEYS = [StreamKey("binance", f"C{number}/USDT", "1m") for number in range(6)]


def writer(ledger: Ledger, key: StreamKey) -> Lease:
    ledger.streams.register(key, Origin.SYNTHETIC)
    lease = ledger.leases.acquire(f"stream:{key}", "writer", 60_000)
    assert lease is not None
    return lease


def same(left: CandleFrame, right: CandleFrame) -> bool:
    """Whether two frames are equal to the bit, revisions and times of availability included."""
    columns = [field.name for field in fields(CandleFrame) if field.name != "step"]
    return left.step == right.step and all(
        getattr(left, name).dtype == getattr(right, name).dtype
        and getattr(left, name).tobytes() == getattr(right, name).tobytes()
        for name in columns
    )


def seeded(ledger: Ledger, keys: list[StreamKey], seed: int) -> None:
    """Bars in any order, with holes, corrections, several files and a tail; the last stream has none at all."""
    rng, frame = np.random.default_rng(seed), candles(80)
    for number, key in enumerate(keys):
        lease = writer(ledger, key)
        for _ in range(0 if number == len(keys) - 1 else 4):
            low = int(rng.integers(0, 70))
            part = frame.take(low + np.flatnonzero(rng.random(min(25, 80 - low)) < 0.8))
            ledger.bars.append(lease, key, repriced(part, float(rng.integers(0, 2)) + number), "test")
            if rng.random() < 0.6:
                ledger.bars.seal(lease, key, upto=int(rng.integers(20, 90)) * M)


@contextmanager
def statements(ledger: Ledger) -> Iterator[list[str]]:
    """The SQL that goes to the database meanwhile."""
    sent: list[str] = []

    def note(_: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        sent.append(statement)

    event.listen(ledger._db.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(ledger._db.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("cached", [False, True])
def test_many_streams_read_as_each_alone(ledger: Ledger, cached: bool, seed: int) -> None:
    """To the bit, whatever is asked for in whatever order, from memory or not."""
    seeded(ledger, KEYS, seed)
    for start, end in [(30, 50), (None, None), (None, 41), (33, None), (40, 41), (500, None)]:
        bounds = [None if edge is None else edge * M for edge in (start, end)]
        for asked in (KEYS, KEYS[::-2]):
            found = dict(ledger.bars.read_many(asked, *bounds, cached=cached))
            assert list(found) == asked
            for key in asked:
                assert same(found[key], ledger.bars.read(key, *bounds)), (key, start, end)


def test_streams_of_several_timeframes(ledger: Ledger) -> None:
    """Each frame has the step of its own stream."""
    days = StreamKey("binance", "C0/USDT", "1d")
    seeded(ledger, KEYS[:2], 1)
    rows = [(day * days.step, 5.0, 6.0, 4.0, 5.5, 1.0) for day in range(4)]
    ledger.bars.append(writer(ledger, days), days, CandleFrame.from_rows(days.step, rows), "test")
    found = dict(ledger.bars.read_many([days, *KEYS[:2]]))
    assert [frame.step for frame in found.values()] == [days.step, M, M]
    assert all(same(found[key], ledger.bars.read(key)) for key in found)


def test_as_many_queries_for_one_stream_as_for_six(ledger: Ledger) -> None:
    """Three, however many streams there are, until the next thousand begins; none as the caller goes on."""
    seeded(ledger, KEYS, 1)
    counts = []
    for keys in (KEYS[:1], KEYS, [*KEYS, *KEYS]):
        with statements(ledger) as sent:
            frames = ledger.bars.read_many(keys, 10 * M)
        with statements(ledger) as later:
            assert len(list(frames)) == min(len(keys), len(KEYS))
        assert not later
        counts.append(sum("SELECT" in statement for statement in sent))
    assert counts == [3, 3, 3]


def test_more_streams_than_one_statement_names(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked for a piece at a time."""
    assert _AT_ONCE < 32_766 - 2  # what SQLite takes, beside the two bounds
    monkeypatch.setattr("tidewheel.ledger.bulk._AT_ONCE", 4)
    seeded(ledger, KEYS, 2)
    found = dict(ledger.bars.read_many(KEYS))
    assert list(found) == KEYS
    assert all(same(found[key], ledger.bars.read(key)) for key in KEYS)


def test_bars_sealed_between_the_queries_are_told_once(ledger: Ledger) -> None:
    """All queries see one moment: what moves from the tail into a file meanwhile is neither lost nor doubled."""
    lease, frame, key = writer(ledger, KEYS[0]), candles(30), KEYS[0]
    ledger.bars.append(lease, key, frame.take(slice(0, 20)), "test")
    before = ledger.bars.read(key)
    moved: list[bool] = []

    def seal(_: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if "FROM candles" in statement and not moved:
            moved.append(True)
            ledger.bars.seal(lease, key, upto=10 * M)
            ledger.bars.append(lease, key, frame.take(slice(20, 30)), "test")

    event.listen(ledger._db.engine, "before_cursor_execute", seal)
    frames = ledger.bars.read_many([key])
    event.remove(ledger._db.engine, "before_cursor_execute", seal)
    ledger.bars.seal(lease, key)

    assert moved
    assert same(dict(frames)[key], before)
    assert len(dict(ledger.bars.read_many([key]))[key]) == 30


def test_a_stream_that_was_never_registered(ledger: Ledger) -> None:
    """Is named at once, before any bar is read; no stream at all is no bar."""
    seeded(ledger, KEYS[:2], 1)
    with pytest.raises(NotFound, match="C5/USDT"):
        ledger.bars.read_many([KEYS[0], KEYS[5]])
    assert list(ledger.bars.read_many([])) == []


def test_what_was_read_is_answered_from_memory(ledger: Ledger, data_dir: Path) -> None:
    """Asked again the disk is not needed, while bars that came since are told; what is not cached needs it."""
    lease, frame, key = writer(ledger, KEYS[0]), candles(60), KEYS[0]
    ledger.bars.append(lease, key, frame.take(slice(0, 40)), "test")
    ledger.bars.seal(lease, key)
    first = dict(ledger.bars.read_many([key], 20 * M, cached=True))[key]
    assert len(first) == 20
    shutil.move(data_dir / "blobs", data_dir / "away")

    assert same(dict(ledger.bars.read_many([key], 20 * M, cached=True))[key], first)
    assert len(dict(ledger.bars.read_many([key], 25 * M, 30 * M, cached=True))[key]) == 5
    ledger.bars.append(lease, key, frame.take(slice(40, 42)), "test")
    assert len(dict(ledger.bars.read_many([key], 20 * M, cached=True))[key]) == 22
    for earlier, cached in ((19, True), (20, False)):
        with pytest.raises(NotFound, match="missing"):
            list(ledger.bars.read_many([key], earlier * M, cached=cached))

    shutil.move(data_dir / "away", data_dir / "blobs")
    ledger.bars.append(lease, key, repriced(frame.take(slice(30, 31)), 1.0), "test")
    corrected = dict(ledger.bars.read_many([key], 20 * M, cached=True))[key]
    assert same(corrected, ledger.bars.read(key, 20 * M))
    assert corrected.close[10] == frame.close[30] + 1.0


def test_a_damaged_blob_is_found_before_it_is_kept(ledger: Ledger, data_dir: Path) -> None:
    """Its digest is compared whenever it is read from the disk."""
    lease, key = writer(ledger, KEYS[0]), KEYS[0]
    ledger.bars.append(lease, key, candles(40), "test")
    sealed = ledger.bars.seal(lease, key)
    assert sealed is not None
    other = Archive(data_dir).store(key, candles(40, price=7.0))
    shutil.copy(data_dir / other.blob_path, data_dir / sealed.blob_path)
    for _ in range(2):
        with pytest.raises(BadCandles, match="damaged"):
            list(ledger.bars.read_many([key], 20 * M, cached=True))


def test_what_the_caller_does_to_an_answer_is_not_remembered(ledger: Ledger) -> None:
    """Frames are the caller's own."""
    lease, key = writer(ledger, KEYS[0]), KEYS[0]
    ledger.bars.append(lease, key, candles(40), "test")
    ledger.bars.seal(lease, key)
    for _ in range(2):
        found = dict(ledger.bars.read_many([key], cached=True))[key]
        assert same(found, ledger.bars.read(key))
        found.close[:] = 1.0
