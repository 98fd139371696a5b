"""`tidewheel gc`: what nobody needs any more, by the same code as the keeper's."""

import click

from services.fleet.commands.ledger import opened
from services.fleet.output import json_option, print_json, table


@click.command()
@click.option("--dry-run", is_flag=True, help="Only list what would go.")
@json_option
def gc(dry_run: bool, as_json: bool) -> None:
    """Remove what nobody needs any more, and say what went, why, and how many bytes it held.

    Versions that were ever promoted, are loaded, or are being read or published are never among it.
    """
    from services.fleet.keeper.retention import Retention
    from services.fleet.keeper.settings import KeeperSettings
    from tidewheel.kit.settings import load
    from tidewheel.modelstore.store import ModelStore

    settings = load(KeeperSettings)
    with opened() as ledger:
        store, trained = ModelStore(settings.models_dir), ModelStore(settings.trained_models_dir)
        cache = ModelStore(settings.model_cache_dir)
        plan = Retention(ledger, store, trained, cache, settings.keep_refused).plan()
        gone = plan if dry_run else [doomed for doomed in plan if doomed.remove()]
    rows = [{"path": str(doomed.path), "why": doomed.why, "bytes": doomed.bytes} for doomed in gone]
    total = sum(doomed.bytes for doomed in gone)
    if as_json:
        print_json({"dry_run": dry_run, "bytes": total, "removed": rows})
        return
    if rows:
        click.echo(table(rows))
    click.echo(f"{len(rows)} {'would go' if dry_run else 'went'}, {total} bytes.")
