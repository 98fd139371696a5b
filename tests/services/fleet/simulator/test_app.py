from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from services.fleet.simulator.app import sim_app, simulated
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.times import DAY, MINUTE
from tidewheel.market.sim.engine import SimulatedExchange
from tidewheel.market.sim.scenario import START, demo


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(sim_app(SimulatedExchange(demo(1)))) as client:
        yield client


@pytest.mark.parametrize("prefix", ["/api/v3", "/fapi/v1"])
def test_both_faces_tell_time_pairs_and_origin(client: TestClient, prefix: str) -> None:
    assert client.get(f"{prefix}/ping").json() == {}
    assert client.get(f"{prefix}/time").json() == {"serverTime": START + 10 * DAY, "tidewheelOrigin": "synthetic"}
    info = client.get(f"{prefix}/exchangeInfo").json()
    assert [pair["symbol"] for pair in info["symbols"]] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    assert info["tidewheelOrigin"] == "synthetic"


def test_the_clock_jumps_by_phase_by_time_and_by_distance(client: TestClient) -> None:
    newest = {"symbol": "BTCUSDT", "interval": "1m", "limit": "1"}
    assert client.post("/_sim/clock", json={"phase": 2}).json()["now"] == START + 20 * DAY
    assert client.post("/_sim/clock", json={"advance_ms": MINUTE}).json()["now"] == START + 20 * DAY + MINUTE
    assert client.get("/api/v3/klines", params=newest).json()[0][0] == START + 20 * DAY + MINUTE
    assert client.post("/_sim/clock", json={"now": START + 30 * DAY}).json()["now"] == START + 30 * DAY
    assert client.get("/_sim/clock").json()["phase_ends"] == [START + days * DAY for days in (10, 20, 30)]


@pytest.mark.parametrize(
    ("move", "sentence"),
    [
        ({"now": START}, "only goes forward"),
        ({"phase": 4}, "phase 4 does not exist"),
        ({"phase": 2, "advance_ms": 5}, "jump only once"),
        ({"speed": -2}, "speed -2"),
    ],
)
def test_an_impossible_turn_is_refused_and_changes_nothing(
    client: TestClient, move: dict[str, float], sentence: str
) -> None:
    answer = client.post("/_sim/clock", json=move)

    assert answer.status_code == 422
    assert sentence in answer.json()["msg"]
    assert client.get("/_sim/clock").json()["now"] == START + 10 * DAY


def test_a_running_clock_runs(client: TestClient) -> None:
    before = client.post("/_sim/clock", json={"speed": 600_000}).json()["now"]

    assert client.get("/_sim/clock").json()["now"] > before


def test_a_refusal_has_binance_s_form_and_ends_by_itself(client: TestClient) -> None:
    client.post("/_sim/refuse", json={"status": 429, "retry_after": 7, "count": 1})
    refused = client.get("/api/v3/time")

    assert (refused.status_code, refused.headers["Retry-After"], refused.json()["code"]) == (429, "7", -1003)
    assert client.get("/api/v3/time").status_code == 200
    assert client.get("/_sim/clock").json()["requests"] == 2


def test_an_unknown_symbol_is_told_as_binance_does(client: TestClient) -> None:
    answer = client.get("/api/v3/klines", params={"symbol": "NOPE", "interval": "1m"})

    assert (answer.status_code, answer.json()) == (400, {"code": -1121, "msg": "Invalid symbol."})


def test_the_command_line_decides_where_the_clock_stands(tmp_path: Path) -> None:
    """Standing, everything recorded has closed; running, the recording is lived through from its start."""
    file = tmp_path / "ETH_BTC-1d.csv"
    file.write_text("date,open,high,low,close,volume\n2024-03-07,1,1,1,1,1\n2024-03-08,1,1,1,1,1\n")
    recorded = simulated((str(file),), "demo", 1, None)
    assert recorded.clock.now() == recorded.scenario.start + 2 * DAY
    running = simulated((str(file),), "demo", 1, 1.0)
    assert running.clock.now() < running.scenario.start + DAY
    assert simulated((), "demo", 1, None).clock.now() == START + 10 * DAY

    with pytest.raises(BadInput, match="'rainy' is not known"):
        simulated((), "rainy", 1, None)
