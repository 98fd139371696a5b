"""`tidewheel demo`: the whole loop once, on a simulated exchange, in a home that is wiped first.

The verdicts that the scenario must bring about are those of the real gate: the simulator knows nothing of it.
"""

import time
from pathlib import Path

from services.fleet.demo.report import Report, collect
from services.fleet.display import Display
from services.fleet.story import SETTINGS, Stage, Step, StepFailed, ingest, play, start, train, wait_served
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.roles import Role
from tidewheel.contracts.states import RunState
from tidewheel.market.sim.replay import replayed

LOAD_RATE = 100.0  # requests a second


def run_demo(home: Path, display: Display, *, seed: int) -> Report:
    """Scenario `demo`: promoted, promoted under load, refused, rolled back, forward again.

    Raises:
        StepFailed: names the step and why; everything is stopped by then, logs stay in `home/logs`.
    """
    steps = (
        Step("start the fleet", start),
        Step("ingest ten days", ingest(1)),
        Step("train: the first model is promoted", train(RunState.PROMOTED)),
        Step(f"start the load: {LOAD_RATE:.0f} predictions a second", _start_load),
        Step("ingest the ten days where volatility doubles", ingest(2)),
        Step("train: the challenger is promoted", train(RunState.PROMOTED)),
        Step("ingest eight shuffled days and two in order", ingest(3)),
        Step("train: the challenger is refused", train(RunState.REFUSED)),
        Step("roll back", _roll_back),
        Step("go forward again", _go_forward),
        Step("stop the load", _stop_load),
        Step("count", _count),
    )
    settings = {**SETTINGS, "TRAIN_WINDOW_DAYS": "10"}
    report: Report = play(home, display, steps, ("--scenario", "demo", "--seed", str(seed)), settings)
    return report


def replay_demo(home: Path, display: Display, *, files: tuple[str, ...], timeframe: str | None) -> Report:
    """Recorded candles: ingest, train, gate and, when the gate passes, serve; whatever the verdict is.

    Raises:
        StepFailed: as `run_demo`.
        BadInput: a file does not exist or cannot be read, or its candles are not of `timeframe`.
    """
    steps = (
        Step("start the fleet", start),
        Step("ingest the candles", ingest(1)),
        Step("train and judge", train(RunState.PROMOTED, RunState.REFUSED)),
        Step("serve", _serve_a_while),
        Step("count", _count),
    )
    paths = tuple(_absolute(file) for file in files)
    found = sorted({series.timeframe for series in replayed(paths).series})
    if len(found) > 1 or (timeframe is not None and found != [timeframe]):
        raise BadInput(f"the candles are of {', '.join(found)}; name files of one --timeframe, and that one")
    arguments = tuple(part for path in paths for part in ("--replay", path))
    report: Report = play(home, display, steps, arguments, {**SETTINGS, "TRAIN_WINDOW_DAYS": "3650"})
    return report


def _absolute(file: str) -> str:
    """The path part of `FILE` or `NAME=FILE`, made absolute, for the fleet works in another folder."""
    name, equals, path = file.rpartition("=")
    if not Path(path).is_file():
        raise BadInput(f"file {path!r} does not exist; name recorded candles as feather, parquet or csv")
    return f"{name}{equals}{Path(path).absolute()}"


def _load_file(stage: Stage) -> Path:
    """Where the load records its requests."""
    return stage.fleet.plan.home / "load.jsonl"


def _start_load(stage: Stage) -> None:
    file = _load_file(stage)
    arguments = (stage.fleet.plan.url(Role.EDGE), str(LOAD_RATE), str(file))
    ready = lambda: file.exists() and file.stat().st_size > 0  # noqa: E731
    stage.supervisor.start([stage.fleet.module("load", "services.fleet.demo.load", *arguments, ready=ready)])


def _roll_back(stage: Stage) -> None:
    moved = stage.ask("POST", "/model/rollback", reason="the demo goes back")
    if moved["version"] != stage.runs[0]["version"]:
        raise StepFailed(f"rolled back to {moved['version']}, and {stage.runs[0]['version']} was the champion before")
    wait_served(stage, moved["version"])
    time.sleep(1.0)  # so that the flip has a whole second of requests to count


def _go_forward(stage: Stage) -> None:
    moved = stage.ask("POST", f"/model/promote/{stage.runs[1]['version']}", reason="the demo goes forward again")
    wait_served(stage, moved["version"])
    time.sleep(1.0)


def _stop_load(stage: Stage) -> None:
    stage.supervisor.end("load")


def _serve_a_while(stage: Stage) -> None:
    if stage.runs[-1]["state"] != RunState.PROMOTED:
        stage.display.note("the gate refused the model, so there is none to serve")
        return
    _start_load(stage)
    time.sleep(2.0)
    _stop_load(stage)


def _count(stage: Stage) -> Report:
    report = collect(stage.fleet.plan, stage.supervisor, _load_file(stage))
    if report.failed_requests:
        raise StepFailed(f"{report.failed_requests} of {report.requests} requests under load failed")
    return report
