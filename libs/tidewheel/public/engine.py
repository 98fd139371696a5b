"""A trading engine's side of the loop: which parameters to trade with, in which regime, and what came of it.

```python
from tidewheel.public import EngineClient

with EngineClient("http://param_controller:8002", "http://ml_service:8000", key="twk_...") as engine:
    regime = engine.regime("binance:BTC/USDT:1m")
    decision = engine.decide("momentum_breakout", "BTC/USDT", {"vol": 0.65})
    ...                                    # trade with decision.params; tag the order with decision.config_id
    engine.settle(decision, reward=0.8, event_id="fill-8812")
```
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

_PATIENCE = 30.0  #: seconds, within which an answer that did not come is asked for again
_FIRST_PAUSE = 0.1  #: seconds; doubled each time, up to two
_LATER = frozenset({429, 502, 503, 504})  #: answers that mean: the same again, later


class EngineError(Exception):
    """The service refused, or could not be reached in time; `code` is stable, `status` 0 where no answer came."""

    def __init__(self, detail: str, *, code: str, status: int) -> None:
        super().__init__(detail)
        self.detail, self.code, self.status = detail, code, status


@dataclass(frozen=True, slots=True)
class Decision:
    """The parameters to trade with."""

    strategy: str
    instrument: str
    config_id: str  #: tags the order, and names the decision when it settles
    preset_id: str
    params: Mapping[str, Any]  #: inside the schema's bounds
    reason: str  #: explored, exploited, held_by_hysteresis, daily_limit, kill_switch, ...
    propensity: float  #: probability with which this preset was picked
    policy: str
    policy_version: str
    features_used: Mapping[str, Any]  #: name -> value, scaled value and where it came from


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a reported outcome."""

    config_id: str
    reward: float
    repeated: bool  #: it was known already, and nothing changed
    learnt: bool  #: it counts in the posterior
    left_out: str | None  #: why it does not


@dataclass(frozen=True, slots=True)
class Regime:
    """The market's regime at a stream's last bar."""

    state: str  #: bull, bear or chop
    probs: Mapping[str, float]
    stale: bool | None  #: whether the last bar is old
    model_version: str


class EngineClient:
    """Talks to the param-controller, and to the predictor for regimes.

    Connection errors, 429 and 503 are tried again for `patience` seconds; an outcome is sent with one `event_id` each
    time, so a repeat counts once. A decision that was asked for again because its answer was lost is another decision;
    the first is never settled and expires. Safe to share between threads.
    """

    def __init__(
        self,
        param_controller: str,
        hmm_url: str | None = None,
        *,
        key: str | None = None,
        timeout: float = 5.0,
        patience: float = _PATIENCE,
    ) -> None:
        """Addresses as in PARAM_CONTROLLER and HMM_URL; `timeout` and `patience` in seconds."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(timeout=timeout, headers=headers)
        self._controller = param_controller.rstrip("/")
        self._hmm = hmm_url.rstrip("/") if hmm_url else None
        self._patience = patience

    def decide(
        self,
        strategy: str,
        instrument: str,
        features: Mapping[str, float] | None = None,
        *,
        position_open: bool = False,
    ) -> Decision:
        """The parameter set for the next order; with `position_open` the one that the open position was entered with.

        Raises:
            EngineError: the pair has no preset (`not_found`), a feature cannot be used, or nobody answered in time.
        """
        query = {f"features[{name}]": repr(float(value)) for name, value in (features or {}).items()}
        if position_open:
            query["position"] = "open"
        place = f"{self._controller}/param/{quote(strategy, safe='')}/{quote(instrument, safe='')}"
        found = self._ask("GET", place, params=query)
        told = {name: found[name] for name in Decision.__dataclass_fields__ if name not in ("strategy", "instrument")}
        return Decision(strategy=strategy, instrument=instrument, **told)

    def settle(self, decision: Decision, reward: float, *, event_id: str | None = None) -> Settled:
        """Report what the trade brought, in the schema's unit, after costs.

        `event_id` names the fill or trade; without one a random one keeps the retries of this call apart from others.

        Raises:
            EngineError: another reward is known for the decision (`another_reward`), it expired, or nobody answered.
        """
        pair = f"{quote(decision.strategy, safe='')}/{quote(decision.instrument, safe='')}"
        body = {"reward": reward, "config_id": decision.config_id, "event_id": event_id or uuid.uuid4().hex}
        place = f"{self._controller}/learn/outcome/{pair}/{decision.preset_id}"
        found = self._ask("POST", place, json=body)
        return Settled(**{name: found[name] for name in Settled.__dataclass_fields__})

    def regime(self, stream: str | None = None, *, logret: Sequence[float] | None = None) -> Regime:
        """The regime at the last bar of `stream`, such as `binance:BTC/USDT:1m`, or of log returns [n >= 30].

        Raises:
            ValueError: neither was given, or both.
            EngineError: the client was given no HMM_URL, no model is in service, or the stream is unknown.
        """
        if (stream is None) == (logret is None):
            raise ValueError("give a stream or log returns, one of them")
        if self._hmm is None:
            raise EngineError("this client was given no hmm_url to ask for regimes", code="no_address", status=0)
        body = {"stream": stream} if stream else {"logret": list(logret or ())}
        found = self._ask("POST", f"{self._hmm}/predict", json=body)
        return Regime(**{name: found[name] for name in Regime.__dataclass_fields__})

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, method: str, place: str, **sent: Any) -> dict[str, Any]:
        deadline, pause = time.monotonic() + self._patience, _FIRST_PAUSE
        while True:
            try:
                answer = self._http.request(method, place, **sent)
            except httpx.TransportError as error:
                trouble = EngineError(f"{place} did not answer: {error}", code="unreachable", status=0)
            else:
                if answer.is_success:
                    found: dict[str, Any] = answer.json()
                    return found
                trouble = _refusal(place, answer)
                if answer.status_code not in _LATER:
                    raise trouble
                pause = max(pause, _told(answer))
            if time.monotonic() + pause > deadline:
                raise trouble
            time.sleep(pause)
            pause = min(2.0, 2 * pause)


def _refusal(place: str, answer: httpx.Response) -> EngineError:
    problem = answer.headers.get("Content-Type", "").startswith("application/problem+json")
    members = answer.json() if problem else {}
    detail = members.get("detail", f"{place} answered {answer.status_code}")
    return EngineError(detail, code=members.get("code", "refused"), status=answer.status_code)


def _told(answer: httpx.Response) -> float:
    """Seconds that Retry-After asks for; 0 where it names a date or nothing."""
    told = answer.headers.get("Retry-After", "")
    return float(told) if told.isdigit() else 0.0
