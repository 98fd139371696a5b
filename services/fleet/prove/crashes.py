"""R7, crashes: whatever a crash leaves of an unsynced file or folder, the old version or the new one is whole.

The real code publishes, promotes, rolls back and seals while a recorder listens; every state that a crash may leave
between two of its operations is built anew, and the real reader, keeper and ingester go on from it.
"""

import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from services.fleet.local.processes import tail
from services.fleet.prove.apparatus import beside
from services.fleet.prove.apparatus.bundles import FAMILY, marks, stage
from services.fleet.prove.apparatus.crash_states import CrashState, crash_states
from services.fleet.prove.programs import recorded_steps
from services.fleet.prove.proof import Budget, Tally, Tell
from services.ml_trainer.service.projection import Projection
from tidewheel.contracts.errors import NotFound, TidewheelError, Unavailable
from tidewheel.ledger.open import Ledger, open_ledger
from tidewheel.modelstore.removal import leftovers, remove
from tidewheel.modelstore.store import ModelStore

KINDS = ("candles", "models")
_PATIENCE = 120.0  #: seconds for a recorded program


def prove(budget: Budget, tell: Tell, *, program: str = recorded_steps.__name__) -> Tally:
    """A trial is a state; where there are more than the budget, as many are drawn from all."""
    dice, tally = random.Random(budget.seed), Tally()
    home = budget.ground.folder / f"crashes-{time.monotonic_ns()}"
    home.mkdir()
    states: list[tuple[str, CrashState]] = []
    for kind in KINDS:
        (home / kind).mkdir()
        states += [(kind, state) for state in crash_states(_record(program, kind, home / kind))]
    if len(states) > budget.trials:
        states = dice.sample(states, budget.trials)
    for number, (kind, state) in enumerate(states, start=1):
        disk = home / kind / "disk"
        shutil.rmtree(disk)
        disk.mkdir()
        state.build(disk)
        judge = _judge_models if kind == "models" else _judge_candles
        with capture_logs():  # what the keeper says of a crash's remains is no news here
            found = list(judge(home / kind, disk, state))
        for wrong in found:
            tally.broken(f"{kind}, a crash after operation {state.after}: {wrong}; left were {_shown(state)}")
        tally.trials += 1
        tell(number / len(states), f"{kind}, {number} of {len(states)} states")
    shutil.rmtree(home)
    return tally


def _record(program: str, kind: str, folder: Path) -> dict[str, Any]:
    child = beside.start(program, kind, folder, folder=folder)
    deadline = time.monotonic() + _PATIENCE
    while child.exit_code() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if child.exit_code() != 0:
        child.ask_to_stop()
        child.wait_stopped(time.monotonic() + 5)
        raise Unavailable(f"the recorded program ended with {child.exit_code()}: {tail(child.log)}")
    recorded: dict[str, Any] = json.loads((folder / "operations.json").read_text())
    return recorded


def _ledger_then(folder: Path, state: CrashState, disk: Path) -> Ledger:
    """The ledger as its last commit before the crash left it."""
    then = folder / "then"
    shutil.rmtree(then, ignore_errors=True)
    then.mkdir()
    file = then / "ledger.sqlite"
    shutil.copyfile(folder / f"ledger-{state.marks['ledger']}.sqlite", file)
    return open_ledger(f"sqlite:///{file}", disk)


def _judge_models(folder: Path, disk: Path, state: CrashState) -> Iterator[str]:
    if "ledger" not in state.marks:
        return
    store = ModelStore(disk / "models")
    champion, pointed = state.marks["champion"], state.marks["pointed"]
    try:
        found = _read(store)
        if found not in (champion, pointed):
            yield f"a reader found {found}, and neither {champion} nor {pointed}"
    except NotFound as nothing:
        if pointed is not None:
            yield f"a reader found nothing: {nothing.detail}"
    except (TidewheelError, OSError, AssertionError) as error:
        yield f"a reader met {error}"
    ledger = _ledger_then(folder, state, disk)
    try:
        yield from _recovered(store, ledger, champion)
    except (TidewheelError, OSError, AssertionError) as error:
        yield f"the keeper met {error}"
    finally:
        ledger.close()


def _recovered(store: ModelStore, ledger: Ledger, champion: str | None) -> Iterator[str]:
    """The keeper's turn, and a trainer's after it."""
    moves = len(ledger.versions.promotions(FAMILY))
    Projection(ledger, store).reconcile(FAMILY)
    if len(ledger.versions.promotions(FAMILY)) != moves:
        yield "the keeper took the crash for a hand at `current` and moved the champion"
    elif champion is not None and _read(store) != champion:
        yield f"the keeper left {store.current(FAMILY)} in place of {champion}"
    for leftover in [*store.models_dir.rglob(".*")]:
        os.utime(leftover, (0, 0), follow_symlinks=False)
    for leftover in leftovers(store.models_dir):
        remove(store.models_dir, leftover)
    left = [path.name for path in store.models_dir.rglob(".*") if path.name != ".staged"]
    if left:
        yield f"{left} stayed after the keeper had tidied"
    for version in store.versions(FAMILY):
        store.open(FAMILY, version)
    staged = stage(store, 2)
    store.publish(staged)
    store.discard(staged)
    store.open(FAMILY, staged.version)


def _read(store: ModelStore) -> str:
    bundle = store.open(FAMILY)
    assert len(marks(bundle)) == 1, f"parts of several versions in {bundle.manifest.version}"
    return bundle.manifest.version


def _judge_candles(folder: Path, disk: Path, state: CrashState) -> Iterator[str]:
    if "ledger" not in state.marks:
        return
    ledger = _ledger_then(folder, state, disk)
    bars = state.marks["bars"]
    try:
        if len(ledger.bars.read(recorded_steps.STREAM)) != bars:
            yield f"{len(ledger.bars.read(recorded_steps.STREAM))} bars can be read of {bars} that the ledger stored"
        recorded_steps.seal(ledger)  # the next seal takes over what the crash left
        if len(ledger.bars.read(recorded_steps.STREAM)) != bars:
            yield f"after the next seal, {len(ledger.bars.read(recorded_steps.STREAM))} bars can be read of {bars}"
        yield from (f"fsck: {finding.detail}" for finding in ledger.fsck() if not finding.ok)
    except (TidewheelError, OSError) as error:
        yield f"the ingester met {error}"
    finally:
        ledger.close()


def _shown(state: CrashState) -> str:
    return ", ".join(f"{path} ({len(content)} bytes)" if kind == "file" else path for path, kind, content in state.tree)
