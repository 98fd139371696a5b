"""R9, hostile bundles: each is refused with its reason, in bounded memory and time, and nothing in it runs."""

import json
import time

from services.fleet.local.processes import tail
from services.fleet.prove.apparatus import beside, forgery
from services.fleet.prove.programs import hostile_reader
from services.fleet.prove.proof import Budget, Tally, Tell
from tidewheel.contracts.errors import Unavailable

SECONDS = 5.0  #: of processor time for one bundle
GROWTH_KB = 1_000_000  #: that one bundle may make the reader grow by
_PATIENCE = 300.0


def prove(budget: Budget, tell: Tell, *, program: str = hostile_reader.__name__) -> Tally:
    """A trial is a bundle, of as many tricks as there are."""
    home = budget.ground.folder / f"hostile-{time.monotonic_ns()}"
    home.mkdir()
    made = forgery.forge_all(home, budget.trials)
    names = home / "folders.json"
    names.write_text(json.dumps([str(folder) for folder in made.values()]))
    reader = beside.start(program, names, folder=home)
    deadline = time.monotonic() + _PATIENCE
    while reader.exit_code() is None and time.monotonic() < deadline:
        tell(min(1.0, reader.log.read_text().count("\n") / len(made)), "reading")
        time.sleep(0.05)
    ended = reader.exit_code()
    reader.ask_to_stop()
    reader.wait_stopped(time.monotonic() + 5)
    told = [json.loads(line) for line in reader.log.read_text().splitlines() if line.startswith("{")]
    tally = Tally(trials=len(told))
    for what, answer in zip(made, told, strict=False):
        wrong = _wrong(answer)
        if wrong is not None:
            tally.broken(f"{what}: {wrong}")
    if (home / "trap").exists():
        tally.broken("something in a bundle was run: the trap is there")
    if ended != 0 or len(told) < len(made):
        if not told:
            raise Unavailable(f"the reader ended with {ended}: {tail(reader.log)}")
        tally.broken(f"{[*made][len(told) - 1]}, or the one after it, ended the reader ({ended}): {tail(reader.log)}")
    return tally


def _wrong(answer: dict[str, object]) -> str | None:
    if answer["harm"] is not None:
        return f"it was not refused but met {answer['harm']}"
    if not answer["reason"]:
        return "it was loaded"
    if float(str(answer["seconds"])) > SECONDS:
        return f"it took {answer['seconds']} s of processor time to refuse"
    if int(str(answer["grown_kb"])) > GROWTH_KB:
        return f"the reader grew by {answer['grown_kb']} kB"
    return None
