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
    from services.fleet.tour.param import print_tour, run_tour

    started = time.monotonic()
    told = run_tour(_home("tour-param"), display(), seed=seed)
    seconds = time.monotonic() - started
    if as_json:
        print_json({**told.as_json(), "seconds": round(seconds, 1)})
    else:
        print_tour(told, seconds)


@tour.command()
@click.option("--seed", default=1, show_default=True, help="Seed of the simulated market.")
@json_option
def registry(seed: int, as_json: bool) -> None:
    """Models of your own and of ours forecast and are measured, in `tour-registry` under the home, wiped first.

    Exit status 1 where the fleet broke a promise.
    """
    from services.fleet.display import display
    from services.fleet.tour.registry import report
    from services.fleet.tour.registry.steps import run_tour

    started = time.monotonic()
    told = run_tour(_home("tour-registry"), display(), seed=seed)
    seconds = time.monotonic() - started
    if as_json:
        print_json({**report.as_json(told), "seconds": round(seconds, 1)})
    else:
        report.print_tour(told, seconds)
    if told.checks.violations:
        raise SystemExit(1)


@tour.command()
@click.option("--seed", default=1, show_default=True, help="Seed of the made tickers.")
@json_option
def bounce(seed: int, as_json: bool) -> None:
    """Dips of made tickers become signals, by a model that is kept, in `tour-bounce` under the home, wiped first.

    Exit status 1 where the fleet broke a promise.
    """
    from services.fleet.display import display
    from services.fleet.tour.bounce import report
    from services.fleet.tour.bounce.steps import run_tour

    started, home = time.monotonic(), _home("tour-bounce")
    told = run_tour(home, display(), seed=seed)
    seconds, page = time.monotonic() - started, home / report.PAGE
    report.write_page(told, page)
    if as_json:
        print_json({**report.as_json(told), "seconds": round(seconds, 1), "report": str(page)})
    else:
        report.print_tour(told, page, seconds)
    if told.checks.violations:
        raise SystemExit(1)


def _home(name: str) -> Path:
    """The tour's own home; from here on a stop signal ends it in good order."""
    from services.fleet.local.supervisor import interrupt_on_stop_signals
    from tidewheel.kit.settings import Settings, load

    interrupt_on_stop_signals()
    home: Path = load(Settings).tidewheel_home / name
    home.mkdir(parents=True, exist_ok=True)
    return home
