"""A param-controller behind the product's own server, over a real ledger of each dialect."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.fleet.prove.apparatus.beside import served
from services.param_controller.app import build
from services.param_controller.settings import ParamSettings
from tests.services.param_controller.asked import SCHEMA
from tidewheel.kit.settings import load
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import Ledger

Make = Callable[..., ParamSettings]


@pytest.fixture
def schemas_dir(tmp_path: Path) -> Path:
    """A folder with the schema of one strategy, `breakout`."""
    folder = tmp_path / "schemas"
    folder.mkdir()
    (folder / "breakout.yaml").write_text(SCHEMA)
    return folder


@pytest.fixture
def settings(ledger_dsn: str, data_dir: Path, schemas_dir: Path) -> Make:
    """Settings of a controller on the test's ledger and schemas."""

    def make(**changes: Any) -> ParamSettings:
        values: dict[str, Any] = {
            "ledger_db": ledger_dsn,
            "data_dir": data_dir,
            "schemas_dir": schemas_dir,
            "auth_mode": "dev",
            "instance": "param-controller-test",
        }
        return load(ParamSettings, **(values | changes))

    return make


@dataclass
class Api:
    """Calls the controller; what is refused comes back as it is."""

    client: httpx.Client
    pair: str = "breakout/BTC/USDT"

    def register(self, preset: str, params: dict[str, Any] | None, pair: str | None = None) -> httpx.Response:
        """Register a preset."""
        body = {"preset_id": preset} | ({} if params is None else {"params": params})
        return self.client.post(f"/preset/register/{pair or self.pair}", json=body)

    def ask(self, query: str = "features[vol]=0.3", pair: str | None = None) -> httpx.Response:
        """Ask for a preset."""
        return self.client.get(f"/param/{pair or self.pair}?{query}")

    def decide(self, query: str = "features[vol]=0.3") -> dict[str, Any]:
        """A decision that must be made."""
        answer = self.ask(query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def learn(self, preset: str, **body: Any) -> httpx.Response:
        """Report an outcome."""
        return self.client.post(f"/learn/outcome/{self.pair}/{preset}", json=body)


@pytest.fixture
def api(settings: Make, ledger: Ledger) -> Iterator[Api]:
    """A running controller, whose pair has two presets."""
    with served(create_app(build(settings()))) as url, httpx.Client(base_url=url, timeout=60) as client:
        running = Api(client)
        for preset in ("fast", "slow"):
            assert running.register(preset, None).status_code == 201
        yield running
