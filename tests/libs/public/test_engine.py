"""The engine's client, against a live param-controller."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.fleet.prove.apparatus.beside import served
from services.param_controller.app import build
from services.param_controller.settings import SHIPPED, ParamSettings
from tidewheel.contracts.keys import PairKey
from tidewheel.kit.settings import load
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import Ledger
from tidewheel.public import EngineClient, EngineError

STRATEGY, INSTRUMENT = "momentum_breakout", "binance:BTC/USDT:1m"


class Losing:
    """An app whose first answers to reports break off after their head, when the work has been done."""

    def __init__(self, app: ASGIApp, answers: int) -> None:
        self._app, self._left = app, answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lost = scope["type"] == "http" and scope["path"].startswith("/learn/") and self._left > 0
        if lost:
            self._left -= 1

        async def forward(message: Message) -> None:
            if not lost or message["type"] == "http.response.start":
                await send(message)

        await self._app(scope, receive, forward)


@pytest.fixture
def controller(ledger_dsn: str, data_dir: object) -> Callable[..., ASGIApp]:
    """The app of a controller with the shipped schemas."""

    def make() -> ASGIApp:
        values = {"ledger_db": ledger_dsn, "data_dir": data_dir, "schemas_dir": SHIPPED, "auth_mode": "dev"}
        return create_app(build(load(ParamSettings, **values)))

    return make


@contextmanager
def engine(app: ASGIApp) -> Iterator[EngineClient]:
    """A client of the app, whose pair has one preset."""
    with served(app) as url, EngineClient(url, patience=20) as client:
        body = {"preset_id": "balanced"}
        answer = httpx.post(f"{url}/preset/register/{STRATEGY}/binance%3ABTC%2FUSDT%3A1m", json=body)
        assert answer.status_code in (200, 201), answer.text
        yield client


def test_an_engine_asks_and_settles(controller: Callable[..., ASGIApp], ledger: Ledger) -> None:
    """The parameters are the preset's, the outcome is learnt once, whatever characters the instrument has."""
    with engine(controller()) as client:
        decision = client.decide(STRATEGY, INSTRUMENT, {"vol": 0.65})
        first = client.settle(decision, 0.8, event_id="fill-1")
        again = client.settle(decision, 0.8, event_id="fill-1")
        with pytest.raises(EngineError, match=r"0\.8") as refused:
            client.settle(decision, 0.9, event_id="fill-2")

    assert (decision.preset_id, decision.params["lookback_bars"], decision.reason) == ("balanced", 60, "exploited")
    assert decision.features_used["vol"]["value"] == 0.65 and decision.propensity == 1.0
    assert (first.repeated, first.learnt, again.repeated) == (False, True, True)
    assert (refused.value.status, refused.value.code) == (409, "another_reward")
    (logged,) = ledger.decisions.list(PairKey(STRATEGY, INSTRUMENT))
    assert logged.outcome is not None and str(logged.decision.config_id) == decision.config_id


def test_an_outcome_whose_answer_was_lost_counts_once(controller: Callable[..., ASGIApp], ledger: Ledger) -> None:
    """The client sends the same event again; the controller says that it knew."""
    with engine(controller()) as client:
        decision = client.decide(STRATEGY, INSTRUMENT, {"vol": 0.65})
        client.close()
    with engine(Losing(controller(), 2)) as client:
        settled = client.settle(decision, 0.8)

    assert settled.repeated
    (logged,) = ledger.decisions.list(PairKey(STRATEGY, INSTRUMENT))
    assert logged.outcome is not None and logged.outcome.reward == 0.8


def test_an_open_position_keeps_its_decision(controller: Callable[..., ASGIApp]) -> None:
    """Asking while a position is open decides nothing."""
    with engine(controller()) as client:
        entered = client.decide(STRATEGY, INSTRUMENT, {"vol": 0.65})
        held = client.decide(STRATEGY, INSTRUMENT, position_open=True)

    assert (held.config_id, held.params, held.reason) == (entered.config_id, entered.params, "position_open")


def test_a_refusal_is_told_with_code_and_sentence(controller: Callable[..., ASGIApp]) -> None:
    """What cannot be meant is not repeated."""
    with engine(controller()) as client:
        with pytest.raises(EngineError, match="vol") as refused:
            client.decide(STRATEGY, INSTRUMENT)
        with pytest.raises(EngineError) as unknown:
            client.decide(STRATEGY, "DOGE/USDT", {"vol": 0.65})
        with pytest.raises(EngineError, match="no hmm_url"):
            client.regime("binance:BTC/USDT:1m")

    assert (refused.value.status, refused.value.code) == (422, "bad_features")
    assert unknown.value.status == 404


def test_a_controller_that_is_away_is_told_in_time() -> None:
    """Nobody waits for ever."""
    with EngineClient("http://127.0.0.1:1", patience=0.3) as client, pytest.raises(EngineError) as away:
        client.decide(STRATEGY, INSTRUMENT)
    assert (away.value.code, away.value.status) == ("unreachable", 0)
