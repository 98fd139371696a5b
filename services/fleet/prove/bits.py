"""R9, bit rot: every flipped bit of a published bundle is found before a reader gets anything of it."""

import random
from collections.abc import Callable
from pathlib import Path

from services.fleet.prove.apparatus.bundles import FAMILY, stage
from services.fleet.prove.proof import Budget, Tally, Tell
from tidewheel.contracts.errors import BadBundle
from tidewheel.modelstore.store import ModelStore


def prove(budget: Budget, tell: Tell, *, store: Callable[[Path], ModelStore] = ModelStore) -> Tally:
    """A trial: flip one bit of one byte, open the version, put the byte back.

    Files take turns, so that a small one is hit as often as a large one.
    """
    dice, tally = random.Random(budget.seed), Tally()
    models = store(budget.ground.folder / f"bits-{budget.seed}")
    staged = stage(models, mark=7)
    bundle = models.publish(staged)
    models.point(FAMILY, staged.version)
    files = sorted(bundle.iterdir())
    for file in files:
        file.chmod(0o644)
    while tally.trials < budget.trials:
        file = files[tally.trials % len(files)]
        intact = file.read_bytes()
        place, bit = dice.randrange(len(intact)), 1 << dice.randrange(8)
        file.write_bytes(intact[:place] + bytes([intact[place] ^ bit]) + intact[place + 1 :])
        try:
            models.open(FAMILY)
            tally.broken(f"bit {bit:#04x} of byte {place} of {file.name} was flipped, and the bundle was opened")
        except BadBundle:
            pass  # found
        file.write_bytes(intact)
        tally.trials += 1
        tell(tally.trials / budget.trials, file.name)
    models.open(FAMILY)  # intact again, or the refusals above said nothing
    return tally
