"""`tidewheel tour NAME`."""

import time
from pathlib import Path

import click

from services.fleet.output import json_option, print_json


@click.group()
def tour() -> None:
    """Show one part of the product at work on a simulated market, in minutes."""


@tour.command()
@click.option("--seed", default=1, show_default=True, help="Seed of the simulated market.")
@json_option
def param(seed: int, as_json: bool) -> None:
    """An engine trades with parameters that the controller picks, in `tour-param` under the home, wiped first."""
    from services.fleet.display import display
    from services.fleet.local.supervisor import interrupt_on_stop_signals
    from services.fleet.tour.param import print_tour, run_tour
    from tidewheel.kit.settings import Settings, load

    started = time.monotonic()
    interrupt_on_stop_signals()
    home: Path = load(Settings).tidewheel_home / "tour-param"
    home.mkdir(parents=True, exist_ok=True)
    told = run_tour(home, display(), seed=seed)
    seconds = time.monotonic() - started
    if as_json:
        print_json({**told.as_json(), "seconds": round(seconds, 1)})
    else:
        print_tour(told, seconds)
