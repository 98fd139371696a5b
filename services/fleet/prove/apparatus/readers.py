"""A program beside the proof that reads hostile files one after the other, and what it told of each."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.fleet.local.processes import tail
from services.fleet.prove.apparatus import beside
from services.fleet.prove.proof import Tell
from tidewheel.contracts.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Reading:
    """How far the reader came."""

    answers: list[dict[str, Any]]  #: of the files, in their order; fewer where it ended early
    broke_off: str | None  #: how it ended, where that was not at its own good end


def read_all(program: str, listed: Sequence[Path], home: Path, tell: Tell, *, first: str, patience: float) -> Reading:
    """Let `program` read what is `listed`, for `patience` seconds; its answers are JSON that begins with key `first`.

    Raises:
        Unavailable: it answered to nothing at all.
    """
    names = home / "listed.json"
    names.write_text(json.dumps([str(path) for path in listed]))
    reader = beside.start(program, names, folder=home)
    deadline = time.monotonic() + patience
    while reader.exit_code() is None and time.monotonic() < deadline:
        tell(min(1.0, reader.log.read_text().count("\n") / len(listed)), "reading")
        time.sleep(0.05)
    ended = reader.exit_code()
    reader.ask_to_stop()
    reader.wait_stopped(time.monotonic() + 5)
    told = reader.log.read_text().splitlines()  # libraries may write there too
    answers = [json.loads(line) for line in told if line.startswith(f'{{"{first}"')]
    if not answers:
        raise Unavailable(f"the reader ended with {ended}: {tail(reader.log)}")
    whole = ended == 0 and len(answers) == len(listed)
    return Reading(answers, None if whole else f"ended the reader ({ended}): {tail(reader.log)}")


def too_much(answer: dict[str, Any], *, seconds: float, grown_kb: int) -> str | None:
    """What the reader spent on one file beyond these bounds of processor time and memory."""
    if answer["seconds"] > seconds:
        return f"it took {answer['seconds']} s of processor time"
    return f"the reader grew by {answer['grown_kb']} kB" if answer["grown_kb"] > grown_kb else None
