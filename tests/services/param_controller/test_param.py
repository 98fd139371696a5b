"""The life of a preset, a decision and its outcome over HTTP."""

import json
import math
import re
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from services.fleet.edge.app import EdgeSettings, edge_app
from services.fleet.prove.apparatus.beside import served
from services.param_controller.schemas import ParamQuery
from tests.problems import problem_of
from tests.services.param_controller.asked import BREAKOUT
from tests.services.param_controller.conftest import Api
from tests.waiting import until
from tidewheel.bandits.context import encode
from tidewheel.contracts.errors import TidewheelError
from tidewheel.contracts.keys import ConfigId, PairKey
from tidewheel.kit.settings import load
from tidewheel.ledger.open import Ledger

BTC = PairKey("breakout", "BTC/USDT")


def test_presets_are_a_menu_that_never_changes(api: Api) -> None:
    """The same again is 200, other params or a retired name 409, unsafe ones 422 with parameter and bound."""
    params = {"lookback": 60, "stop": 2}
    made = api.register("mid", params)
    assert made.status_code == 201 and made.json()["params"] == {"lookback": 60, "stop": 2.0}
    again = api.register("mid", {"stop": 2.0, "lookback": 60.0})
    assert again.status_code == 200 and again.json() == made.json()
    problem_of(api.register("mid", params | {"stop": 2.5}), 409, "preset_differs")
    refused = problem_of(api.register("wild", params | {"stop": 9}), 422, "out_of_bounds")
    assert refused["parameter"] == "stop" and refused["bounds"] == [0.5, 5.0]
    problem_of(api.register("wild", {"stop": 2}), 422, "wrong_parameters")
    problem_of(api.register("wild", None), 422, "wrong_parameters")
    problem_of(api.register("Wild", params), 422, "bad_input")
    problem_of(api.register("mid", params, pair="scalping/BTC/USDT"), 404, "unknown_strategy")

    for unsaid in ("", " \n", "so\0so"):
        path, body = f"/preset/retire/{api.pair}", {"preset_id": "mid", "reason": unsaid}
        problem_of(api.client.post(path, json=body), 422, "bad_input")
    retired = api.client.post(f"/preset/retire/{api.pair}", json={"preset_id": "mid", "reason": "too few trades"})
    assert retired.status_code == 200 and retired.json()["retired_reason"] == "too few trades"
    problem_of(api.register("mid", params), 409, "preset_retired")
    listed = api.client.get(f"/preset/{api.pair}").json()["presets"]
    assert [(each["preset_id"], each["retired_at"] is None) for each in listed] == [
        ("fast", True), ("slow", True), ("mid", False)
    ]  # fmt: skip
    problem_of(api.client.get("/preset/breakout/ETH/USDT"), 404, "unknown_pair")


def test_a_decision_says_what_it_is(api: Api, ledger: Ledger) -> None:
    """Every answer is a row of its own, with its context, propensity and reason."""
    problem_of(api.ask(pair="breakout/ETH/USDT"), 404, "unknown_pair")
    problem_of(api.ask(pair="scalping/BTC/USDT"), 404, "unknown_strategy")
    first, second = api.decide("features[vol]=0.3&features[trend]=5"), api.decide("features%5Bvol%5D=3e-1")
    assert re.fullmatch(r"[0-9]+:(fast|slow)", first["config_id"]) and first["config_id"] != second["config_id"]
    assert (
        first["params"]
        == {"fast": {"lookback": 20, "stop": 1.5}, "slow": {"lookback": 120, "stop": 3.0}}[first["preset_id"]]
    )
    assert first["features_used"] == {
        "vol": {"value": 0.3, "scaled": pytest.approx(1.0), "source": "request"},
        "trend": {"value": 5.0, "scaled": 3.0, "source": "request"},
    }
    assert second["features_used"]["trend"] == {"value": 0.0, "scaled": 0.0, "source": "default"}
    assert first["policy"] == "lints" and re.fullmatch(r"lints-[0-9a-f]{8}", first["policy_version"])
    assert first["propensity"] == pytest.approx(0.5)  # nothing was learnt: two alike
    assert {first["reason"], second["reason"]} <= {"explored", "exploited"}
    stored = ledger.decisions.get(ConfigId.parse(first["config_id"]))
    assert stored.context == pytest.approx((1.0, 1.0, 3.0)) and stored.propensity == first["propensity"]
    logged = api.client.get(f"/decisions/{api.pair}?limit=1").json()["decisions"]
    assert [each["config_id"] for each in logged] == [second["config_id"]]
    assert logged[0]["outcome"] is None and math.isclose(sum(logged[0]["propensities"].values()), 1.0)


@pytest.mark.parametrize(
    ("query", "code", "sentence"),
    [
        ("", "bad_features", "vol is missing; send features[vol]"),
        ("features[vol]=nan", "bad_features", "features[vol] = 'nan' is not a finite number"),
        ("features[vol]=1e400", "bad_features", "features[vol] = '1e400' is not a finite number"),
        ("features[vol]=1_0", "bad_features", "features[vol] = '1_0' is not a finite number"),
        ("features[vol]=", "bad_features", "features[vol] = '' is not a finite number"),
        ("features[vol]=0.3&features[mood]=1", "bad_features", "'mood' is no feature; breakout takes vol, trend"),
        ("features[vol]=0.3&features[vol]=0.3", "bad_input", "stands twice"),
        ("feature[vol]=0.3", "bad_input", "'feature[vol]' is not asked for here"),
        ("features[vol]=0.3&position=maybe", "bad_input", "position = 'maybe' is neither new nor open"),
        ("features[vol]=0.3&config_id=1:fast", "bad_input", "send position=open with it"),
        ("position=open&config_id=fast", "bad_input", "config_id 'fast' is not of the form"),
        ("features[vol]=%ff", "bad_input", "the query is not UTF-8"),
        ("&".join(f"features[f{n}]=1" for n in range(65)), "bad_input", "more than 64 fields"),
    ],
)
def test_odd_questions_are_refused_with_the_name(query: str, code: str, sentence: str) -> None:
    """What cannot be meant decides nothing."""
    with pytest.raises(TidewheelError) as refused:
        asked = ParamQuery.of(query.encode())
        encode(BREAKOUT, asked.features, {})
    assert refused.value.code == code and sentence in refused.value.detail and refused.value.status == 422


@pytest.mark.parametrize("written", ["BTC/USDT:USDT", "BTC%2FUSDT%3AUSDT", "BTC%2fUSDT:USDT"])
def test_instruments_hold_slashes_and_colons(api: Api, written: str, ledger: Ledger) -> None:
    """Plain or encoded, in every route, it is one instrument."""
    assert api.register("fast", None, pair=f"breakout/{written}").status_code == 201
    swap = Api(api.client, f"breakout/{written}")
    decision = swap.decide()
    assert decision["instrument"] == "BTC/USDT:USDT"
    assert swap.learn("fast", reward=1.0, config_id=decision["config_id"]).status_code == 200
    for route in ("preset", "decisions"):
        assert api.client.get(f"/{route}/breakout/{written}").status_code == 200
    done = api.client.post(f"/preset/retire/breakout/{written}", json={"preset_id": "fast", "reason": "x"})
    assert done.status_code == 200
    problem_of(swap.ask(), 409, "no_live_preset")
    assert [pair.key.instrument for pair in ledger.presets.pairs()] == ["BTC/USDT", "BTC/USDT:USDT"]


def test_the_edge_passes_an_encoded_instrument_on(api: Api) -> None:
    """An engine that knows one address asks and reports through it, with the instrument encoded or not."""
    with (
        served(edge_app(load(EdgeSettings, upstream_param_controller=str(api.client.base_url)))) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        for written in ("BTC%2FUSDT", "BTC/USDT"):
            edge = Api(client, f"breakout/{written}")
            decision = edge.decide("features%5Bvol%5D=0.3")
            assert decision["instrument"] == "BTC/USDT" and decision["features_used"]["vol"]["value"] == 0.3
            assert edge.learn(decision["preset_id"], reward=1, config_id=decision["config_id"]).status_code == 200


def test_outcomes_count_once(api: Api, ledger: Ledger) -> None:
    """A repeat changes nothing, another reward is 409, an unknown decision 404, an absurd reward 422."""
    one, two = api.decide("features[vol]=0.1"), api.decide()
    told = api.learn(one["preset_id"], reward=70, config_id=one["config_id"], features={"vol": 0.1, "trend": 9})
    assert told.status_code == 200
    answer = told.json()
    assert (answer["reward"], answer["learnt_reward"], answer["learnt"]) == (70, 50, True)
    assert (answer["inferred"], answer["repeated"]) == (False, False) and answer["features_differ"] == ["trend"]
    again = api.learn(one["preset_id"], reward=70, config_id=one["config_id"])
    assert again.status_code == 200 and again.json()["repeated"]
    problem_of(api.learn(one["preset_id"], reward=71, config_id=one["config_id"]), 409, "another_reward")
    problem_of(api.learn("fast", reward=1, config_id="999:fast"), 404, "unknown_decision")
    other = "slow" if one["preset_id"] == "fast" else "fast"
    problem_of(api.learn(other, reward=1, config_id=one["config_id"]), 422, "wrong_decision")
    problem_of(api.learn("fast", reward=1001), 422, "absurd_reward")
    for odd in (True, "1", None):
        problem_of(api.learn("fast", reward=odd), 422, "bad_input")
    problem_of(api.learn("fast", reward=1, features={"x" * 65: 1.0}), 422, "bad_input")
    inferred = api.learn(two["preset_id"], reward=0, event_id="order-17").json()
    assert inferred["inferred"] and inferred["config_id"] == two["config_id"]
    assert api.learn(two["preset_id"], reward=0, event_id="order-17").json()["repeated"]
    problem_of(api.learn(two["preset_id"], reward=0), 404, "unknown_decision")
    assert ledger.presets.pair(BTC).learnt == 2 and ledger.posteriors.check(BTC) == 0.0


def test_what_is_learnt_is_served(api: Api) -> None:
    """The preset that pays is the one that is chosen, and both reasons are told truly."""
    for _ in range(40):
        decision = api.decide()
        reward = 10.0 if decision["preset_id"] == "fast" else -10.0
        assert api.learn(decision["preset_id"], reward=reward, config_id=decision["config_id"]).status_code == 200
    newest = api.decide()
    assert (newest["preset_id"], newest["reason"]) == ("fast", "exploited") and newest["propensity"] > 0.99


def test_many_at_once(api: Api, ledger: Ledger) -> None:
    """Questions and reports of many engines at the same time: each has its own answer, and all of it is in the log."""

    def trade(number: int) -> str:
        with httpx.Client(base_url=api.client.base_url, timeout=60) as client:
            engine = Api(client)
            decision = engine.decide(f"features[vol]={0.1 + number / 100}")
            told = engine.learn(decision["preset_id"], reward=number, config_id=decision["config_id"])
            assert told.json()["reward"] == number and told.json()["config_id"] == decision["config_id"]
            return str(decision["config_id"])

    with ThreadPoolExecutor(8) as engines:
        ids = set(engines.map(trade, range(40)))
    assert len(ids) == 40
    rows = list(ledger.decisions.log(BTC))
    assert {str(row.decision.config_id) for row in rows} == ids
    assert [row.decision.number for row in rows] == list(range(1, 41))
    for row in rows:
        assert row.outcome is not None
        assert row.decision.features_used["vol"]["value"] == pytest.approx(0.1 + row.outcome.reward / 100)
    assert ledger.posteriors.check(BTC) == 0.0


def test_an_outcome_counts_once_however_often_and_badly_it_is_sent(api: Api, ledger: Ledger) -> None:
    """Eight engines post each outcome four times, some over connections that are cut (R12)."""
    decisions = [api.decide(f"features[vol]={0.05 * number}") for number in range(24)]
    address = urlsplit(str(api.client.base_url))

    def cut(path: str, body: bytes) -> None:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        with socket.create_connection((str(address.hostname), address.port or 0), timeout=60) as connection:
            connection.sendall(head.encode() + b"\r\n" + body)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends with a reset

    def report(number: int) -> bool:
        decision = decisions[number % len(decisions)]
        body = {"reward": float(number % len(decisions)), "config_id": decision["config_id"]}
        if number % 5 == 0:
            cut(f"/learn/outcome/{api.pair}/{decision['preset_id']}", json.dumps(body).encode())
            return False
        answer = api.learn(decision["preset_id"], **body)
        assert answer.status_code == 200, answer.text
        return not answer.json()["repeated"]

    with ThreadPoolExecutor(8) as engines:
        new = sum(engines.map(report, range(96)))
    until(lambda: ledger.presets.pair(BTC).learnt == 24)
    assert 0 < new <= 24
    assert sorted(row.outcome.reward for row in ledger.decisions.log(BTC) if row.outcome) == [*map(float, range(24))]
    assert ledger.posteriors.check(BTC) <= 1e-9
