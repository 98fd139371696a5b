"""`tidewheel ledger`: the tables for people."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from services.fleet.local.home import ledger_address
from services.fleet.output import json_option, moment, print_json, print_rows, table
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import ClaimState
from tidewheel.kit.settings import Settings, load

if TYPE_CHECKING:
    from tidewheel.ledger.open import Ledger


@contextmanager
def opened() -> Iterator["Ledger"]:
    """The ledger that the environment names."""
    from tidewheel.ledger.open import open_ledger

    settings = load(Settings)
    ledger = open_ledger(ledger_address(settings), settings.data_dir, settings.ledger_purpose)
    try:
        yield ledger
    finally:
        ledger.close()


@click.group()
def ledger() -> None:
    """Migrate, list, check and mend the ledger."""


@ledger.command()
@json_option
def migrate(as_json: bool) -> None:
    """Bring the tables to this program's revision; safe to repeat."""
    from tidewheel.ledger.open import migrate as migrate_ledger

    settings = load(Settings)
    done = migrate_ledger(settings.ledger_db, settings.data_dir, settings.ledger_purpose)
    if as_json:
        print_json({"before": done.before, "after": done.after})
    elif done.before == done.after:
        click.echo(f"The ledger is at revision {done.after} already.")
    else:
        click.echo(f"Migrated from {done.before or 'nothing'} to {done.after}.")


@ledger.command()
@json_option
def ls(as_json: bool) -> None:
    """List the streams."""
    with opened() as ledger:
        rows = [
            {
                "stream": str(stream.key),
                "origin": stream.origin.value,
                "watermark": moment(stream.watermark),
                "files": stream.files,
                "sealed_bars": stream.sealed_bars,
                "tail_bars": stream.tail_bars,
                "open_gaps": stream.gaps_open,
            }
            for stream in ledger.streams.all()
        ]
    print_rows(rows, as_json, "No stream yet: POST /ingest_once makes the first.")


@ledger.command()
@click.argument("stream")
@json_option
def show(stream: str, as_json: bool) -> None:
    """Show a stream's files and gaps.

    STREAM is written binance:BTC/USDT:1m.
    """
    from tidewheel.ledger.streams import known_stream

    key = StreamKey.parse(stream)
    with opened() as ledger:
        known_stream(key, ledger.streams.all())
        files = [
            {
                "file": file.id,
                "start": moment(file.start),
                "end": moment(file.end),
                "bars": file.bars,
                "revision": file.revision,
                "digest": file.digest[:8],
                "source": file.source,
                "quarantined": file.quarantined,
            }
            for file in ledger.bars.files(key)
        ]
        gaps = [
            {"start": moment(gap.start), "end": moment(gap.end), "state": gap.state.value}
            for gap in ledger.bars.gaps(key)
        ]
    if as_json:
        print_json({"stream": stream, "files": files, "gaps": gaps})
        return
    click.echo(table(files) if files else "No file is sealed yet.")
    if gaps:
        click.echo(f"\nGaps\n{table(gaps)}")


@ledger.command()
@json_option
@click.pass_context
def fsck(ctx: click.Context, as_json: bool) -> None:
    """Check the ledger against its files and promises.

    Exit status 1 when something is wrong.
    """
    with opened() as ledger:
        findings = [
            {"check": each.check, "ok": each.ok, "count": each.count, "detail": each.detail} for each in ledger.fsck()
        ]
    print_rows(findings, as_json, "Nothing to check.")
    if not all(finding["ok"] for finding in findings):
        ctx.exit(1)


@ledger.command()
@click.argument("targets", nargs=-1, required=True, metavar="run:RUN|FILE...")
@click.option("--consumer", default="hmm", show_default=True, help="Whose claims on the files.")
@json_option
def requeue(targets: tuple[str, ...], consumer: str, as_json: bool) -> None:
    """Free files that too many attempts failed on.

    They are named by their ids, or as run:RUN for the poison that run left behind.
    """
    wrong = [target for target in targets if not target.removeprefix("run:").isdecimal()]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is neither a file's id nor run:RUN", param_hint="run:RUN|FILE...")
    runs = {int(target[4:]) for target in targets if target.startswith("run:")}
    with opened() as ledger:
        files = [int(target) for target in targets if not target.startswith("run:")]
        files += [
            each.file_id
            for each in ledger.claims.consumption(consumer)
            if each.state is ClaimState.POISON and each.run_id in runs
        ]
        freed = ledger.claims.requeue(consumer, files, f"cli:{getpass.getuser()}")
    if as_json:
        print_json({"consumer": consumer, "files": freed})
    elif freed:
        told = ", ".join(map(str, freed))
        click.echo(f"Free again for {consumer}, and the next run takes them: {told}.")
    else:
        click.echo(
            f"Nothing to free: no attempt of {consumer} failed on {', '.join(targets)}. `tidewheel runs` lists runs."
        )


@ledger.command()
@click.argument("lease")
@json_option
def release(lease: str, as_json: bool) -> None:
    """End the lease called LEASE, such as run:42.

    Its holder's next write is refused.
    """
    with opened() as ledger:
        ended = ledger.leases.end(lease)
    if as_json:
        print_json({"lease": ended.name, "owner": ended.owner, "fence": ended.fence})
    else:
        click.echo(f"{ended.name} was held by {ended.owner}; it is free.")
