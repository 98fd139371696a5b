"""`tidewheel settings` and `tidewheel openapi`: what the roles read and answer."""

from tempfile import TemporaryDirectory

import click

from services.fleet.output import json_option, print_json, table
from services.fleet.roles.wiring import HTTP_ROLES, READERS, settings_type
from tidewheel.contracts.roles import Role


@click.command()
@click.argument("role", required=False, type=click.Choice([role.value for role in READERS]))
@json_option
def settings(role: str | None, as_json: bool) -> None:
    """Print the settings in force for ROLE (all roles unless given), secrets masked."""
    from tidewheel.kit.settings import effective, load

    values: dict[str, object] = {}
    for each in READERS if role is None else (Role(role),):
        values |= effective(load(settings_type(each)))
    # The instance is each process's own name; here it would name this command.
    values.pop("TIDEWHEEL_INSTANCE", None)
    if as_json:
        print_json(values)
    else:
        click.echo(table([{"variable": name, "value": _written(value)} for name, value in sorted(values.items())]))


def _written(value: object) -> str | None:
    """A value as .env would hold it."""
    if isinstance(value, list):
        return ",".join(map(str, value)) or None
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


@click.command()
@click.argument("role", type=click.Choice([role.value for role in HTTP_ROLES]))
@json_option
def openapi(role: str, as_json: bool) -> None:
    """Print the OpenAPI document of ROLE; it is JSON with and without --json.

    No fleet or ledger is needed. The running fleet's merged document is at /openapi.json of the edge.
    """
    from services.fleet.roles.wiring import build
    from tidewheel.kit.logs import configure
    from tidewheel.kit.settings import load
    from tidewheel.kit.web import create_app
    from tidewheel.ledger.open import migrate

    with TemporaryDirectory(prefix="tidewheel-openapi-") as folder:
        # A document does not depend on what a ledger holds, so an empty one of its own serves.
        home = {"tidewheel_home": folder, "data_dir": folder, "models_dir": folder, "ledger_db": f"{folder}/ledger"}
        settings = load(settings_type(Role(role)), **home)
        configure(settings, role)  # events go to standard error: standard output is the document
        migrate(settings.ledger_db, settings.data_dir, settings.ledger_purpose)
        service = build(Role(role), settings)
        try:
            print_json(create_app(service).openapi())
        finally:
            for close in reversed(service.close):
                close()
