"""A story: the whole fleet on a simulated exchange, played step by step in a home that is wiped first.

The first step that fails ends it and is named. `tidewheel demo` and the tours are stories.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from services.fleet.display import Display
from services.fleet.local.fleet import VALKEY, Fleet, Plan
from services.fleet.local.ports import free_ports
from services.fleet.local.supervisor import Supervisor
from services.fleet.simulator.clock import turn_clock
from tidewheel.contracts.errors import TidewheelError, Unavailable
from tidewheel.contracts.roles import PORTS, Role
from tidewheel.contracts.states import RunState

TRAIN_SECONDS = 300.0
_POLL_SECONDS = 0.2
_SERVED_SECONDS = 15.0
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")
SETTINGS = {
    "AUTH_MODE": "dev",
    "EXACTLY_ONCE": "false",
    "INGEST_CRON": "off",
    "RETRAIN_CRON": "off",
    "BATCH_LIMIT": "1000",
}


class StepFailed(TidewheelError):
    """A step did not do what the story promises."""

    code, title = "demo_failed", "The story failed"


@dataclass(frozen=True, slots=True)
class Step:
    """One sentence of the story."""

    title: str
    act: Callable[["Stage"], object]


@dataclass
class Stage:
    """What the steps share."""

    fleet: Fleet
    supervisor: Supervisor
    display: Display
    edge: httpx.Client
    runs: list[dict[str, Any]] = field(default_factory=list)  #: answers of GET /runs/{id}, in order

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


def play(
    home: Path, display: Display, steps: Sequence[Step], simulator: tuple[str, ...], settings: Mapping[str, str]
) -> Any:
    """Play `steps` in `home` on a simulated exchange with the arguments `simulator`; then stop everything.

    Gives what the last step gave.

    Raises:
        StepFailed: names the step and why; everything is stopped by then, logs stay in `home/logs`.
    """
    plan = _plan(home, simulator, settings)
    with (
        Supervisor(home, display.note) as supervisor,
        httpx.Client(base_url=plan.url(Role.EDGE), trust_env=False, timeout=TRAIN_SECONDS) as edge,
    ):
        _wipe(home)
        stage = Stage(Fleet(plan, supervisor), supervisor, display, edge)
        for step in steps:
            with display.step(step.title):
                try:
                    told = step.act(stage)
                    supervisor.require_running()
                except (StepFailed, Unavailable) as error:
                    raise StepFailed(f"step '{step.title}' failed: {error.detail} (logs: {home / 'logs'})") from error
    return told


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
    """Empty the story's home, whose lock we hold."""
    for entry in home.iterdir():
        if entry.name == "run":
            (entry / "fleet.json").unlink(missing_ok=True)
        elif entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def start(stage: Stage) -> None:
    """Start the fleet."""
    parts = 5
    done = iter(range(parts))
    stage.fleet.start(lambda part: stage.display.progress(next(done) / parts, part))


def ingest(phase: int) -> Callable[[Stage], None]:
    """Turn the exchange's clock to the end of that phase, and ingest up to there."""

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


def train(*expected: RunState) -> Callable[[Stage], None]:
    """Train, and end in one of the `expected` states; a promoted model is served before the step is over."""

    def act(stage: Stage) -> None:
        run = stage.ask("POST", "/train", wait="false")
        deadline = time.monotonic() + TRAIN_SECONDS
        while not RunState(run["state"]).final:
            if time.monotonic() > deadline:
                raise StepFailed(f"run {run['run_id']} has not ended after {TRAIN_SECONDS:.0f} s")
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
            wait_served(stage, run["version"])

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


def wait_served(stage: Stage, version: str) -> None:
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
