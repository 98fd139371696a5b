"""R9, R16, models that users bring: whatever becomes of a file's bytes, it is refused or it answers in numbers."""

import json
import random
import time
from collections import Counter
from pathlib import Path

from services.fleet.local.processes import tail
from services.fleet.prove.apparatus import beside, mutations
from services.fleet.prove.programs import model_reader
from services.fleet.prove.proof import Budget, Tally, Tell
from tidewheel.contracts.errors import Unavailable

SECONDS = 10.0  #: of processor time for one file
GROWTH_KB = 1_000_000  #: that one file may make the reader grow by
_PATIENCE = 1_800.0


def prove(budget: Budget, tell: Tell, *, program: str = model_reader.__name__) -> Tally:
    """A trial: a sound model of one format, mutated, is checked, loaded and asked; formats take turns."""
    home = budget.ground.folder / f"models-{time.monotonic_ns()}"
    home.mkdir()
    made = _mutants(home, budget)
    listed = home / "files.json"
    listed.write_text(json.dumps([str(path) for path in made]))
    reader = beside.start(program, listed, folder=home)
    deadline = time.monotonic() + _PATIENCE
    while reader.exit_code() is None and time.monotonic() < deadline:
        tell(min(1.0, reader.log.read_text().count("\n") / len(made)), "reading")
        time.sleep(0.05)
    ended = reader.exit_code()
    reader.ask_to_stop()
    reader.wait_stopped(time.monotonic() + 5)
    told = [json.loads(line) for line in reader.log.read_text().splitlines() if line.startswith('{"outcome"')]
    if not told:
        raise Unavailable(f"the reader ended with {ended}: {tail(reader.log)}")
    tally = Tally(trials=len(told))
    for (path, what), answer in zip(made.items(), told, strict=False):
        wrong = _wrong(answer)
        if wrong is not None:
            tally.broken(f"{path.name}, {what}: {wrong}")
    if ended != 0 or len(told) < len(made):
        path = [*made][min(len(told), len(made) - 1)]
        tally.broken(f"{path.name}, {made[path]}, ended the reader ({ended}): {tail(reader.log)}")
    counted = Counter(answer["outcome"] for answer in told)
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


def _wrong(answer: dict[str, object]) -> str | None:
    if answer["harm"] is not None:
        return f"it was neither refused nor answered but met {answer['harm']}"
    if float(str(answer["seconds"])) > SECONDS:
        return f"it took {answer['seconds']} s of processor time"
    if int(str(answer["grown_kb"])) > GROWTH_KB:
        return f"the reader grew by {answer['grown_kb']} kB"
    return None
