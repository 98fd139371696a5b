"""R7, swaps: readers in processes of their own load the current version while it is moved, published and pruned."""

import json
import time

from services.fleet.local.processes import Child
from services.fleet.prove.apparatus import beside
from services.fleet.prove.apparatus.bundles import FAMILY, stage
from services.fleet.prove.programs import reader
from services.fleet.prove.proof import Budget, Tally, Tell
from tidewheel.contracts.errors import Unavailable
from tidewheel.modelstore.store import ModelStore

READERS = 2
LOADS_PER_SWAP = 10
_KEPT = 4  #: versions between which `current` moves
_RENEWED = 5  #: each so many swaps a version is published, and the oldest pruned


def prove(budget: Budget, tell: Tell, *, program: str = reader.__name__) -> Tally:
    """A trial is a load; there are ten for each swap of the budget, and swaps go on until the last load."""
    folder = budget.ground.folder / f"swaps-{time.monotonic_ns()}"
    folder.mkdir()
    store = ModelStore(folder / "models")
    versions = [_publish(store, mark) for mark in range(_KEPT)]
    store.point(FAMILY, versions[0])
    loads = budget.trials * LOADS_PER_SWAP
    readers = [beside.start(program, folder, loads // READERS, folder=folder) for _ in range(READERS)]
    swaps = 0
    try:
        while swaps < budget.trials or any(each.exit_code() is None for each in readers):
            swaps += 1
            if swaps % _RENEWED == 0:
                versions.append(_publish(store, _KEPT + swaps))
                store.prune(FAMILY, versions[:-_KEPT])
                versions = versions[-_KEPT:]
            store.point(FAMILY, versions[swaps % _KEPT])
            if swaps == budget.trials:
                (folder / reader.ENOUGH).touch()
            tell(min(1.0, swaps / budget.trials), f"{swaps} swaps")
    finally:
        for each in readers:
            each.ask_to_stop()
        for each in readers:
            each.wait_stopped(time.monotonic() + 5)
    return _sum(readers)


def _publish(store: ModelStore, mark: int) -> str:
    staged = stage(store, mark)
    store.publish(staged)
    return staged.version


def _sum(readers: list[Child]) -> Tally:
    tally = Tally()
    for each in readers:
        if each.exit_code() != 0:
            raise Unavailable(f"a reader ended with {each.exit_code()}; see {each.log}")
        said = json.loads(each.log.read_text().splitlines()[-1])
        tally.trials += said["trials"]
        tally.violations += said["violations"]
        tally.first = tally.first or said["first"]
    return tally
