"""The pages of docs/ that are written from the code: `python -m services.fleet.reference` rewrites them."""

import importlib
import importlib.util
import pkgutil
from pathlib import Path

from prometheus_client import REGISTRY

import services
from tidewheel.kit import metrics
from tidewheel.kit.settings import Settings, settings_table

_DOCS = Path(__file__).parents[2] / "docs"
_OF_THE_FLEET = ("services.fleet.edge.app", "services.fleet.roles.flower", "services.fleet.keeper.settings")


def settings_classes() -> list[type[Settings]]:
    """The settings class of every role, by role name."""
    names = [f"services.{each.name}.settings" for each in pkgutil.iter_modules(services.__path__) if each.ispkg]
    for name in (*names, *_OF_THE_FLEET):
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    found = [kind for kind in _descendants(Settings) if kind.__module__.startswith("services.")]
    return sorted(found, key=lambda kind: kind.role)


def _descendants(kind: type[Settings]) -> set[type[Settings]]:
    return set().union(*({each} | _descendants(each) for each in kind.__subclasses__()))


def settings_page() -> str:
    """docs/settings.md."""
    return f"""# Settings

Environment, then `.env` in the working directory, then the default; an empty value counts as unset. Variables that
the services document keep their names; ours begin with `TIDEWHEEL_`. Two names of one setting that are both set and
differ stop the start. `tidewheel settings` prints what is in force, secrets masked.

Written by `python -m services.fleet.reference`; a test holds it against the code.

{settings_table(settings_classes())}
The compose files read three more, from `.env` or the shell:

| variable | default | meaning |
|---|---|---|
| `POSTGRES_PASSWORD` | `tidewheel` | Password of the stack's Postgres, letters and digits; set before its start. |
| `TIDEWHEEL_TAG` | `dev` | Tag of the image that is built and run. |
| `TRADING_NETWORK` | `trading` | Name of the network, which other stacks may join. |
"""


def metrics_page() -> str:
    """docs/metrics.md."""
    rows = [
        f"| `{family.name}{'_total' if family.type == 'counter' else ''}` | {family.type} | {family.documentation} |"
        for family in sorted(REGISTRY.collect(), key=lambda family: family.name)
        if family.name.startswith("tidewheel_")
    ]
    table = "\n".join(rows)
    return f"""# Metrics

Every role with an HTTP face answers `/metrics` in Prometheus's text format; tasks are counted by flower's `/metrics`.
All are declared in `{Path(metrics.__file__).relative_to(_DOCS.parent)}`.

Written by `python -m services.fleet.reference`; a test holds it against the code.

| metric | type | meaning |
|---|---|---|
{table}
"""


def main() -> None:
    """Write the pages."""
    (_DOCS / "settings.md").write_text(settings_page())
    (_DOCS / "metrics.md").write_text(metrics_page())


if __name__ == "__main__":
    main()
