"""`tidewheel train`: a run carried out here and now, without a fleet."""

import getpass
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from services.fleet.output import json_option, moment, print_json
from tidewheel.contracts.errors import Conflict, FenceLost

if TYPE_CHECKING:
    from services.fleet.display import Display
    from services.ml_trainer.service.trainer import Trainer
    from tidewheel.contracts.keys import StreamKey
    from tidewheel.ledger.open import Ledger
    from tidewheel.ledger.records import Run

_LOOK_SECONDS = 0.2
_AGAIN_SECONDS = 2.0  #: between attempts at a run that somebody else has, or that was given back


@click.group()
def train() -> None:
    """Carry out a training run here, without a fleet."""


@train.command()
@click.option("--model", "name", default="baseline", show_default=True, help="baseline, random_forest or a sibling.")
@click.option("--stream", help="Such as binance:BTC/USDT:1h.  [default: as before, else the first of SYMBOLS]")
@json_option
def registry(name: str, stream: str | None, as_json: bool) -> None:
    """Fit a registered model on the complete hours of a stream, and let it meet its champion on the last fifth.

    Better than that, surely, it takes its place; else it is registered beside it with the verdict. A worker of a fleet
    that runs may take the run: then its end is waited for. Exit status 1 when it failed, or there are too few hours.
    """
    from services.fleet.display import display
    from services.fleet.local.home import ledger_address
    from services.ml_trainer.service.fitting import FitChild
    from services.ml_trainer.service.registry.ordering import family_of, order, usual_stream
    from services.ml_trainer.service.registry.training import NO_NEW_DATA
    from services.ml_trainer.service.trainings import build_trainer
    from services.ml_trainer.settings import TrainerSettings
    from services.predictor.settings import PredictorSettings
    from tidewheel.contracts.keys import StreamKey
    from tidewheel.contracts.states import RunState
    from tidewheel.kit.logs import silenced
    from tidewheel.kit.settings import load
    from tidewheel.ledger.open import open_ledger

    settings = load(TrainerSettings)
    family_of(name)
    ledger = open_ledger(ledger_address(settings), settings.data_dir, settings.ledger_purpose)
    shown = display()
    try:
        symbols = load(PredictorSettings).symbols
        key = usual_stream(ledger, name, symbols) if stream is None else StreamKey.parse(stream)
        run, joined = order(ledger, name, key, f"cli:{getpass.getuser()}")
        if joined:
            _same_stream(run, key)
        with silenced(), shown.step(f"{name} on {key}, run {run.id}"):
            run = _carried_out(
                ledger, build_trainer(ledger, FitChild(settings.data_dir / "work"), settings), run, shown
            )
        answer = _told(ledger, run)
    finally:
        ledger.close()
    if as_json:
        print_json(answer)
    else:
        click.echo(_in_words(answer))
    done = run.state in (RunState.PROMOTED, RunState.REFUSED)
    if not done and not (run.reason or "").startswith(NO_NEW_DATA):
        raise SystemExit(1)


def _same_stream(run: "Run", key: "StreamKey") -> None:
    if run.params.get("stream") != str(key):
        raise Conflict(
            f"run {run.id} trains {run.family} on {run.params.get('stream')} just now, not on {key}; wait for its end, "
            f"or cancel it: POST /runs/{run.id}/cancel",
            code="run_active",
        )


def _carried_out(ledger: "Ledger", trainer: "Trainer", run: "Run", shown: "Display") -> "Run":
    """The run as it ended, here or at a worker of the fleet; Ctrl-C gives it back."""
    with ThreadPoolExecutor(1) as pool:
        try:
            while not run.state.final:
                run = _attempted(ledger, pool.submit(trainer.run, run.id), run, shown)
        finally:
            trainer.stop()
    return run


def _attempted(ledger: "Ledger", attempt: "Future[Run | None]", run: "Run", shown: "Display") -> "Run":
    """The run once the attempt has ended, or some time after it was not to be had."""
    while not attempt.done():
        time.sleep(_LOOK_SECONDS)
        _show(ledger.runs.get(run.id), shown)
    with suppress(FenceLost):  # somebody else goes on with it
        attempt.result()
    run = ledger.runs.get(run.id)
    deadline = time.monotonic() + _AGAIN_SECONDS
    while not run.state.final and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        run = ledger.runs.get(run.id)
        _show(run, shown)
    return run


def _show(run: "Run", shown: "Display") -> None:
    done, among = run.progress.get("done", 0), run.progress.get("horizons", 0)
    if among:
        shown.progress(done / among, f"{run.progress['horizon']} h fitted")


def _told(ledger: "Ledger", run: "Run") -> dict[str, Any]:
    """What came of the run."""
    champion = ledger.registry.get(run.family)
    model = None if run.version is None else ledger.registry.get(run.family, run.version)
    judged = None if run.verdict is None or not run.verdict.steps else run.verdict.steps[-1]
    return {
        "run": run.id,
        "model": run.family,
        "stream": run.params["stream"],
        "state": run.state.value,
        "version": run.version,
        "horizons": None if model is None else list(model.prediction_horizons),
        "data_as_of": None if model is None else moment(model.data_as_of),
        "verdict": None if judged is None else f"{judged.step}: {judged.reason}",
        "champion": None if champion is None else champion.version,
        "moved": run.state.value == "promoted",
        "reason": run.reason,
    }


def _in_words(answer: dict[str, Any]) -> str:
    name, version = answer["model"], answer["version"]
    if version is None:
        return f"Run {answer['run']} of {name} {answer['state']}: {answer['reason']}"
    horizons = ", ".join(map(str, answer["horizons"]))
    lines = [f"{name} {version}: horizons {horizons} h, data of {answer['stream']} until {answer['data_as_of']}."]
    lines.append(f"Verdict: {answer['verdict']}.")
    if answer["moved"]:
        lines.append(f"It is the champion now: GET /predict/{name}/{answer['horizons'][0]} asks it.")
    elif answer["champion"] is None:
        lines.append(f"No champion: {name} answers where model_version names it, or once you give it the alias.")
    else:
        lines.append(f"The champion stays {answer['champion']}.")
    return "\n".join(lines)
