"""R9, R16, models that users bring: whatever becomes of a file's bytes, it is refused or it answers in numbers."""

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from services.fleet.prove.apparatus import mutations
from services.fleet.prove.apparatus.readers import read_all, too_much
from services.fleet.prove.programs import model_reader
from services.fleet.prove.proof import Budget, Tally, Tell

SECONDS = 10.0  #: of processor time for one file
GROWTH_KB = 1_000_000  #: that one file may make the reader grow by
_PATIENCE = 1_800.0


def prove(budget: Budget, tell: Tell, *, program: str = model_reader.__name__) -> Tally:
    """A trial: a sound model of one format, mutated, is checked, loaded and asked; formats take turns."""
    home = budget.ground.folder / f"models-{time.monotonic_ns()}"
    home.mkdir()
    made = _mutants(home, budget)
    reading = read_all(program, [*made], home, tell, first="outcome", patience=_PATIENCE)
    tally = Tally(trials=len(reading.answers))
    for (path, what), answer in zip(made.items(), reading.answers, strict=False):
        wrong = _wrong(answer)
        if wrong is not None:
            tally.broken(f"{path.name}, {what}: {wrong}")
    if reading.broke_off is not None:
        path = [*made][min(len(reading.answers), len(made) - 1)]
        tally.broken(f"{path.name}, {made[path]}, {reading.broke_off}")
    counted = Counter(answer["outcome"] for answer in reading.answers)
    tally.figures = [f"{counted['refused']} refused, {counted['served']} served in finite numbers"]
    return tally


def _mutants(home: Path, budget: Budget) -> dict[Path, str]:
    """Mutated files, each with what was done to it."""
    dice, sound = random.Random(budget.seed), mutations.sound_models()
    made = {}
    for number in range(budget.trials):
        name = [*sound][number % len(sound)]
        what, content = mutations.mutate(name, sound[name], dice)
        path = home / f"{number:05}-{name}"
        path.write_bytes(content)
        made[path] = what
    return made


def _wrong(answer: dict[str, Any]) -> str | None:
    if answer["harm"] is not None:
        return f"it was neither refused nor answered but met {answer['harm']}"
    return too_much(answer, seconds=SECONDS, grown_kb=GROWTH_KB)
