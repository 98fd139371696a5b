"""`tidewheel up`, `demo`, `status`."""

import time
from pathlib import Path

import click

from services.fleet.output import json_option, print_json


def _say(line: str) -> None:
    click.echo(f"tidewheel: {line}", err=True)


@click.command()
@click.option("--sim", is_flag=True, help="Ingest from a simulated exchange, in the folder `sim` of the home.")
@click.option("--pg", is_flag=True, help="Keep the ledger in a supervised Postgres.")
@click.option(
    "--port-base", type=click.IntRange(1, 65_000), help="The edge's port; the others follow.  [default: 8000]"
)
def up(sim: bool, pg: bool, port_base: int | None) -> None:
    """Start the fleet on this machine; Ctrl-C stops it, and the next `up` goes on from there."""
    from services.fleet.local.up import up as run

    run(simulate=sim, with_postgres=pg, port_base=port_base, say=_say)


@click.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show how the fleet stands: what wants attention, processes, streams, files, runs, champion, queues, disk.

    Exit status 0 when all is well, 1 when something wants attention.
    """
    import shutil

    from services.fleet.keeper.settings import KeeperSettings
    from services.fleet.status.parts import status as ask
    from services.fleet.status.screen import screen
    from tidewheel.kit.settings import load

    told = ask(load(KeeperSettings))
    if as_json:
        print_json(told)
    else:
        click.echo(screen(told, *shutil.get_terminal_size((100, 40))))
    if told["warnings"]:
        ctx.exit(1)


@click.command()
@click.option("--seed", default=1, show_default=True, help="Seed of the simulated market.")
@click.option("--replay", help="Recorded candles instead: FILE[,FILE], feather, parquet or csv.")
@click.option("--timeframe", help="Timeframe that the recorded candles must have, such as 5m.")
@json_option
def demo(seed: int, replay: str | None, timeframe: str | None, as_json: bool) -> None:
    """Run the whole loop once in `demo` under the home, which is wiped first."""
    from services.fleet.demo.report import print_report
    from services.fleet.demo.steps import replay_demo, run_demo
    from services.fleet.display import display
    from services.fleet.local.supervisor import interrupt_on_stop_signals
    from tidewheel.kit.settings import Settings, load

    if timeframe and replay is None:
        raise click.UsageError("--timeframe goes with --replay; the scenario is of 1m")
    started = time.monotonic()
    interrupt_on_stop_signals()
    home: Path = load(Settings).tidewheel_home / "demo"
    home.mkdir(parents=True, exist_ok=True)
    if replay is not None:
        files = tuple(part.strip() for part in replay.split(",") if part.strip())
        if not files:
            raise click.UsageError("--replay needs recorded candles: FILE[,FILE]")
        report = replay_demo(home, display(), files=files, timeframe=timeframe)
    else:
        report = run_demo(home, display(), seed=seed)
    seconds = time.monotonic() - started
    if as_json:
        print_json({**report.as_json(), "seconds": round(seconds, 1)})
    else:
        print_report(report, seconds)
