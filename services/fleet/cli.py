"""The `tidewheel` command.

A command's module is imported when that command runs, so `tidewheel --help` stays fast whatever the roles import.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

from tidewheel.contracts.errors import TidewheelError


class LazyGroup(click.Group):
    """A group that knows each command's place (`module:attribute`) and sentence without importing it."""

    def __init__(self, *args: Any, places: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._places:
            return None
        module, _, attribute = self._places[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in self._places.items()])


_HERE = "services.fleet.commands"
_PLACES = {
    "demo": (f"{_HERE}.fleet:demo", "Run the whole loop once on a simulated exchange, and tell what happened."),
    "tour": (f"{_HERE}.tour:tour", "Show one part at work on a simulated market, in minutes."),
    "up": (f"{_HERE}.fleet:up", "Start the fleet on this machine; Ctrl-C stops it."),
    "status": (f"{_HERE}.fleet:status", "Show on one screen how the fleet stands."),
    "backfill": (f"{_HERE}.backfill:backfill", "Fetch history of streams in one go, and wait until it is stored."),
    "import": (f"{_HERE}.imports:import_files", "Store candles of CSV, parquet or feather files."),
    "doctor": (f"{_HERE}.doctor:doctor", "Check machine, settings, ledger, broker and exchange, with remedies."),
    "serve": (f"{_HERE}.serve:serve", "Run one role in the foreground."),
    "train": (f"{_HERE}.train:train", "Train a registered model now, here, and tell what came of it."),
    "runs": (f"{_HERE}.models:runs", "List training runs, or show one."),
    "models": (f"{_HERE}.models:models", "List a family's versions with their verdicts."),
    "promote": (f"{_HERE}.models:promote", "Make a version the champion."),
    "rollback": (f"{_HERE}.models:rollback", "Go back to the previous champion."),
    "gc": (f"{_HERE}.gc:gc", "Remove what nobody needs any more; --dry-run lists it."),
    "schemas": (f"{_HERE}.schemas:schemas", "Check the strategy schemas, with file and line of what is wrong."),
    "bandit": (f"{_HERE}.bandit:bandit", "Rebuild posteriors, replay decisions, evaluate presets, report."),
    "ledger": (f"{_HERE}.ledger:ledger", "Migrate, list, check and mend the ledger."),
    "keys": (f"{_HERE}.keys:keys", "Create, list and revoke API keys."),
    "prove": (f"{_HERE}.prove:prove", "Try the promises out on this machine; exit status 1 when one is broken."),
    "settings": (f"{_HERE}.settings:settings", "Print the settings in force, secrets masked."),
    "openapi": (f"{_HERE}.settings:openapi", "Print the OpenAPI document of a role."),
}


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"tidewheel {version('tidewheel')}")
        ctx.exit()


@click.group(cls=LazyGroup, places=_PLACES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Version.")
def cli() -> None:
    """The model loop of a trading desk: candles in, a gated regime model out, served without a restart."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    An error of ours, or a file that cannot be used, is one sentence on standard error and exit status 1; a wrong
    option is click's own message and status 2. With `--json` either is a JSON document on standard output, where the
    answer would be.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    try:
        # Standing alone, click would tell a wrong option to people only.
        sys.exit(cli(given, prog_name="tidewheel", standalone_mode=not as_json))
    except TidewheelError as error:
        _end({"code": error.code, "detail": error.detail, **error.extra}, as_json)
    except OSError as error:
        if error.filename is None:
            raise
        detail = f"{error.filename} cannot be used: {error.strerror}; mend that, or name another place"
        _end({"code": "unavailable", "detail": detail}, as_json)
    except click.ClickException as error:
        _end({"code": "usage", "detail": error.format_message()}, as_json, error.exit_code)
    except click.Abort:
        sys.exit(1)


def _end(answer: Mapping[str, Any], as_json: bool, status: int = 1) -> NoReturn:
    from tidewheel.kit.masks import mask_secrets

    if as_json:
        import json

        click.echo(mask_secrets(json.dumps(answer)))
    else:
        click.echo(f"tidewheel: {mask_secrets(answer['detail'])}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
