"""`tidewheel backfill`: history in one go, without a fleet."""

import time
from typing import TYPE_CHECKING

import click

from services.fleet.output import json_option, moment, print_json, table
from tidewheel.contracts.errors import Overloaded, Unavailable

if TYPE_CHECKING:
    from services.fleet.display import Display
    from services.ingester.schemas import BackfillView
    from services.ingester.service.backfilling import Backfilling

FRUITLESS = 10  #: attempts in a row that bring nothing, before it gives up
WAIT_SECONDS = 3.0  #: after each of them


@click.command()
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@click.option("--start", help="First open time: epoch ms or ISO-8601 UTC.  [default: START_TS]")
@click.option("--end", help="Bars that open before it.  [default: END_TS, else up to what ingestion has brought]")
@json_option
def backfill(streams: tuple[str, ...], start: str | None, end: str | None, as_json: bool) -> None:
    """Fetch history of STREAMs (exchange:symbol:timeframe; default: SYMBOLS) and wait until it is stored.

    It is the order of `POST /backfill`, worked off here unless a worker does: stop it anywhere, and the same command
    goes on there.
    """
    from services.fleet.display import display
    from services.fleet.local.home import exchange_address, ledger_address
    from services.fleet.local.supervisor import read_state
    from services.ingester.service.backfilling import Backfilling
    from services.ingester.service.writer import open_writers
    from services.ingester.settings import IngesterSettings
    from tidewheel.contracts.states import BackfillState
    from tidewheel.contracts.times import parse_time
    from tidewheel.kit.settings import load
    from tidewheel.ledger.open import open_ledger

    settings = load(IngesterSettings)
    settings = settings.model_copy(
        update={"exchange_url": exchange_address(settings, read_state(settings.tidewheel_home))}
    )
    first = settings.start_ts if start is None else parse_time(start)
    last = settings.end_ts if end is None else parse_time(end)
    if first is None:
        raise click.UsageError("say where the history begins: --start 2024-01-01, or START_TS")
    ledger = open_ledger(ledger_address(settings), settings.data_dir, settings.ledger_purpose)
    shown = display()
    try:
        service = Backfilling(ledger, open_writers(settings, ledger), settings)
        done = []
        for order in service.start(streams, first, last):
            with shown.step(f"{order.stream} from {moment(order.start)} to {moment(order.end)}"):
                done.append(worked_off(service, order, shown))
    finally:
        ledger.close()
    if as_json:
        print_json([each.model_dump(mode="json") for each in done])
    else:
        click.echo(
            table(
                [
                    {"stream": each.stream, "state": each.state.value, "bars": each.fetched, "reason": each.reason}
                    for each in done
                ]
            )
        )
    if any(each.state is not BackfillState.DONE for each in done):  # somebody has cancelled it
        raise SystemExit(1)


def worked_off(service: "Backfilling", order: "BackfillView", shown: "Display") -> "BackfillView":
    """The backfill as it ended.

    Raises:
        Unavailable, Overloaded ...: the exchange failed again and again; what came is stored.
    """
    from tidewheel.contracts.states import BackfillState

    fruitless = 0
    while order.state is BackfillState.RUNNING:
        before, pause = order.cursor, WAIT_SECONDS
        try:
            service.work(order.backfill_id)
        except (Overloaded, Unavailable) as away:
            if fruitless == FRUITLESS:
                raise
            pause = float(away.extra.get("retry_after", WAIT_SECONDS))
            shown.note(f"{away.detail} ({moment(before)} is reached)")
        order = service.get(order.backfill_id)
        shown.progress(order.progress, f"{order.fetched} bars")
        fruitless = 0 if order.cursor > before else fruitless + 1
        if fruitless and order.state is BackfillState.RUNNING:  # another worker has it, or it waits for the exchange
            time.sleep(pause)
    return order
