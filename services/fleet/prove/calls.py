"""R2, calls: a worker dies at each system call of seal, claim, publish, finish and rollback, of a regime's run and of a
registered model's; another carries on."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.fleet.local.processes import Child, tail
from services.fleet.prove.apparatus import beside
from services.fleet.prove.ground import DIALECTS
from services.fleet.prove.programs import sweeper
from services.fleet.prove.proof import Budget, Tally, Tell
from tidewheel.contracts.errors import Unavailable

EVERY = 1_000  #: trials from which on each call is tried, however many there are
_SILENCE_SECONDS = 120.0


def prove(budget: Budget, tell: Tell, *, program: str = sweeper.__name__) -> Tally:
    """A trial is one death; both dialects are swept, `trials` calls spread over each, or every one."""
    tally = Tally()
    trials = 0 if budget.trials >= EVERY else budget.trials // len(DIALECTS)
    for number, dialect in enumerate(DIALECTS):
        place = budget.ground.fresh(dialect)
        died: Counter[str] = Counter()
        child = beside.start(program, place.dsn, place.data_dir, budget.seed, trials, folder=place.data_dir)
        try:
            for told in _told(child, place.data_dir / sweeper.TOLD):
                if told["n"]:
                    tally.trials += 1
                    died[told["call"]] += 1
                for wrong in told["wrong"]:
                    tally.broken(f"{dialect}, killed at call {told['n']} ({told['call']}): {wrong}")
                tell((number + told["done"] / told["of"]) / len(DIALECTS), f"{dialect}, call {told['n']}")
        finally:
            child.ask_to_stop()
            child.wait_stopped(time.monotonic() + 10)
        budget.ground.drop(place)
        tally.figures.append(
            f"{dialect}: died at " + ", ".join(f"{name} {count}" for name, count in died.most_common())
        )
    return tally


def _told(child: Child, file: Path) -> Iterator[dict[str, Any]]:
    """The program's lines as they come, until it ends.

    Raises:
        Unavailable: it could not try, or fell silent.
    """
    seen, heard = 0, time.monotonic()
    while True:
        code = child.exit_code()
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        for line in whole[seen:]:
            seen, heard = seen + 1, time.monotonic()
            yield json.loads(line)
        if code == 0:
            return
        if code is not None or time.monotonic() - heard > _SILENCE_SECONDS:
            raise Unavailable(f"the sweep of system calls ended with {code}:\n{tail(child.log)}")
        time.sleep(0.05)
