"""`tidewheel doctor`."""

from dataclasses import asdict

import click

from services.fleet.output import json_option, print_json


@click.command()
@click.option("--exchange", help="ccxt's id of the exchange to ask.  [default: EXCHANGE]")
@click.option(
    "--seconds", type=click.FloatRange(min=0.1), default=20.0, show_default=True, help="Time limit of the checks."
)
@json_option
@click.pass_context
def doctor(ctx: click.Context, exchange: str | None, seconds: float, as_json: bool) -> None:
    """Check this machine, the settings, and the ledger, broker and exchange that they name; changes nothing.

    Each line is ok, warn or fail, and below it stands what to do. Exit status 1 when a line failed.
    """
    import logging

    import ccxt  # noqa: F401 - a second's work, which is not the exchange's time

    from services.fleet.doctor.check import Patient, State, examined
    from services.fleet.doctor.checks import CHECKS
    from services.fleet.keeper.settings import KeeperSettings
    from services.fleet.local.processes import same_process
    from services.fleet.local.supervisor import read_state
    from tidewheel.kit.settings import load

    logging.getLogger("tidewheel").addHandler(logging.NullHandler())  # the table tells what went wrong
    settings = load(KeeperSettings, **({} if exchange is None else {"exchange": exchange}))
    fleet = read_state(settings.tidewheel_home)
    alive = [row for row in fleet.get("processes", []) if same_process(row["pid"], row["created"])]
    lines = examined(Patient(settings, {**fleet, "processes": alive}), CHECKS, seconds)
    if as_json:
        print_json([asdict(line) for line in lines])
    else:
        width = max(len(line.check) for line in lines)
        colours = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red"}
        for line in lines:
            click.echo(f"{click.style(f'{line.state:<4}', fg=colours[line.state])}  {line.check:<{width}}  {line.told}")
            if line.remedy:
                click.echo(f"{'':<{width + 8}}-> {line.remedy}")
        counts = {state: sum(line.state is state for line in lines) for state in State}
        click.echo(", ".join(f"{count} {state}" for state, count in counts.items()))
    if any(line.state is State.FAIL for line in lines):
        ctx.exit(1)
