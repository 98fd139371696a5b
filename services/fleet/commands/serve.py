"""`tidewheel serve ROLE`."""

from pathlib import Path

import click

from services.fleet.roles.worker import QUEUES
from tidewheel.contracts.messages import Queue
from tidewheel.contracts.roles import PORTS, Role

_ready_file = click.option(
    "--ready-file", type=click.Path(path_type=Path, dir_okay=False), help="File to touch once work is accepted."
)


@click.group()
def serve() -> None:
    """Run one role in the foreground until SIGTERM; settings come from the environment and .env."""


def _http(role: Role, sentence: str) -> None:
    @serve.command(role.value, help=sentence)
    @click.option("--port", type=click.IntRange(1, 65_535), help=f"Port to listen on.  [default: {PORTS[role]}]")
    def run(port: int | None) -> None:
        from services.fleet.roles.serve import serve_http_role

        serve_http_role(role, port)


_http(Role.EDGE, "The one address of the fleet: a proxy by the route table.")
_http(Role.INGESTER, "Fetches candles and answers about them.")
_http(Role.PARAM_CONTROLLER, "Chooses strategy parameters for engines, and learns from what came of them.")
_http(Role.ML_TRAINER, "Starts training runs and answers about runs and models.")
_http(Role.PREDICTOR, "Answers regimes from the current model, reloading it without a restart.")


@serve.command(Role.FLOWER.value)
@click.option("--port", type=click.IntRange(1, 65_535), help=f"Port to listen on.  [default: {PORTS[Role.FLOWER]}]")
def flower(port: int | None) -> None:
    """Celery's dashboard."""
    from services.fleet.roles.serve import serve_flower

    serve_flower(port)


@serve.command(Role.WORKER.value)
@click.option(
    "--queues",
    default=",".join(QUEUES),
    show_default=True,
    help="Queues to consume, separated by commas.",
)
@_ready_file
@click.pass_context
def worker(ctx: click.Context, queues: str, ready_file: Path | None) -> None:
    """A Celery worker for the light queues."""
    from services.fleet.roles.serve import serve_worker

    ctx.exit(serve_worker(Role.WORKER, _queues(queues), ready_file))


@serve.command(Role.TRAINER.value)
@_ready_file
@click.pass_context
def trainer(ctx: click.Context, ready_file: Path | None) -> None:
    """A Celery worker that trains, one run at a time, each in a child process."""
    from services.fleet.roles.serve import serve_worker

    ctx.exit(serve_worker(Role.TRAINER, (Queue.TRAIN,), ready_file))


@serve.command(Role.KEEPER.value)
@_ready_file
def keeper(ready_file: Path | None) -> None:
    """The leader that re-sends, repairs and schedules."""
    from services.fleet.roles.serve import serve_keeper

    serve_keeper(ready_file)


@serve.command(Role.EXCHANGE_SIM.value)
@click.option("--port", type=click.IntRange(1, 65_535), required=True, help="Port to listen on.")
@click.option("--replay", multiple=True, help="File of recorded candles (feather, parquet, csv); repeat for more.")
@click.option("--scenario", default="demo", show_default=True, help="Synthetic market, unless files are replayed.")
@click.option("--seed", default=1, show_default=True, help="Seed of the synthetic market.")
@click.option("--speed", type=float, help="Virtual seconds per real second; the clock stands unless given.")
@click.option("--faults", default="", help="What goes wrong and how often, such as ban=0.02,cut=0.05,skew=90.")
@click.option("--host", default=None, help="Address to listen on.  [default: TIDEWHEEL_LISTEN]")
def exchange_sim(
    port: int, replay: tuple[str, ...], scenario: str, seed: int, speed: float | None, faults: str, host: str | None
) -> None:
    """A simulated exchange that speaks Binance's market data, politely or with faults.

    \b
    Faults, as shares from 0 to 1 unless said otherwise:
      ban, limit       requests answered 418 and 429, and all others until
      pause            seconds (0.3) are over
      5xx              requests answered 500 to 504
      cut              answers whose JSON ends in the middle
      short, drop      pages without their last rows, or without some in the middle
      repeat, disorder pages with rows twice or of another page, or in random order
      bad              pages with one row that cannot be
      skew             seconds by which each time told may be off, so that open bars look closed
      revise           bars that are corrected up to five bars later
      hole             bars that do not exist
      listing, halt    share of the data before the listing, and in which nothing is traded
    """
    from services.fleet.simulator.app import exchange_sim as run_exchange_sim
    from tidewheel.kit.logs import configure
    from tidewheel.kit.settings import Settings, load

    settings = load(Settings)
    configure(settings, Role.EXCHANGE_SIM)
    run_exchange_sim(port, replay, scenario, seed, speed, host or settings.listen, faults)


def _queues(text: str) -> tuple[Queue, ...]:
    try:
        return tuple(Queue(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{error}; known: {', '.join(Queue)}", param_hint="--queues") from None
