"""`tidewheel keys`: API keys; the first one can only be made here."""

import click

from services.fleet.commands.ledger import opened
from services.fleet.output import json_option, moment, print_json, print_rows
from tidewheel.contracts.states import Scope


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command()
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What the key may do; repeat it for more.",
)
@click.option("--note", default="", help="Whom it is for.")
@json_option
def create(scopes: tuple[str, ...], note: str, as_json: bool) -> None:
    """Create a key; its text is shown once and not stored."""
    with opened() as ledger:
        key, secret = ledger.keys.create(frozenset(Scope(scope) for scope in scopes), note)
    if as_json:
        print_json({"id": key.id, "key": secret, "scopes": sorted(scopes), "note": note})
    else:
        click.echo(f"{secret}\nSend it as `Authorization: Bearer ...`. It is not shown again.")


@keys.command()
@json_option
def ls(as_json: bool) -> None:
    """List the keys, without their secrets."""
    with opened() as ledger:
        rows = [
            {
                "id": key.id,
                "scopes": ",".join(sorted(key.scopes)),
                "note": key.note,
                "revoked_at": moment(key.revoked_at),
            }
            for key in ledger.keys.all()
        ]
    print_rows(rows, as_json, "No key yet: `tidewheel keys create --scope admin` makes the first.")


@keys.command()
@click.argument("key_id")
@json_option
def revoke(key_id: str, as_json: bool) -> None:
    """Revoke a key; roles forget it within 30 s."""
    with opened() as ledger:
        ledger.keys.revoke(key_id)
    if as_json:
        print_json({"id": key_id, "revoked": True})
    else:
        click.echo(f"Key {key_id} is revoked; roles forget it within 30 s.")
