"""`tidewheel status` for people: one screen of 80 by 24 or more, what wants attention first."""

import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.fleet.output import table

LEAST_COLUMNS, MOST_COLUMNS = 80, 100
LEAST_LINES, MOST_LINES = 24, 40
_FIXED = 14  #: lines that are neither a warning nor a row: titles, headers, single facts
_LEAST_ROWS = (3, 2, 1)  #: warnings, streams and runs that are shown in any case
_GIB = 2**30


def screen(told: Mapping[str, Any], columns: int, lines: int) -> str:
    """`status()` in that many columns and lines; what does not fit is counted."""
    columns = max(LEAST_COLUMNS, min(columns, MOST_COLUMNS))
    room = max(LEAST_LINES, min(lines, MOST_LINES)) - _FIXED
    warnings, streams, runs = told["warnings"], told.get("streams", []), told.get("runs", [])
    shown = _shares(room, (len(warnings), len(streams), len(runs)))
    out = [f"Tidewheel in {told['home']}" + (f": {told['address']}" if told["address"] else "")]
    out += _warnings(warnings, columns, shown[0], room - sum(shown))
    out += [_processes(told["processes"]), *_keeper(told)]
    if "ledger_error" not in told:
        out += _rows("Streams", [_stream(row) for row in streams], shown[1], "none yet: POST /ingest_once says why")
        claims = ", ".join(f"{count} {_WORDS.get(state, state)}" for state, count in told["claims"].items())
        out += [f"Files: {claims}"]
        out += _rows("Runs", [_run(row) for row in runs], shown[2], "none yet: POST /train makes the first")
        out += [f"Run {row['run']} of {row['family']}: {row['reason']}" for row in runs[:1] if row["reason"]]
        out += [_champion(told), _predictors(told["replicas"])]
    queues = told.get("queues")
    away = "the broker is away" if "broker_error" in told else "the broker runs with the fleet"
    waiting = ", ".join(f"{name} {count}" for name, count in queues.items()) if queues else away
    disks = {(disk["free_bytes"], disk["total_bytes"]) for disk in told["disk"]}
    free = ", ".join(f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB free" for free, total in sorted(disks))
    out += [f"Queues: {waiting}", f"Disk: {free}"]
    return "\n".join(_clipped(line, columns) for line in out)


_WORDS = {"downloaded": "waiting", "processing": "claimed"}


def _shares(room: int, wanted: Sequence[int]) -> list[int]:
    """How many rows warnings, streams and runs may show: a few each, and what is left in that order."""
    shares = [min(want, least) for want, least in zip(wanted, _LEAST_ROWS, strict=True)]
    for part, want in enumerate(wanted):
        shares[part] += min(want - shares[part], room - sum(shares))
    return shares


def _warnings(warnings: Sequence[str], columns: int, most: int, spare: int) -> list[str]:
    """A line each, two where lines are to spare; what does not fit is counted."""
    if not warnings:
        return ["All is well."]
    full = [line for each in warnings for line in _wrapped(each, columns)]
    lines = full if len(full) <= most + spare else [f"! {' '.join(each.split())}" for each in warnings[:most]]
    count = f"{len(warnings)} things want" if len(warnings) > 1 else "One thing wants"
    more = f" (the first {most}; all with --json)" if len(warnings) > most else ""
    return [f"{count} attention{more}", *lines]


def _wrapped(text: str, columns: int) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()), columns, initial_indent="! ", subsequent_indent="  ", max_lines=2, placeholder=" ..."
    )


def _processes(processes: Sequence[Mapping[str, Any]]) -> str:
    if not processes:
        return "Processes: none of `tidewheel up` here"
    running = [row for row in processes if row["state"] == "running"]
    gone = [row["process"] for row in processes if row["state"] != "running"]
    memory = sum(row["pss_mib"] for row in running)
    told = f"Processes: {len(running)} of {len(processes)} run, {memory} MiB"
    return f"{told}; gone: {', '.join(gone)}" if gone else told


def _keeper(told: Mapping[str, Any]) -> list[str]:
    """Only the ledger knows who leads."""
    return [] if "ledger_error" in told else [f"Keeper: {told['keeper'] or 'none leads'}"]


def _rows(title: str, rows: Sequence[Mapping[str, Any]], most: int, empty: str) -> list[str]:
    if not rows:
        return [f"{title}: {empty}"]
    more = f" ({len(rows) - most} more with --json)" if len(rows) > most else ""
    return [f"{title}{more}", *table(rows[:most], "  ").splitlines()]


def _stream(row: Mapping[str, Any]) -> dict[str, Any]:
    failure = row["last_failure"]
    trouble = None if failure is None else f"{failure['code']}{' (over)' if failure['over'] else ''}"
    return {
        "stream": row["stream"],
        "origin": row["origin"],
        "last bar": _short(row["last_bar"]),
        "lag": _span(row["lag_ms"]),
        "gaps": f"{row['open_gaps']}+{row['confirmed_gaps']}",
        "failure": trouble,
    }


def _run(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run": row["run"],
        "of": row["family"],
        "state": row["state"],
        "asked": _short(row["created_at"]),
        "version": row["version"],
        "why": row["reason"],
    }


def _champion(told: Mapping[str, Any]) -> str:
    if not told["champion"]:
        return "Champion: none yet"
    age = _span(_millis(told["now"]) - _millis(told["promoted_at"]))
    line = f"Champion: {told['champion']}, promoted {age} ago, data to {_short(told['data_as_of'])}"
    challenger = told["challenger"]
    return line + (f"; challenger {challenger['version']} of run {challenger['run']}" if challenger else "")


def _predictors(replicas: Sequence[Mapping[str, Any]]) -> str:
    if not replicas:
        return "Predictors: none alive"
    marks = [(row["loaded"] or "no regime model yet", " late" if row["late"] else "") for row in replicas]
    return "Predictors: " + ", ".join(
        f"{marks.count(mark)} serves {mark[0]}{mark[1]}"
        if marks.count(mark) == 1
        else f"{marks.count(mark)} serve {mark[0]}{mark[1]}"
        for mark in dict.fromkeys(marks)
    )


def _millis(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1_000


def _short(text: str | None) -> str | None:
    return None if text is None else text[:16].replace("T", " ")


def _span(millis: float | None) -> str | None:
    """`40 s`, `12 min`, `5 h`, `3 d`."""
    if millis is None:
        return None
    seconds = int(millis / 1_000)
    for unit, length, least in (("d", 86_400, 172_800), ("h", 3_600, 7_200), ("min", 60, 120)):
        if seconds >= least:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _clipped(line: str, columns: int) -> str:
    return line if len(line) <= columns else f"{line[: columns - 1]}…"
