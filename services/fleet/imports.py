"""`tidewheel import`: candles from files, by the way that the ingester's take: screened, appended, sealed.

A file is read twice. The first reading judges every row and writes nothing, so a bad row anywhere refuses all of it;
the second stores what the first one passed, chunk by chunk. Cut off in between, it leaves whole sealed chunks, and
the same command goes on where they end.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidewheel.contracts.errors import BadCandles, BadInput, Conflict
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY, UtcMillis, iso, parse_time
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.recorded import changes
from tidewheel.ledger.records import Appended
from tidewheel.market.candle_files import read_pieces, told, usual_step
from tidewheel.market.screen import NEIGHBOURS, screen_table

LEASE_MS = 15_000
PATIENCE = 20.0  #: seconds that an ingestion of the same stream is waited for
CHUNK = 10_000  #: bars of one sealed file
_EARLIEST = parse_time("2000-01-01")  #: before this nobody recorded candles, but numbers are misread as such times
_EARLIEST_TICKER = parse_time("1971-01-01")  #: of a market older than computers; 20240301 is not read as seconds
_SHOWN = 5  #: bad rows that an error names
_UTC_EXAMPLE = "2024-03-01T00:00:00Z or 1709251200000"

Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One file whose every row has been judged."""

    path: Path
    naive_is_utc: bool
    bars: int
    first: UtcMillis
    last: UtcMillis


@dataclass(frozen=True, eq=False, slots=True)
class _Rows:
    """Rows with their numbers in the file, and those beside them, which tell an outlier from a move."""

    first: int
    before: Floats
    table: Floats
    after: Floats


def judged(path: Path, key: StreamKey, now: UtcMillis, *, naive_is_utc: bool) -> Source:
    """Read the whole file and judge each row; nothing is stored.

    Args:
        now: bars that close after this are not over yet.

    Raises:
        BadInput: the file is none of candles, or of another timeframe.
        BadCandles: rows that cannot be; names the first with number, value and reason.
    """
    bars, first, last, steps = 0, 0, -1, set[int]()
    for rows in _rows(path, key, naive_is_utc):
        _judge(path, key, rows, last, now)
        times = rows.table[:, 0].astype(np.int64)
        first = first if bars else int(times[0])
        steps.add(usual_step(times))
        bars, last = bars + len(np.unique(times)) - int(times[0] == last), int(times[-1])
    if not bars:
        raise BadInput(f"{path} holds no candles")
    if bars > 2 and key.step not in steps:
        raise BadInput(
            f"{path}: its bars are {min(steps - {0}, default=0) // 1000} s apart, and those of {key} last "
            f"{key.step // 1000} s; name its own --timeframe"
        )
    return Source(path=path, naive_is_utc=naive_is_utc, bars=bars, first=first, last=last)


def require_origin(ledger: Ledger, key: StreamKey, origin: Origin) -> None:
    """Refuse what would mix origins, as `register` does, with this command's remedies, and before anything is written.

    Raises:
        Conflict: the stream's candles are of another origin (`origin_mismatch`).
    """
    stream = ledger.streams.get(key)
    if stream is None or stream.origin == origin:
        return
    remedy = (
        "where they are the exchange's own candles, say so with --origin exchange"
        if stream.origin is Origin.EXCHANGE
        else "import into a ledger of their own (TIDEWHEEL_HOME or LEDGER_DB)"
    )
    raise Conflict(
        f"stream {key} holds {stream.origin} candles, and {origin} ones are never mixed in; {remedy}",
        code="origin_mismatch",
    )


def compared(ledger: Ledger, key: StreamKey, origin: Origin, source: Source) -> Appended:
    """What an import would bring, without writing anything.

    Raises:
        Conflict: the stream's candles are of another origin (`origin_mismatch`).
    """
    stream = ledger.streams.get(key)
    require_origin(ledger, key, origin)
    stored = duplicates = revised = 0
    for frame in _frames(source, key):
        known = CandleFrame.empty(key.step)
        if stream is not None:
            known = ledger.bars.read(key, int(frame.open_time[0]), int(frame.open_time[-1]) + key.step)
        new, differ = changes(frame, known)
        stored, revised = stored + len(new) - differ, revised + differ
        duplicates += len(frame) - len(new)
    return Appended(stored=stored, duplicates=duplicates, revised=revised)


def imported(
    ledger: Ledger, key: StreamKey, origin: Origin, sources: Sequence[Source], owner: str, progress: Progress
) -> Mapping[Path, Appended]:
    """Store what the files tell beyond the known, oldest file first, and seal it.

    Raises:
        Conflict: the stream's candles are of another origin (`origin_mismatch`).
        LeaseTaken: another process writes the stream all the while.
        FenceLost: the right to write it was lost on the way; run the import again.
        Unavailable: the ledger or the disk refused; run the import again when it is mended.
    """
    require_origin(ledger, key, origin)
    total, done = sum(source.bars for source in sources), 0
    brought: dict[Path, Appended] = {}
    with ledger.leases.hold(f"stream:{key}", owner, LEASE_MS, PATIENCE) as held:
        ledger.streams.register(key, origin)
        for source in sorted(sources, key=lambda source: source.first):
            sums = np.zeros(3, dtype=int)
            for frame in _frames(source, key):
                one = ledger.bars.append(held.lease, key, frame, f"import:{source.path.name}")
                ledger.bars.seal(held.lease, key)
                sums += [one.stored, one.duplicates, one.revised]
                done += len(frame)
                progress(done / total, f"{source.path.name}: {iso(int(frame.open_time[-1]))}")
            stored, duplicates, revised = sums.tolist()
            brought[source.path] = Appended(stored=stored, duplicates=duplicates, revised=revised)
    return brought


def _rows(path: Path, key: StreamKey, naive_is_utc: bool) -> Iterator[_Rows]:
    """The file's pieces, each with its neighbours."""
    none = np.zeros((0, 6))
    before, waiting = none, None
    for piece in read_pieces(path, naive_is_utc=naive_is_utc, dates=key.trades_in_sessions and key.step == DAY):
        if waiting is not None:
            yield _Rows(waiting.first, before, waiting.table, piece.table[:NEIGHBOURS])
            before = waiting.table[-NEIGHBOURS:]
        waiting = piece if len(piece.table) else waiting
    if waiting is not None:
        yield _Rows(waiting.first, before, waiting.table, none)


def _frames(source: Source, key: StreamKey) -> Iterator[CandleFrame]:
    """The judged bars again, a chunk at a time."""
    for rows in _rows(source.path, key, source.naive_is_utc):
        frame = screen_table(key.step, rows.table).frame
        for at in range(0, len(frame), CHUNK):
            yield frame.take(slice(at, at + CHUNK))


def _judge(path: Path, key: StreamKey, rows: _Rows, last: UtcMillis, now: UtcMillis) -> None:
    times = rows.table[:, 0]
    bad: dict[int, str] = {}
    for index in np.flatnonzero(np.diff(times, prepend=last) < 0).tolist():
        bad[index] = "it goes back in time; sort the file by its time"
    earliest = _EARLIEST_TICKER if key.trades_in_sessions else _EARLIEST
    for index in np.flatnonzero(times < earliest).tolist():
        bad[index] = f"no candles are so old, so its time was meant otherwise; write it as {_UTC_EXAMPLE}"
    for index in np.flatnonzero(times + key.step > now).tolist():
        bad[index] = "it has not closed yet; remove it"
    refused = screen_table(key.step, np.concatenate([rows.before, rows.table, rows.after])).refused
    for index in np.flatnonzero(np.isin(times, list(refused))).tolist():
        within = key.step == DAY and times[index] % DAY
        remedy = "write its date alone, such as 2024-03-01, and --utc" if within else "mend or remove it"
        bad.setdefault(index, f"{refused[int(times[index])]}; {remedy}")
    if bad:
        word = "line" if ".csv" in path.suffixes else "row"
        named = [
            f"{word} {rows.first + at} ({told(rows.table[at].tolist())}): {bad[at]}" for at in sorted(bad)[:_SHOWN]
        ]
        more = f"\n  and more among the rows {rows.first} to {rows.first + len(times) - 1}" if len(bad) > _SHOWN else ""
        raise BadCandles(f"{path} was refused, and nothing of it was stored:\n  " + "\n  ".join(named) + more)
