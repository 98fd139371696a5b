"""A check, and how all of them are run: at once, each with a time limit, so that one that hangs hides no other."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from services.fleet.keeper.settings import KeeperSettings
from tidewheel.contracts.errors import Overloaded, TidewheelError


class State(StrEnum):
    """What a line says."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One thing that was looked at."""

    check: str  #: which check it belongs to
    state: State
    told: str  #: what was found
    remedy: str = ""  #: what to do, where the state is not ok


@dataclass(frozen=True, slots=True)
class Patient:
    """Whom the doctor looks at: the settings, and what `up` says of the fleet that runs in their home."""

    settings: KeeperSettings
    fleet: dict[str, Any]  #: fleet.json; empty where no fleet runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check; `look` yields its lines, and may raise what our libraries raise."""

    name: str
    waits_for: str  #: what it may have to wait for
    look: Callable[[Patient], Iterable[Line]]


def ok(check: str, told: str) -> Line:
    """A line without a remedy."""
    return Line(check=check, state=State.OK, told=told)


def warn(check: str, told: str, remedy: str) -> Line:
    """Something that a person should know of."""
    return Line(check=check, state=State.WARN, told=told, remedy=remedy)


def fail(check: str, told: str, remedy: str) -> Line:
    """Something that does not work."""
    return Line(check=check, state=State.FAIL, told=told, remedy=remedy)


def examined(patient: Patient, checks: Sequence[Check], seconds: float) -> list[Line]:
    """The lines of all checks in their order; a check that takes longer than `seconds` is a failed line."""
    looks = [_Look(check, patient) for check in checks]
    deadline = time.monotonic() + seconds
    for look in looks:
        look.start()
    for look in looks:
        look.join(max(0.0, deadline - time.monotonic()))
    return [line for look in looks for line in look.found(seconds)]


class _Look(threading.Thread):
    """One check at work; left alone when its time is over, for it only reads."""

    def __init__(self, check: Check, patient: Patient) -> None:
        super().__init__(name=f"doctor {check.name}", daemon=True)
        self._check, self._patient = check, patient
        self._lines: list[Line] = []
        self._ended = False

    def run(self) -> None:
        name = self._check.name
        try:
            self._lines.extend(self._check.look(self._patient))
        except TidewheelError as error:
            # Our errors are a sentence with the remedy behind the semicolon.
            told, _, remedy = error.detail.partition("; ")
            passing = isinstance(error, Overloaded)  # the fleet waits for that by itself
            state = warn if passing else fail
            self._lines.append(state(name, told, remedy or ("wait until then" if passing else "mend what it names")))
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            self._lines.append(fail(name, f"{place}{error.strerror or error}", "mend that, or name another place"))
        self._ended = True

    def found(self, seconds: float) -> list[Line]:
        if self._ended:
            return self._lines
        told = f"no answer within {seconds:g} s; it waited for {self._check.waits_for}"
        return [fail(self._check.name, told, "look whether that runs and can be reached, or give more --seconds")]
