"""Candles in files that others wrote: CSV, parquet and feather, a piece at a time.

Columns are found by name (`date,open,high,low,close,volume`, in any order and case, among others), or by place where
a CSV has no header: six columns, or Binance's twelve. Times are epoch seconds, ms, us or ns, told apart by their
size, or ISO-8601. What could be meant in two ways is refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tidewheel.contracts.errors import BadCandles, BadInput
from tidewheel.contracts.times import LATEST, iso
from tidewheel.features.frames import Floats, Ints

PIECE = 50_000  #: most rows that are held at once
_TIME_NAMES = ("open_time", "date", "datetime", "timestamp", "time", "open time", "unix", "")
_VALUES = ("open", "high", "low", "close", "volume")
_WANTED = "date,open,high,low,close,volume"
_BY_PLACE = (6, 12)  #: columns of a CSV without a header: ours and ccxt's; Binance's published archive
_CSV_BLOCK = 1 << 20
#: Largest epoch number of each unit, and how many ms one is: as the next larger unit it would lie before March 1973.
_UNITS = ((10**11, "seconds", 1_000.0), (10**14, "milliseconds", 1.0), (10**17, "microseconds", 1e-3))
_NANOSECONDS = ("nanoseconds", 1e-6)
_MIDNIGHT = r"^\d{4}-\d{2}-\d{2}[ T]00:00(:00(\.0+)?)?([+-]\d{2}:?\d{2}|Z)$"


@dataclass(frozen=True, eq=False, slots=True)
class Piece:
    """Consecutive rows of a file."""

    first: int  #: number of the first row: its line in a CSV, counted from 1
    table: Floats  #: open time in UTC ms, open, high, low, close, volume; shape [n, 6]


def read_pieces(path: Path, *, naive_is_utc: bool = False, dates: bool = False) -> Iterator[Piece]:
    """The rows of a file in its order, not judged.

    Args:
        naive_is_utc: times without a zone are UTC; otherwise they are refused.
        dates: a midnight of any zone names its day (`2024-03-01 00:00:00-05:00`), as sessions are written.

    Raises:
        BadInput: the file cannot be read as candles, or its times could be meant in two ways.
        BadCandles: a value is none; names the row, the value and the remedy.
    """
    import pyarrow as pa

    kind = path.suffixes[-2] if path.suffix.lower() == ".gz" and len(path.suffixes) > 1 else path.suffix
    reader = {".csv": _csv_batches, ".parquet": _parquet_batches, ".feather": _feather_batches}.get(kind.lower())
    if reader is None:
        raise BadInput(f"{path} is neither a .feather nor a .parquet nor a .csv file; unpack or convert it first")
    clock = _Clock(path, naive_is_utc, dates)
    word = "line" if reader is _csv_batches else "row"
    try:
        for first, columns in reader(path):
            where = _Where(path, word, first)
            values = [_numbers(column, name, where) for name, column in zip(_VALUES, columns[1:], strict=True)]
            yield Piece(first, np.column_stack([clock.millis(columns[0], where), *values]))
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path} cannot be read as candles: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True, slots=True)
class _Where:
    path: Path
    word: str  #: "line" or "row"
    first: int

    def bad(self, index: int, what: str) -> BadCandles:
        return BadCandles(f"{self.path}, {self.word} {self.first + index}: {what}")


def _csv_batches(path: Path) -> Iterator[tuple[int, Sequence[Any]]]:
    """Columns as text, so that a bad value can be named with its line."""
    import pyarrow as pa
    from pyarrow import csv

    bad: list[Any] = []

    def refuse(row: Any) -> str:
        bad.append(row)
        return "error"

    with pa.input_stream(str(path), compression="detect") as peeked:
        head = peeked.read(4_096).decode("utf-8-sig", "replace").splitlines()
    if not head:
        raise BadInput(f"{path} is empty; it needs {_WANTED}, and a line for each candle")
    fields = head[0].replace('"', "").split(",")
    other = max(";\t|", key=head[0].count)
    if len(fields) == 1 and head[0].count(other) >= len(_VALUES):
        raise BadInput(f"{path} is separated by {other!r}; write it with commas, and numbers with a point")
    headless = bool(fields) and all(_is_number(field) for field in fields)
    if headless and len(fields) not in _BY_PLACE:
        raise BadInput(f"{path} has {len(fields)} columns and no header, so nobody knows which is which; add {_WANTED}")
    names = [str(place) for place in range(len(fields))] if headless else [field.strip() for field in fields]
    chosen = names[:6] if headless else _chosen(names, path)
    read = csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK, column_names=names, skip_rows=0 if headless else 1)
    parse = csv.ParseOptions(invalid_row_handler=refuse, ignore_empty_lines=False)
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), include_columns=list(dict.fromkeys(chosen))
    )
    first = 1 if headless else 2
    try:
        with csv.open_csv(str(path), read, parse, convert) as batches:
            for batch in batches:
                for piece in _cut(batch):
                    yield first, [piece.column(name) for name in chosen]
                    first += piece.num_rows
    except pa.ArrowException:
        if not bad:
            raise
        line = bad[0].number
        raise BadCandles(
            f"{path}, line {line}: {bad[0].text[:80]!r} has {bad[0].actual_columns} columns and not "
            f"{bad[0].expected_columns}; mend or remove it"
        ) from None


def _parquet_batches(path: Path) -> Iterator[tuple[int, Sequence[Any]]]:
    from pyarrow import parquet

    with parquet.ParquetFile(str(path), memory_map=False) as file:
        chosen = _chosen(file.schema_arrow.names, path)
        first = 1
        for batch in file.iter_batches(PIECE, columns=list(dict.fromkeys(chosen)), use_threads=False):
            yield first, [batch.column(name) for name in chosen]
            first += batch.num_rows


def _feather_batches(path: Path) -> Iterator[tuple[int, Sequence[Any]]]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as file:
        chosen = _chosen(file.schema.names, path)
        first = 1
        for number in range(file.num_record_batches):
            for piece in _cut(file.get_batch(number)):
                yield first, [piece.column(name) for name in chosen]
                first += piece.num_rows


def _cut(batch: Any) -> Iterator[Any]:
    return (batch.slice(at, PIECE) for at in range(0, batch.num_rows, PIECE))


def _chosen(columns: Sequence[str], path: Path) -> list[str]:
    """Names of the columns of the time and the five values."""
    plain = [name.strip().lower() for name in columns]
    twice = [name for name in dict.fromkeys(plain) if plain.count(name) > 1 and name in (*_TIME_NAMES, *_VALUES)]
    if twice:
        raise BadInput(f"{path} names {', '.join(map(repr, twice))} more than once; keep the one that is meant")
    names = dict(zip(plain, columns, strict=True))
    time_name = next((names[name] for name in _TIME_NAMES if name in names), None)
    if time_name is not None and [value for value in _VALUES if value not in names] == ["volume"]:
        raise BadInput(f"{path} has no column of volumes; add one, of zeros where nobody counts them")
    if time_name is None or any(value not in names for value in _VALUES):
        raise BadInput(f"{path} has the columns {list(columns)}; it needs {_WANTED}")
    return [time_name, *(names[value] for value in _VALUES)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _trimmed(column: Any) -> Any:
    """The column without spaces around text; dictionaries decoded."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    return pc.utf8_trim_whitespace(column) if pa.types.is_string(kind) or pa.types.is_large_string(kind) else column


def _numbers(column: Any, name: str, where: _Where) -> Floats:
    """A column of values as float64, [n]."""
    import pyarrow as pa

    column = _trimmed(column)
    try:
        values: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        texts = column.to_pylist()
        index = next(at for at, text in enumerate(texts) if text is None or not _is_number(text))
        raise where.bad(index, f"its {name} is {texts[index]!r}, which is no number; mend or remove it") from None
    if column.null_count:
        raise where.bad(column.is_null().to_pylist().index(True), f"its {name} is missing; mend or remove it")
    return values


class _Clock:
    """Reads times of one file, whose unit must stay the same."""

    def __init__(self, path: Path, naive_is_utc: bool, dates: bool) -> None:
        self._path, self._naive_is_utc, self._dates = path, naive_is_utc, dates
        self._unit: str | None = None

    def millis(self, column: Any, where: _Where) -> Floats:
        """UTC ms, whole numbers, [n]."""
        import pyarrow as pa
        import pyarrow.types as kinds

        column = _trimmed(column)
        if column.null_count:
            raise where.bad(column.is_null().to_pylist().index(True), "its time is missing; mend or remove it")
        kind = column.type
        if kinds.is_string(kind) or kinds.is_large_string(kind):
            column = _dated(column) if self._dates else column
            column = self._parsed(column, where)
            kind = column.type
        if kinds.is_integer(kind) or kinds.is_floating(kind):
            return self._epoch(column.cast(pa.float64()).to_numpy(zero_copy_only=False), where)
        if kinds.is_date(kind) or kinds.is_timestamp(kind):
            zone = getattr(kind, "tz", None)
            if zone is not None and self._dates:
                return _local_days(column)
            if zone is None and not self._naive_is_utc:
                raise BadInput(
                    f"{self._path}: its times, such as {column[0].as_py()}, bear no zone; if they are UTC, say so "
                    "with --utc, and otherwise write them with their zone"
                )
            ms: Ints = column.cast(pa.timestamp("ms", zone), safe=False).cast(pa.int64()).to_numpy(zero_copy_only=False)
            return ms.astype(np.float64)
        raise BadInput(f"{self._path}: its times are of the type {kind}; write UTC timestamps or epoch milliseconds")

    def _parsed(self, column: Any, where: _Where) -> Any:
        """Text as numbers or timestamps, with a zone or all without."""
        import pyarrow as pa

        for kind in (pa.int64(), pa.float64(), pa.timestamp("us", "UTC"), pa.timestamp("us")):
            try:
                return column.cast(kind)
            except pa.ArrowInvalid:
                continue
        texts = column.to_pylist()
        index = next((at for at, text in enumerate(texts) if not _is_time(text, texts[0])), 0)
        raise where.bad(
            index,
            f"its time is {texts[index]!r}; write UTC timestamps, all alike, such as 2024-03-01T00:00:00Z or epoch ms",
        )

    def _epoch(self, numbers: Floats, where: _Where) -> Floats:
        if not len(numbers):
            return numbers
        names = [_unit(number)[0] for number in (float(np.nanmin(numbers)), float(np.nanmax(numbers)))]
        self._unit = self._unit or _unit(float(numbers[0]))[0]
        for name, index in zip(names, (int(np.nanargmin(numbers)), int(np.nanargmax(numbers))), strict=True):
            if name != self._unit:
                raise where.bad(
                    index,
                    f"its time {numbers[index]:.0f} looks like {name}, and others of the file like {self._unit}; "
                    "write all in one unit",
                )
        factor = _unit(float(numbers[0]))[1]
        millis = numbers * factor if factor >= 1 else np.floor(numbers * factor)
        odd = ~((millis >= 0) & (millis <= LATEST))
        odd[~odd] = millis[~odd] % 1 != 0
        if odd.any():
            index = int(np.argmax(odd))
            raise where.bad(index, f"its time {numbers[index]:g} is no UTC time; mend or remove it")
        return millis


def _dated(column: Any) -> Any:
    """Midnights of any zone as those of UTC, where the column holds nothing else; else the column."""
    import pyarrow.compute as pc

    midnights = pc.all(pc.match_substring_regex(column, _MIDNIGHT)).as_py()
    return (
        pc.binary_join_element_wise(pc.utf8_slice_codeunits(column, 0, 10), "T00:00:00Z", "") if midnights else column
    )


def _local_days(column: Any) -> Floats:
    """Zoned timestamps as UTC ms; where all are midnights of their zone, as those of UTC."""
    import pyarrow as pa
    import pyarrow.compute as pc

    local = pc.local_timestamp(column.cast(pa.timestamp("ms", column.type.tz), safe=False))
    midnights = pc.all(pc.equal(local, pc.floor_temporal(local, unit="day"))).as_py()
    chosen = local if midnights else column.cast(pa.timestamp("ms", column.type.tz), safe=False)
    ms: Ints = chosen.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return ms.astype(np.float64)


def _unit(number: float) -> tuple[str, float]:
    return next(((name, factor) for below, name, factor in _UNITS if abs(number) < below), _NANOSECONDS)


def _is_time(text: str, like: str) -> bool:
    """Whether `text` is a time of the same kind as `like`."""
    from datetime import datetime

    def kind(value: str) -> str:
        if _is_number(value):
            return "number"
        try:
            return "zoned" if datetime.fromisoformat(value).tzinfo else "naive"
        except ValueError:
            return "none"

    return kind(text) == kind(like) != "none"


def usual_step(times: Ints) -> int:
    """The most frequent distance of two neighbours, ms; 0 when there is but one time."""
    steps, counts = np.unique(np.diff(times), return_counts=True)
    return int(steps[np.argmax(counts)]) if len(steps) else 0


def told(row: Sequence[float]) -> str:
    """A row for people."""
    time, *values = row
    return f"{iso(int(time))} {', '.join(f'{value:g}' for value in values)}"
