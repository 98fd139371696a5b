"""`tidewheel demo`: the whole loop once, on a simulated exchange, in a home that is wiped first.

A demo is a list of named steps; the first that fails ends it and is named. The verdicts that the scenario must
bring about are those of the real gate: the simulator knows nothing of it.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from services.fleet.demo.report import Report, collect
from services.fleet.display import Display
from services.fleet.local.fleet import VALKEY, Fleet, Plan
from services.fleet.local.ports import free_ports
from services.fleet.local.supervisor import Supervisor
from services.fleet.simulator.clock import turn_clock
from tidewheel.contracts.errors import BadInput, TidewheelError, Unavailable
from tidewheel.contracts.roles import PORTS, Role
from tidewheel.contracts.states import RunState
from tidewheel.market.sim.replay import replayed

LOAD_RATE = 100.0  # requests a second
_POLL_SECONDS = 0.2
_TRAIN_SECONDS = 300.0
_SERVED_SECONDS = 15.0
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")
_SETTINGS = {
    "AUTH_MODE": "dev",
    "EXACTLY_ONCE": "false",
    "INGEST_CRON": "off",
    "RETRAIN_CRON": "off",
    "BATCH_LIMIT": "1000",
}


class StepFailed(TidewheelError):
    """A step did not do what the demo promises."""

    code, title = "demo_failed", "The demo failed"


@dataclass(frozen=True, slots=True)
class Step:
    """One sentence of the story."""

    title: str
    act: Callable[["Stage"], None]


@dataclass
class Stage:
    """What the steps share."""

    fleet: Fleet
    supervisor: Supervisor
    display: Display
    edge: httpx.Client
    runs: list[dict[str, Any]] = field(default_factory=list)  #: answers of GET /runs/{id}, in order
    report: Report | None = None

    @property
    def load_file(self) -> Path:
        """Where the load records its requests."""
        return self.fleet.plan.home / "load.jsonl"

    def ask(self, method: str, path: str, **query: str) -> dict[str, Any]:
        """One request to the edge.

        Raises:
            StepFailed: it was not answered 2xx; with the answer's detail.
        """
        try:
            answer = self.edge.request(method, path, params=query)
        except httpx.TransportError as error:
            raise StepFailed(f"{method} {path} was not answered: {type(error).__name__} {error}") from None
        if not answer.is_success:
            raise StepFailed(f"{method} {path} was answered {answer.status_code}: {answer.text[:500]}")
        body: dict[str, Any] = answer.json()
        return body


def run_demo(home: Path, display: Display, *, seed: int) -> Report:
    """Scenario `demo`: promoted, promoted under load, refused, rolled back, forward again.

    Raises:
        StepFailed: names the step and why; everything is stopped by then, logs stay in `home/logs`.
    """
    steps = (
        Step("start the fleet", _start),
        Step("ingest ten days", _ingest(1)),
        Step("train: the first model is promoted", _train(RunState.PROMOTED)),
        Step(f"start the load: {LOAD_RATE:.0f} predictions a second", _start_load),
        Step("ingest the ten days where volatility doubles", _ingest(2)),
        Step("train: the challenger is promoted", _train(RunState.PROMOTED)),
        Step("ingest eight shuffled days and two in order", _ingest(3)),
        Step("train: the challenger is refused", _train(RunState.REFUSED)),
        Step("roll back", _roll_back),
        Step("go forward again", _go_forward),
        Step("stop the load", _stop_load),
        Step("count", _count),
    )
    settings = {**_SETTINGS, "TRAIN_WINDOW_DAYS": "10"}
    return play(home, display, steps, ("--scenario", "demo", "--seed", str(seed)), settings)


def replay_demo(home: Path, display: Display, *, files: tuple[str, ...], timeframe: str | None) -> Report:
    """Recorded candles: ingest, train, gate and, when the gate passes, serve; whatever the verdict is.

    Raises:
        StepFailed: as `run_demo`.
        BadInput: a file does not exist or cannot be read, or its candles are not of `timeframe`.
    """
    steps = (
        Step("start the fleet", _start),
        Step("ingest the candles", _ingest(1)),
        Step("train and judge", _train(RunState.PROMOTED, RunState.REFUSED)),
        Step("serve", _serve_a_while),
        Step("count", _count),
    )
    paths = tuple(_absolute(file) for file in files)
    found = sorted({series.timeframe for series in replayed(paths).series})
    if len(found) > 1 or (timeframe is not None and found != [timeframe]):
        raise BadInput(f"the candles are of {', '.join(found)}; name files of one --timeframe, and that one")
    arguments = tuple(part for path in paths for part in ("--replay", path))
    return play(home, display, steps, arguments, {**_SETTINGS, "TRAIN_WINDOW_DAYS": "3650"})


def play(
    home: Path, display: Display, steps: tuple[Step, ...], simulator: tuple[str, ...], settings: Mapping[str, str]
) -> Report:
    """Play `steps` in `home` on a simulated exchange with the arguments `simulator`; then stop everything."""
    plan = _plan(home, simulator, settings)
    with (
        Supervisor(home, display.note) as supervisor,
        httpx.Client(base_url=plan.url(Role.EDGE), trust_env=False, timeout=_TRAIN_SECONDS) as edge,
    ):
        _wipe(home)
        stage = Stage(Fleet(plan, supervisor), supervisor, display, edge)
        for step in steps:
            with display.step(step.title):
                try:
                    step.act(stage)
                    supervisor.require_running()
                except (StepFailed, Unavailable) as error:
                    raise StepFailed(f"step '{step.title}' failed: {error.detail} (logs: {home / 'logs'})") from error
    assert stage.report is not None, "the last step counts"
    return stage.report


def _plan(home: Path, simulator: tuple[str, ...], settings: Mapping[str, str]) -> Plan:
    """Free ports, and nothing of the user's environment or .env that could change the story."""
    names = (*PORTS, VALKEY, Role.EXCHANGE_SIM)
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(("LC_", "PYTHON"))}
    return Plan(
        home=home,
        cwd=home,
        host="127.0.0.1",
        ports=dict(zip(names, free_ports(len(names)), strict=True)),
        environment=kept,
        simulator=simulator,
        settings=settings,
    )


def _wipe(home: Path) -> None:
    """Empty the demo's home, whose lock we hold."""
    for entry in home.iterdir():
        if entry.name == "run":
            (entry / "fleet.json").unlink(missing_ok=True)
        elif entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _absolute(file: str) -> str:
    """The path part of `FILE` or `NAME=FILE`, made absolute, for the fleet works in another folder."""
    name, equals, path = file.rpartition("=")
    if not Path(path).is_file():
        raise BadInput(f"file {path!r} does not exist; name recorded candles as feather, parquet or csv")
    return f"{name}{equals}{Path(path).absolute()}"


def _start(stage: Stage) -> None:
    parts = 5
    done = iter(range(parts))
    stage.fleet.start(lambda part: stage.display.progress(next(done) / parts, part))


def _ingest(phase: int) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        told = turn_clock(stage.fleet.plan.url(Role.EXCHANGE_SIM), phase=phase)
        begin = told["start"] if phase == 1 else told["phase_ends"][phase - 2]
        with ThreadPoolExecutor(1) as pool:
            ingested = pool.submit(stage.ask, "POST", "/ingest_once", until="now")
            while not ingested.done():
                _show_watermarks(stage, begin, told["now"])
                time.sleep(_POLL_SECONDS)
        for stream in ingested.result()["streams"]:
            if not stream["caught_up"]:
                why = (stream.get("error") or {}).get("detail", "it has not caught up with the exchange")
                raise StepFailed(f"{stream['stream']}: {why}")

    return act


def _show_watermarks(stage: Stage, begin: int, end: int) -> None:
    streams = stage.ask("GET", "/streams")["streams"]
    if streams:
        mean = sum(max(each["watermark"] or begin, begin) for each in streams) / len(streams)
        stage.display.progress((mean - begin) / (end - begin), f"{len(streams)} streams")


def _train(*expected: RunState) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        run = stage.ask("POST", "/train", wait="false")
        deadline = time.monotonic() + _TRAIN_SECONDS
        while not RunState(run["state"]).final:
            if time.monotonic() > deadline:
                raise StepFailed(f"run {run['run_id']} has not ended after {_TRAIN_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)
            stage.supervisor.require_running()
            run = stage.ask("GET", f"/runs/{run['run_id']}")
            _show_fit(stage.display, run["progress"])
        stage.runs.append(run)
        outcome = _outcome(run)
        if run["state"] not in expected:
            wanted = " or ".join(expected)
            raise StepFailed(f"run {run['run_id']} should have been {wanted}, and it was {outcome}")
        stage.display.note(f"run {run['run_id']}: {outcome}")
        if run["state"] == RunState.PROMOTED:
            _wait_served(stage, run["version"])

    return act


def _show_fit(display: Display, progress: Mapping[str, Any]) -> None:
    restarts = progress.get("restarts")
    if restarts:
        text = f"restart {progress.get('restart', 0)} of {restarts}, iteration {progress.get('iteration', 0)}"
        display.progress((progress.get("restart", 1) - 1) / restarts, text)


def _outcome(run: Mapping[str, Any]) -> str:
    """State of a run with what decided: the refusing step and its number, or the reason."""
    steps = (run["verdict"] or {}).get("steps", [])
    refusing = next((step for step in steps if not step["passed"]), None)
    if refusing:
        return f"{run['state']} by step {refusing['step']}: {refusing['reason']}"
    reason = run["metadata"]["reason"] or (steps[-1]["reason"] if steps else "")
    return f"{run['state']} {run['version'] or ''} {reason}".rstrip()


def _wait_served(stage: Stage, version: str) -> None:
    """Until the fleet's one address answers from `version`."""
    deadline = time.monotonic() + _SERVED_SECONDS
    while True:
        answer = stage.edge.post("/predict", json={"logret": [0.0001, -0.0002] * 40})
        if answer.status_code == 200 and answer.headers.get("X-Model-Version") == version:
            return
        if time.monotonic() > deadline:
            raise StepFailed(
                f"{version} is not served after {_SERVED_SECONDS:.0f} s; the last answer was {answer.status_code} "
                f"by {answer.headers.get('X-Model-Version')}: {answer.text[:300]}"
            )
        time.sleep(0.05)


def _start_load(stage: Stage) -> None:
    file = stage.load_file
    arguments = (stage.fleet.plan.url(Role.EDGE), str(LOAD_RATE), str(file))
    ready = lambda: file.exists() and file.stat().st_size > 0  # noqa: E731
    stage.supervisor.start([stage.fleet.module("load", "services.fleet.demo.load", *arguments, ready=ready)])


def _roll_back(stage: Stage) -> None:
    moved = stage.ask("POST", "/model/rollback", reason="the demo goes back")
    if moved["version"] != stage.runs[0]["version"]:
        raise StepFailed(f"rolled back to {moved['version']}, and {stage.runs[0]['version']} was the champion before")
    _wait_served(stage, moved["version"])
    time.sleep(1.0)  # so that the flip has a whole second of requests to count


def _go_forward(stage: Stage) -> None:
    moved = stage.ask("POST", f"/model/promote/{stage.runs[1]['version']}", reason="the demo goes forward again")
    _wait_served(stage, moved["version"])
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


def _count(stage: Stage) -> None:
    stage.report = collect(stage.fleet.plan, stage.supervisor, stage.load_file)
    if stage.report.failed_requests:
        raise StepFailed(f"{stage.report.failed_requests} of {stage.report.requests} requests under load failed")
