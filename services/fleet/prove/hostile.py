"""R9, hostile bundles: each is refused with its reason, in bounded memory and time, and nothing in it runs."""

import time
from typing import Any

from services.fleet.prove.apparatus import forgery
from services.fleet.prove.apparatus.readers import read_all, too_much
from services.fleet.prove.programs import hostile_reader
from services.fleet.prove.proof import Budget, Tally, Tell

SECONDS = 5.0  #: of processor time for one bundle
GROWTH_KB = 1_000_000  #: that one bundle may make the reader grow by
_PATIENCE = 300.0


def prove(budget: Budget, tell: Tell, *, program: str = hostile_reader.__name__) -> Tally:
    """A trial is a bundle, of as many tricks as there are."""
    home = budget.ground.folder / f"hostile-{time.monotonic_ns()}"
    home.mkdir()
    made = forgery.forge_all(home, budget.trials)
    reading = read_all(program, [*made.values()], home, tell, first="reason", patience=_PATIENCE)
    tally = Tally(trials=len(reading.answers))
    for what, answer in zip(made, reading.answers, strict=False):
        wrong = _wrong(answer)
        if wrong is not None:
            tally.broken(f"{what}: {wrong}")
    if (home / "trap").exists():
        tally.broken("something in a bundle was run: the trap is there")
    if reading.broke_off is not None:
        tally.broken(f"{[*made][len(reading.answers) - 1]}, or the one after it, {reading.broke_off}")
    return tally


def _wrong(answer: dict[str, Any]) -> str | None:
    if answer["harm"] is not None:
        return f"it was not refused but met {answer['harm']}"
    if not answer["reason"]:
        return "it was loaded"
    return too_much(answer, seconds=SECONDS, grown_kb=GROWTH_KB)
