"""`tidewheel models`, `promote`, `rollback`, `runs`: what was trained, and who is champion."""

import getpass
import re
from collections.abc import Iterator
from contextlib import contextmanager

import click

from services.fleet.commands.ledger import opened
from services.fleet.output import json_option, moment, print_json, print_rows
from services.ml_trainer.schemas import PromotionView
from services.ml_trainer.service.promotions import Promotions
from tidewheel.contracts.errors import ModelFileNotFound, NotFound
from tidewheel.contracts.keys import FAMILY
from tidewheel.contracts.verdicts import Verdict
from tidewheel.kit.settings import Settings, load
from tidewheel.modelstore.store import ModelStore

_DIGEST = re.compile(r"[0-9a-f]{64}")
_family_option = click.option("--family", default=FAMILY, show_default=True, help="Model family.")


def _judgement(verdict: Verdict | None) -> str | None:
    """The verdict in a few words: what refused it, and why."""
    if verdict is None:
        return None
    return f"{verdict.refusal.step}: {verdict.refusal.reason}" if verdict.refusal else "passed"


@click.group(invoke_without_command=True)
@_family_option
@json_option
@click.pass_context
def models(context: click.Context, family: str, as_json: bool) -> None:
    """List a family's versions with their verdicts, newest first; GET /models lists registered models."""
    if context.invoked_subcommand is not None:
        return
    with opened() as ledger:
        champion = ledger.versions.champion(family)
        rows = [
            {
                "version": each.version,
                "champion": champion is not None and champion.version == each.version,
                "created_at": moment(each.created_at),
                "data_as_of": moment(each.data_as_of),
                "parent": each.parent,
                "verdict": _judgement(each.verdict),
            }
            for each in ledger.versions.all(family)
        ]
    print_rows(
        rows, as_json, f"No version of {family} yet: POST /train makes the first. GET /models lists registered models."
    )


@models.command()
@click.argument("which", metavar="DIGEST|PATH")
@json_option
def trust(which: str, as_json: bool) -> None:
    """Convert a registered .joblib file, which you trust, to skops, and serve that.

    The file is opened in a process without files, network and programs; nothing else ever opens it.
    """
    from tidewheel.registry.files import TrainedModels, sha256
    from tidewheel.registry.trust import convert_beside

    folder = load(Settings).trained_models_dir
    files = TrainedModels(folder)
    with opened() as ledger:
        try:
            digest = which if _DIGEST.fullmatch(which) else sha256(files.read(which))
        except ModelFileNotFound:
            raise NotFound(
                f"{which} is neither a file below {folder} nor a whole sha256; GET /models tells file_path and "
                "content_digest of each version"
            ) from None
        registered = ledger.registry.of_content(digest)
        if not registered:
            raise NotFound(f"no registered model has the file {which}; register it first: POST /models/register")
        known = next((each for each in registered if each.trusted), None)
        if known is not None and known.converted_path and known.converted_digest and known.outputs:
            files.read_registered(known.converted_path, known.converted_digest)  # it passed its trial when it was made
            path, made, outputs = known.converted_path, known.converted_digest, known.outputs
        else:
            done = convert_beside(files, registered[0].file_path, digest)
            path, made, outputs = done.path, done.digest, done.seen.outputs
        trusted = ledger.registry.trust(digest, path, made, outputs, _actor())
    rows = [{"model": each.model_name, "version": each.version, "serves": path} for each in trusted]
    print_rows(rows, as_json, "")


@contextmanager
def _promotions(family: str) -> Iterator[Promotions]:
    with opened() as ledger:
        yield Promotions(ledger, ModelStore(load(Settings).models_dir), family)


def _actor() -> str:
    return f"cli:{getpass.getuser()}"


def _told(moved: PromotionView, as_json: bool) -> None:
    if as_json:
        print_json(moved.model_dump(mode="json"))
    else:
        click.echo(
            f"{moved.version} is the champion of {moved.family}; `current` names it, "
            "and predictors load it within a second."
        )


@click.command()
@click.argument("version")
@_family_option
@click.option("--reason", default="by hand", show_default=True, help="Why; it is stored.")
@click.option("--force", is_flag=True, help="Also without a passed verdict; give a --reason.")
@json_option
def promote(version: str, family: str, reason: str, force: bool, as_json: bool) -> None:
    """Make VERSION the champion; it needs a passed verdict."""
    if force and reason == "by hand":
        raise click.UsageError("--force needs a --reason that says why the verdict is overruled")
    with _promotions(family) as promotions:
        moved = promotions.promote(version, actor=_actor(), reason=reason, force=force, admin=True)
    _told(moved, as_json)


@click.command()
@_family_option
@click.option("--to", default=None, help="Version to go back to; the previous champion unless given.")
@click.option("--reason", default="by hand", show_default=True, help="Why; it is stored.")
@json_option
def rollback(family: str, to: str | None, reason: str, as_json: bool) -> None:
    """Go back to the previous champion."""
    with _promotions(family) as promotions:
        moved = promotions.rollback(actor=_actor(), reason=reason, to=to)
    _told(moved, as_json)


@click.command()
@click.argument("run_id", type=int, required=False)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, newest first.")
@json_option
def runs(run_id: int | None, limit: int, as_json: bool) -> None:
    """List training runs, or show run RUN_ID with its verdict."""
    with opened() as ledger:
        found = ledger.runs.list(limit=limit) if run_id is None else [ledger.runs.get(run_id)]
    rows = [
        {
            "run": run.id,
            "consumer": run.consumer,
            "state": run.state.value,
            "files": run.claimed_files,
            "new_bars": run.new_bars,
            "window_bars": run.window_bars,
            "created_at": moment(run.created_at),
            "version": run.version,
            "reason": _judgement(run.verdict) if run.verdict and run.verdict.refusal else run.reason,
        }
        for run in found
    ]
    if run_id is not None and as_json:
        verdict = found[0].verdict
        steps = [] if verdict is None else [step.model_dump(mode="json") for step in verdict.steps]
        print_json({**rows[0], "attempts": found[0].attempts, "progress": found[0].progress, "verdict": steps})
        return
    print_rows(rows, as_json, "No run yet: POST /train makes the first.")
    if run_id is not None and found[0].verdict is not None:
        click.echo()
        print_rows(
            [{"step": s.step, "passed": s.passed, "reason": s.reason} for s in found[0].verdict.steps], as_json, ""
        )
