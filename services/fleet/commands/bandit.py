"""`tidewheel bandit`: what was decided and learnt, looked back on from the log."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.fleet.output import json_option, print_json, print_rows, table
from tidewheel.contracts.states import PolicyName

if TYPE_CHECKING:
    from services.param_controller.service.review.views import EvaluationView, Report
    from services.param_controller.service.schema_files import Schemas
    from tidewheel.contracts.keys import PairKey
    from tidewheel.ledger.open import Ledger


@click.group()
def bandit() -> None:
    """Rebuild posteriors, replay decisions, evaluate presets, report."""


@contextmanager
def _opened() -> Iterator[tuple["Ledger", "Schemas"]]:
    from services.fleet.commands.ledger import opened
    from services.param_controller.service.schema_files import Schemas
    from services.param_controller.settings import ParamSettings
    from tidewheel.kit.settings import load

    schemas = Schemas.of(load(ParamSettings).schemas_dir)
    with opened() as ledger:
        yield ledger, schemas


def _pair(strategy: str, instrument: str) -> "PairKey":
    from tidewheel.contracts.keys import PairKey

    return PairKey(strategy, instrument)


@bandit.command()
@click.argument("pair", nargs=-1, metavar="[STRATEGY INSTRUMENT]")
@click.option("--check", is_flag=True, help="Only compare; exit status 1 where they differ by more than 1e-9.")
@click.option("--reason", default="rebuilt by hand", show_default=True, help="Why; it is stored.")
@json_option
@click.pass_context
def rebuild(ctx: click.Context, pair: tuple[str, ...], check: bool, reason: str, as_json: bool) -> None:
    """Add up anew what the log teaches, of one pair or of all, and store it.

    The log is the truth: what is stored beside it saves the adding up, and this mends it.
    """
    from services.fleet.commands.ledger import opened
    from tidewheel.ledger.control.posteriors import SAME

    if len(pair) not in (0, 2):
        raise click.UsageError("name a STRATEGY and an INSTRUMENT, or neither for every pair")
    with opened() as ledger:
        keys = [_pair(*pair)] if pair else [state.key for state in ledger.presets.pairs()]
        rows: list[dict[str, Any]] = []
        for key in keys:
            apart = ledger.posteriors.check(key)
            outcomes = None if check else ledger.posteriors.rewrite(key, f"cli:{getpass.getuser()}", reason).kept
            # JSON knows no infinity: null says that one of the two is missing or cannot be read.
            rows.append(
                {
                    "pair": str(key),
                    "same": apart <= SAME,
                    "difference": apart if apart < float("inf") else None,
                    **({} if check else {"outcomes": outcomes}),
                }
            )
    print_rows(rows, as_json, "No preset was ever registered.")
    ctx.exit(1 if check and not all(row["same"] for row in rows) else 0)


@bandit.command()
@click.argument("strategy")
@click.argument("instrument")
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest so many decisions.")
@json_option
@click.pass_context
def replay(ctx: click.Context, strategy: str, instrument: str, limit: int | None, as_json: bool) -> None:
    """Derive every logged decision again, draw by draw.

    Exit status 1 where one does not follow from what was known then, or is missing.
    """
    from dataclasses import asdict

    with _opened() as (ledger, schemas):
        from services.param_controller.service.review.replaying import replay as derive

        found = derive(ledger, schemas, _pair(strategy, instrument), limit)
    if as_json:
        print_json(asdict(found))
    else:
        for each in found.differences:
            click.echo(f"{each.config_id}: the log says {each.logged}, and it follows {each.derived}")
        click.echo(
            f"{found.same:,} decisions follow from the log, {len(found.differences):,} do not, {found.missing:,} are "
            f"missing. Not derived: {found.other_policy:,} of another policy version, "
            f"{found.unusable:,} under an unusable posterior."
        )
    ctx.exit(0 if found.whole else 1)


@bandit.command()
@click.argument("strategy")
@click.argument("instrument")
@click.option("--preset", metavar="ID", help="What if this preset were always served?")
@click.option("--policy", type=click.Choice([str(name) for name in PolicyName]), help="What if this policy decided?")
@click.option("--exploration", type=click.FloatRange(min=0), help="Of the policy; else as in the schema.")
@click.option("--epsilon", type=click.FloatRange(min=0, max=1), help="Of the policy; else as in the schema.")
@click.option("--since", metavar="TIME", help="Decisions made from then on: epoch ms or ISO-8601.")
@click.option("--until", metavar="TIME", help="Decisions made before.")
@json_option
def evaluate(
    strategy: str, instrument: str, preset: str | None, policy: str | None, exploration: float | None,
    epsilon: float | None, since: str | None, until: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Tell from the log what a preset, or another policy, would have earned."""
    changes = {"name": policy, "exploration": exploration, "epsilon": epsilon}
    of_policy = {name: value for name, value in changes.items() if value is not None}
    if (preset is None) == (not of_policy):
        raise click.UsageError("name a --preset, or a --policy and its settings")
    target = {"policy": of_policy} if preset is None else {"preset_id": preset}
    with _opened() as (ledger, schemas):
        from pydantic import ValidationError

        from services.param_controller.service.review.evaluating import evaluation
        from services.param_controller.service.review.views import EvaluateRequest

        asked = {"strategy": strategy, "instrument": instrument, "target": target, "since": since, "until": until}
        try:
            request = EvaluateRequest.model_validate(asked)
        except ValidationError as invalid:
            raise click.UsageError(invalid.errors()[0]["msg"]) from None
        found = evaluation(ledger, schemas, request)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _print_evaluation(found)


def _print_evaluation(found: "EvaluationView") -> None:
    left_out = found.left_out
    click.echo(f"{found.strategy} on {found.instrument}: {found.target}")
    click.echo(
        f"{found.rows:,} decisions with an outcome, in {found.share:.0%} of which it had a chance; "
        f"left out: {left_out.waiting:,} waiting, {left_out.other_context:,} of another context, "
        f"{left_out.not_learnt:,} not learnt."
    )
    if not found.supported:
        click.echo(f"The log does not tell: {found.reason}.")
        return
    named = {"IPS": found.ips, "SNIPS": found.snips, "doubly robust": found.dr, "more than was earned": found.over_log}
    rows = [{"estimate": name, **told.model_dump()} for name, told in named.items() if told is not None]
    click.echo(table(rows))


@bandit.command()
@click.argument("strategy")
@click.argument("instrument")
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest so many decisions; 20,000 unless given.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the page with pictures there.")
@json_option
def report(strategy: str, instrument: str, limit: int | None, html: Path | None, as_json: bool) -> None:
    """Tell what was served on a pair, why, and what came of it."""
    with _opened() as (ledger, schemas):
        from services.param_controller.service.review.page import page
        from services.param_controller.service.review.reporting import NEWEST
        from services.param_controller.service.review.reporting import report as made

        told = made(ledger, schemas, _pair(strategy, instrument), limit or NEWEST)
    if html is not None:
        html.write_bytes(page(told))
    if as_json:
        print_json(told.model_dump(mode="json"))
    else:
        _print_report(told)


def _print_report(told: "Report") -> None:
    rows = [
        {
            "preset": each.preset_id,
            "live": each.live,
            "served": each.pulls.count,
            "reported": each.reported.count,
            "inferred": each.inferred.count,
            "defaulted": each.defaulted.count,
            "mean_reward": each.reward and each.reward.value,
            "low": each.reward and each.reward.low,
            "high": each.reward and each.reward.high,
            "expected": each.posterior and each.posterior.mean,
            "deviation": each.posterior and each.posterior.deviation,
        }
        for each in told.presets
    ]
    click.echo(f"{told.strategy} on {told.instrument}: {told.window.decisions:,} of {told.window.of:,} decisions")
    click.echo(table(rows))
    regret, drawdown = told.regret, told.drawdown
    if regret.per_decision is None:
        click.echo(f"Regret: {regret.reason}.")
    else:
        found = regret.per_decision
        click.echo(
            f"Regret a decision beside always {regret.against}: {found.value:.4g} ({found.low:.4g} to {found.high:.4g})"
            + (f"; {regret.reason}." if regret.reason else ".")
        )
    click.echo(f"Realised reward {drawdown.realised:.6g} {told.reward_unit}, {drawdown.fall:.4g} below its peak.")
    for switch in told.kill_switches:
        click.echo(f"Frozen: the kill switch of {switch.scope} stands: {switch.reason}")
