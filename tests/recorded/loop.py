"""The whole loop over a replayed exchange: each role's own app and settings, on one ledger and one models folder."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from services.fleet.prove.apparatus.beside import served
from services.fleet.simulator.app import sim_app
from services.ingester import app as ingester
from services.ingester.settings import IngesterSettings
from services.ml_trainer import app as trainer
from services.ml_trainer.settings import TrainerSettings
from services.predictor import app as predictor
from services.predictor.settings import PredictorSettings
from tidewheel.contracts.messages import TrainRun
from tidewheel.kit.settings import Settings, load
from tidewheel.kit.web import create_app
from tidewheel.market.sim.clock import VirtualClock
from tidewheel.market.sim.engine import SimulatedExchange
from tidewheel.market.sim.replay import replayed

NOWHERE = "redis://127.0.0.1:1/0"  # the message that a worker would get is handed to it by the test


class Loop:
    """A fleet in one process, and the exchange that it reads."""

    def __init__(self, exchange: SimulatedExchange, roles: dict[str, TestClient], train: Any) -> None:
        self.exchange, self._roles, self._train = exchange, roles, train

    def ask(self, role: str, method: str, path: str, expect: int = 200, **options: Any) -> dict[str, Any]:
        """The answer of a role's HTTP face."""
        answer = self._roles[role].request(method, path, **options)
        assert answer.status_code == expect, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def ingest(self) -> dict[str, dict[str, Any]]:
        """Fetch and seal all that has closed; the report of each stream."""
        told = self.ask("ingester", "POST", "/ingest_once", params={"until": "now"})
        assert all(each["caught_up"] for each in told["streams"]), told
        return {each["stream"]: each for each in told["streams"]}

    def train(self) -> dict[str, Any]:
        """Start a run as a user does, carry it out as the worker does, and look at it as a user does."""
        run = self.ask("ml-trainer", "POST", "/train", expect=202, params={"wait": "false"})
        self._train(TrainRun(run_id=run["run_id"]))
        return self.ask("ml-trainer", "GET", f"/runs/{run['run_id']}")


@contextmanager
def loop(
    files: list[Path], timeframe: str, home: Path, dsn: str, *, exactly_once: bool, until: float = 1.0
) -> Iterator[Loop]:
    """A loop over `files`, whose exchange's clock stands at the fraction `until` of their time."""
    scenario = replayed(tuple(map(str, files)))
    end = scenario.ends[-1]
    clock = VirtualClock(scenario.start + int((end - scenario.start) * until))
    exchange = SimulatedExchange(scenario, clock)
    with ExitStack() as stack:
        shared = {
            "tidewheel_home": home, "data_dir": home / "ml", "models_dir": home / "models", "ledger_db": dsn,
            "redis_url": NOWHERE, "auth_mode": "dev",
        }  # fmt: skip
        url = stack.enter_context(served(sim_app(exchange)))
        symbols = tuple(each.symbol for each in scenario.series)
        asked = {"exchange_url": url, "symbols": symbols, "timeframe": timeframe, "start_ts": scenario.start}
        learning = {"timeframe": timeframe, "exactly_once": exactly_once, "restarts": 3}

        def settings(kind: type[Any], **own: Any) -> Any:
            found: Settings = load(kind, **shared, **own)
            return found

        services = {
            "ingester": ingester.build(settings(IngesterSettings, **asked)),
            "ml-trainer": trainer.build(settings(TrainerSettings, **learning)),
            "predictor": predictor.build(settings(PredictorSettings)),
        }
        roles = {name: stack.enter_context(TestClient(create_app(each))) for name, each in services.items()}
        worker = trainer.build_worker(settings(TrainerSettings, **learning))
        for close in worker.close:
            stack.callback(close)
        yield Loop(exchange, roles, worker.tasks[TrainRun])
