"""`tidewheel prove`: try the promises out on this machine."""

import tempfile
import time
from pathlib import Path
from typing import Any

import click

from services.fleet.output import json_option, print_json, table

_WORDS = ("first", "figures")  #: of a row, told below the table


class _NamesProofs(click.Command):
    """Its help lists the proofs."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from services.fleet.prove.proofs import PROOFS

        super().format_options(ctx, formatter)
        with formatter.section("Proofs"):
            formatter.write_dl([(proof.name, proof.promise) for proof in PROOFS])


@click.command(cls=_NamesProofs, context_settings={"max_content_width": 120})
@click.argument("name", required=False)
@click.option("--quick", is_flag=True, help="The short form that `make test` runs.")
@click.option("--seed", default=1, show_default=True, help="Of every draw.")
@json_option
@click.pass_context
def prove(ctx: click.Context, name: str | None, quick: bool, seed: int, as_json: bool) -> None:
    """Try the promises out on real code and real processes, all or the one called NAME; exit status 1 on a violation.

    It works in a temporary folder with servers of its own, and touches no ledger or model of yours.
    """
    from services.fleet.display import display
    from services.fleet.local.supervisor import interrupt_on_stop_signals
    from services.fleet.prove.ground import own_ground
    from services.fleet.prove.proof import Budget
    from services.fleet.prove.proofs import PROOFS
    from tidewheel.kit.logs import silenced

    chosen = [proof for proof in PROOFS if name in (None, proof.name)]
    if not chosen:
        known = ", ".join(proof.name for proof in PROOFS)
        raise click.BadParameter(f"there is no proof {name!r}; there are {known}", param_hint="NAME")
    interrupt_on_stop_signals()
    shown = display()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="tidewheel-prove-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # as root the Postgres runs as nobody, who must be able to enter
        with own_ground(Path(folder), shown.note) as ground, silenced():
            for proof in chosen:
                started = time.monotonic()
                with shown.step(f"{proof.name}: {proof.promise}"):
                    trials = proof.quick if quick else proof.trials
                    tally = proof.run(Budget(trials=trials, seed=seed, ground=ground), shown.progress)
                rows.append(
                    {
                        "invariant": f"{proof.name}: {proof.promise}",
                        "trials": tally.trials,
                        "violations": tally.violations,
                        "time": f"{time.monotonic() - started:.1f} s",
                        "first": tally.first,
                        "figures": tally.figures,
                    }
                )
    broken = [row for row in rows if row["violations"]]
    if as_json:
        print_json(rows)
    else:
        click.echo(table([{key: value for key, value in row.items() if key not in _WORDS} for row in rows]))
        for row in rows:
            for figure in row["figures"]:
                click.echo(figure)
        for row in broken:
            click.echo(f"\n{row['invariant']}\n  broken: {row['first']}")
    if broken:
        ctx.exit(1)
