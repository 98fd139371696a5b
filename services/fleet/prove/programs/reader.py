"""The reader of the proof `swaps`: loads the current version again and again, and judges each load by its marks."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from services.fleet.prove.apparatus.bundles import FAMILY, marks
from services.fleet.prove.proof import Tally
from tidewheel.contracts.errors import TidewheelError
from tidewheel.modelstore.store import ModelStore

ENOUGH = "enough"  #: file that appears when the last swap of the budget was made


def read(store: ModelStore, loads: int, enough: Path) -> Tally:
    """Load at least `loads` times, and until `enough` exists."""
    tally = Tally()
    while tally.trials < loads or not enough.exists():
        try:
            found = marks(store.open(FAMILY))
            if len(found) != 1:
                tally.broken(f"one load held parts of the versions with the marks {sorted(found)}")
        except (TidewheelError, OSError) as error:
            tally.broken(f"a load failed: {error}")
        tally.trials += 1
    return tally


def main(store: type[ModelStore] = ModelStore) -> None:
    """`python -m services.fleet.prove.programs.reader FOLDER LOADS`: prints its tally as JSON."""
    folder, loads = Path(sys.argv[1]), int(sys.argv[2])
    print(json.dumps(asdict(read(store(folder / "models"), loads, folder / ENOUGH))))


if __name__ == "__main__":
    main()
