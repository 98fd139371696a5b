"""The hunt: the tests run once to see which statements each of them executes, then once for every slip.

A slip is planted in a fork of the process, where the tests of its statement run until one
fails: first those that found another slip in the same function, then the quickest.
"""

import linecache
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from sqlalchemy import ClauseElement, Connection, Engine, Insert, Update, event

import tidewheel.ledger
from tests.sql_mutants.rules import LATE_LOCK, reworded, rules
from tests.sql_mutants.slips import LOCKING, slips, text
from tidewheel.ledger.tables import metadata

_LEDGER = Path(tidewheel.ledger.__file__).parent
_ROOMS = (
    _LEDGER,
    _LEDGER / "control",
    _LEDGER / "registry",
)  #: whose statements are the ledger's own; migrations are not
_ENOUGH = 60.0  #: seconds of tests for one slip, the quickest tests first
_BROKEN = 251  #: exit code of a fork that could not plant
_NONE = 250  #: exit code of a fork none of whose tests failed; otherwise it is the failing one's number
_PATIENCE = 180.0  #: seconds; after them a slip counts as found, for its tests hang


@dataclass(frozen=True, order=True, slots=True)
class Mutant:
    """One slip in what one line of the ledger executes, whichever optional conditions it has there."""

    place: str  #: module.function, the module as a path below the ledger; or schema.table
    line: int  #: 0 where it is no statement's
    slip: str
    code: str  #: the line

    def __str__(self) -> str:
        return f"{self.place}: {self.slip}"


class Outcome(StrEnum):
    FOUND = "found"
    EQUIVALENT = "equivalent"  #: known to change nothing that anybody could see: not planted
    SURVIVED = "SURVIVED"


@dataclass
class Hunt:
    """A pytest plugin that takes the place of the session's loop."""

    sample: int | None  #: how many mutants, all where None
    seed: int  #: of the draw
    places: Sequence[str] = ()  #: only of statements whose place begins so; all where empty
    slips: Sequence[str] = ()  #: only those whose name begins so; all where empty
    equivalent: Callable[[Mutant], bool] = lambda _: False  #: whether it is known that nobody could notice
    outcomes: dict[Mutant, Outcome] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)  #: of the slips in a statement, by its text
    sharp: dict[str, set[pytest.Item]] = field(default_factory=dict)  #: tests that found a slip in the same place
    tests: dict[Mutant, dict[pytest.Item, float]] = field(default_factory=dict)  #: that execute it; their seconds

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """See what the tests execute, then plant."""
        for item in session.items:
            self._watch(session, item)
        drawn = sorted(
            each
            for each in self.tests
            if each.place.startswith(tuple(self.places) or "") and each.slip.startswith(tuple(self.slips) or "")
        )
        if self.sample is not None and self.sample < len(drawn):
            drawn = sorted(random.Random(self.seed).sample(drawn, self.sample))
        for number, mutant in enumerate(drawn, start=1):
            self.outcomes[mutant] = self._outcome(session, mutant)
            print(f"{number}/{len(drawn)} {self.outcomes[mutant]} {mutant}", flush=True)
        return True

    def _outcome(self, session: pytest.Session, mutant: Mutant) -> Outcome:
        if self.equivalent(mutant):
            return Outcome.EQUIVALENT
        return Outcome.FOUND if self._noticed(session, mutant) else Outcome.SURVIVED

    def _watch(self, session: pytest.Session, item: pytest.Item) -> None:
        """Run a test and note what could be planted in its way; without slips it has to pass."""
        executed: dict[tuple[str, int, str], tuple[ClauseElement, bool]] = {}

        def note(statement: ClauseElement, place: str, line: int, locks: bool) -> ClauseElement:
            executed.setdefault((place, line, text(statement)), (statement, locks))
            return statement

        started = time.monotonic()
        with _executed(note):
            failure = _failure(session, item)
        assert failure is None, f"{item.nodeid} fails without any slip; mend that first: {failure}"
        took = time.monotonic() - started
        for (place, line, sql), (statement, locks) in executed.items():
            if sql not in self.names:
                self.names[sql] = tuple(slips(statement)[1])
            for mutant in _of_rules(statement, locks):
                self.tests.setdefault(mutant, {})[item] = took
            code = linecache.getline(str(_LEDGER / f"{place.partition('.')[0]}.py"), line).strip()
            for slip in self.names[sql]:
                if locks or not slip.startswith(LOCKING):
                    self.tests.setdefault(Mutant(place, line, slip, code), {})[item] = took

    def _noticed(self, session: pytest.Session, mutant: Mutant) -> bool:
        sharp = self.sharp.setdefault(mutant.place, set())
        order = sorted(self.tests[mutant].items(), key=lambda each: (each[0] not in sharp, each[1]))
        seconds = list(accumulate(took for _, took in order))
        tests = [item for (item, _), sum_ in zip(order, seconds, strict=True) if sum_ <= max(_ENOUGH, seconds[0])]
        child = os.fork()
        if not child:
            os.setsid()  # what its tests start ends with it
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            code = _BROKEN
            try:
                with _planted(mutant, tests[0]):
                    failing = (number for number, item in enumerate(tests) if _failure(session, item))
                    code = min(next(failing, _NONE), _NONE)
            finally:
                os._exit(code)
        deadline = time.monotonic() + _PATIENCE
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.005)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if ended == (0, 0):
            os.waitpid(child, 0)
            return True
        code = os.waitstatus_to_exitcode(ended[1])
        assert code != _BROKEN, f"{mutant} could not be planted"
        sharp.update(tests[code : code + 1] if code >= 0 else ())
        return code != _NONE


def _failure(session: pytest.Session, item: pytest.Item) -> str | None:
    """Run the test; how it failed."""
    item._initrequest()  # type: ignore[attr-defined]
    # The session itself as what comes next: its servers are kept.
    reports = runtestprotocol(item, log=False, nextitem=session)  # type: ignore[arg-type]
    return next((report.longreprtext for report in reports if report.failed), None)


def _of_rules(statement: ClauseElement, locks: bool) -> Iterator[Mutant]:
    """What a statement that writes may miss in the schema, and on SQLite in its transaction."""
    if isinstance(statement, Insert | Update):
        for slip in rules(statement.table):  # type: ignore[arg-type]
            yield Mutant(f"schema.{statement.table}", 0, slip, "")
        for slip in () if locks else LATE_LOCK:
            yield Mutant("engine.begin", 0, slip, "")


def _planted(mutant: Mutant, item: pytest.Item) -> AbstractContextManager[None]:
    known = LATE_LOCK | {slip: rule for table in metadata.tables.values() for slip, rule in rules(table).items()}
    if not mutant.line:
        return reworded(item, *known[mutant.slip])
    return _executed(lambda statement, place, line, _: _slipped(statement, place, line, mutant))


def _slipped(statement: ClauseElement, place: str, line: int, mutant: Mutant) -> ClauseElement:
    if (place, line) != (mutant.place, mutant.line):
        return statement
    changed, found = slips(statement)
    if mutant.slip in found:
        found[mutant.slip]()
    return changed  # type: ignore[no-any-return]


@contextmanager
def _executed(change: Callable[[ClauseElement, str, int, bool], ClauseElement]) -> Iterator[None]:
    """Put `change` before every statement that the ledger's own code executes; tests and migrations are left alone."""

    def before(connection: Connection, statement: Any, many: Any, one: Any, options: Any) -> Any:
        frame: Any = sys._getframe(1)
        reflects = False  # what SQLAlchemy asks for itself, such as whether there is a table
        while "sqlalchemy" in frame.f_code.co_filename:
            reflects = reflects or frame.f_code.co_filename.endswith("reflection.py")
            frame = frame.f_back
        file = Path(frame.f_code.co_filename)
        if file.parent in _ROOMS and not reflects:
            place = f"{file.relative_to(_LEDGER).with_suffix('').as_posix()}.{frame.f_code.co_name}"
            changed = change(statement, place, frame.f_lineno, connection.dialect.name == "postgresql")
            if changed is not statement:
                # To SQLAlchemy's cache a function of another name is the same statement.
                connection.engine._compiled_cache = None
            statement = changed
        return statement, many, one

    event.listen(Engine, "before_execute", before, retval=True)
    try:
        yield
    finally:
        event.remove(Engine, "before_execute", before)
