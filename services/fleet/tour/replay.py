"""A tour on recorded or made candles, which the simulated exchange plays from a file."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

from services.fleet.display import Display
from services.fleet.story import SETTINGS, Stage, Step, play, start

T = TypeVar("T")
_SETTINGS = {**SETTINGS, "TIDEWHEEL_HINT_SECONDS": "1", "TIDEWHEEL_REGISTRY_CRON": "0 0 1 1 *"}


def play_replay(
    home: Path, display: Display, file: Path, tour: T, acts: Iterable[tuple[str, Callable[[T, Stage], None]]]
) -> T:
    """Start the fleet in `home` beside an exchange that replays `file`, then let each act change the tour.

    The file is removed at the end; it must lie outside of `home`, which is wiped first.

    Raises:
        StepFailed: an act could not go on at all; names it and why.
    """
    steps = [Step("1. start the fleet", start)]
    for number, (title, act) in enumerate(acts, start=2):
        steps.append(Step(f"{number}. {title}", partial(act, tour)))
    try:
        play(home, display, steps, ("--replay", str(file.absolute()), "--speed", "0"), _SETTINGS)
    finally:
        file.unlink(missing_ok=True)
    return tour
