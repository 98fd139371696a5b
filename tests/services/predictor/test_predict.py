import json
import time

import pytest
from fastapi.testclient import TestClient

from services.predictor.schemas.predicting import MAX_BARS, MAX_RETURNS, PredictRequest
from services.predictor.service.regimes import Predictor, load_warm
from tests.libs.models.worlds import START
from tests.libs.modelstore.regimes import published_regime, regime, returns
from tests.services.predictor.conftest import BTC, bars, stored
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.features.returns import log_returns
from tidewheel.kit.json_bodies import flaw
from tidewheel.kit.settings import Settings
from tidewheel.ledger.open import Ledger
from tidewheel.modelstore.live import LiveModel
from tidewheel.modelstore.store import ModelStore

MINUTE = 60_000


@pytest.fixture
def version(store: ModelStore) -> str:
    """The current version when the predictor starts."""
    version = published_regime(store)
    store.point("hmm", version)
    return version


def test_no_model_yet_says_what_to_do(client: TestClient) -> None:
    """Before the first promotion /predict is 503 no_model with the remedy, /model says so, and /ready is up."""
    answer = client.post("/predict", json={"logret": returns(60)})

    assert (answer.status_code, answer.json()["code"]) == (503, "no_model")
    assert "POST /train" in answer.json()["detail"]
    assert "X-Model-Version" not in answer.headers
    assert client.get("/model").json()["loaded"] is None
    assert client.get("/ready").status_code == 200


def test_a_model_that_is_being_loaded_is_no_missing_one(store: ModelStore, ledger: Ledger, version: str) -> None:
    """Between a promotion and its load /predict says to wait, and not to train what was just trained."""
    loading = Predictor(ledger, store, LiveModel(store, "hmm", load_warm), instance="predictor-test", nowcast_bars=60)
    with pytest.raises(Unavailable, match=f"{version} of hmm was just promoted and is being loaded") as told:
        loading.predict(PredictRequest(logret=returns(60)), None)
    assert (told.value.code, told.value.extra["retry_after"]) == ("no_model", 1)


def test_log_returns(version: str, client: TestClient) -> None:
    """The answer is the model's own filter, names its version twice, and knows no time."""
    logret = returns(200)
    answer = client.post("/predict", json={"logret": logret})

    body, expected = answer.json(), regime().filter(logret).latest()
    assert answer.status_code == 200
    assert body["probs"] == pytest.approx(dict(expected.probs))
    assert sum(body["probs"].values()) == pytest.approx(1)
    assert body["confidence"] == max(body["probs"].values()) == body["probs"][body["state"]]
    assert (body["n_used"], body["data_time"], body["stale"]) == (200, None, None)
    assert body["model_version"] == answer.headers["X-Model-Version"] == version


def test_documented_examples_are_answered(version: str, client: TestClient) -> None:
    """What the API page shows works when it is pasted; the stream and the model are not in this ledger."""
    examples = client.get("/openapi.json").json()["components"]["schemas"]["PredictRequest"]["examples"]
    answers = {next(iter(example)): client.post("/predict", json=example) for example in examples}

    assert {kind: answer.status_code for kind, answer in answers.items()} == {
        "logret": 200, "stream": 404, "model_name": 400,
    }  # fmt: skip


def test_bars_carry_their_last_bars_time(version: str, client: TestClient) -> None:
    """Bars give the same regime as their log returns; old ones are stale, those of now are not."""
    frame = bars(100)
    old = client.post("/predict", json={"bars": frame.rows()}).json()
    same = client.post("/predict", json={"logret": log_returns(frame.close).tolist()}).json()
    recent = bars(100, start=(int(time.time()) // 60 - 100) * MINUTE)
    new = client.post("/predict", json={"bars": recent.rows()}).json()

    assert old["probs"] == pytest.approx(same["probs"])
    assert (old["data_time"], old["stale"], old["n_used"]) == (int(frame.open_time[-1]), True, 99)
    assert (new["data_time"], new["stale"]) == (int(recent.open_time[-1]), False)


def test_only_the_bars_since_the_last_gap_count(version: str, client: TestClient) -> None:
    """No return spans a hole."""
    rows = bars(100).rows()
    body = client.post("/predict", json={"bars": rows[:40] + rows[50:]}).json()
    short = client.post("/predict", json={"bars": rows[:80] + rows[90:]})

    assert body["n_used"] == 49
    assert short.status_code == 422
    assert (short.json()["code"], short.json()["needed"], short.json()["found"]) == ("not_enough_data", 31, 10)


def test_a_stream_of_the_ledger(version: str, ledger: Ledger, client: TestClient) -> None:
    """A stream is answered from its newest bars, with its own scale."""
    frame = bars(120)
    stored(ledger, BTC, frame)

    body = client.post("/predict", json={"stream": str(BTC)}).json()

    expected = regime().filter(log_returns(frame.close), stream=str(BTC)).latest()
    assert body["probs"] == pytest.approx(dict(expected.probs))
    assert (body["data_time"], body["n_used"], body["stale"]) == (int(frame.open_time[-1]), 119, False)


def test_a_stream_is_stale_by_its_exchanges_clock(version: str, ledger: Ledger, client: TestClient) -> None:
    """A synthetic exchange's clock shows in its other streams; a real one's is ours."""
    eth, other, real = (StreamKey.parse(f"{name}:1m") for name in ("binance:ETH/USDT", "okx:BTC/USDT", "kraken:A/B"))
    stored(ledger, BTC, bars(60))
    stored(ledger, eth, bars(60, start=START + 3 * MINUTE))
    stored(ledger, other, bars(60, start=START + 90 * MINUTE))
    stored(ledger, real, bars(60), origin=Origin.EXCHANGE)

    def stale(key: StreamKey) -> bool:
        answer: bool = client.post("/predict", json={"stream": str(key)}).json()["stale"]
        return answer

    assert not stale(BTC) and not stale(eth) and not stale(other)
    assert stale(real)
    stored(ledger, eth, bars(60, start=START + 4 * MINUTE))
    assert stale(BTC) and not stale(eth)


def test_too_few_points_say_how_many_are_needed(version: str, ledger: Ledger, client: TestClient) -> None:
    """29 log returns and 30 bars are too few; one more of each suffices."""
    stored(ledger, BTC, bars(30))
    cases = {"logret": returns(29), "bars": bars(30).rows(), "stream": str(BTC)}
    for kind, value in cases.items():
        answer = client.post("/predict", json={kind: value})
        assert (answer.status_code, answer.json()["code"]) == (422, "not_enough_data")
        assert str(answer.json()["needed"]) in answer.json()["detail"]
        assert answer.headers["X-Model-Version"] == version

    stored(ledger, BTC, bars(31))
    enough = {"logret": returns(30), "bars": bars(31).rows(), "stream": str(BTC)}
    assert {client.post("/predict", json={kind: value}).status_code for kind, value in enough.items()} == {200}


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("{}", "bad_input", "exactly one"),
        ('{"logret": [0.1], "stream": "binance:BTC/USDT:1m"}', "bad_input", "logret and stream"),
        ('{"logret": [], "bars": []}', "bad_input", "logret and bars"),
        ('{"logret": [0.1], "horizon": 3}', "bad_input", "horizon"),
        ('{"logret": [1e300]}', "bad_input", "20"),
        ('{"logret": "abc"}', "bad_input", "list"),
        ('{"logret": ["0.1"]}', "bad_input", "logret.0"),
        ('{"logret": [true]}', "bad_input", "logret.0"),
        ('{"bars": [[1, 2, 3]]}', "bad_input", "bars"),
        ('{"model_name": "baseline", "logret": [0.1]}', "bad_input", "logret and a registered model's fields"),
        ('{"bars": [], "save_to_db": false}', "bad_input", "bars and a registered model's fields"),
        ('{"stream": "binance"}', "bad_input", "exchange:symbol:timeframe"),
        ('{"stream": "binance:BTC/USDT:5m"}', "bad_input", "300000"),
        ('{"stream": "binance:BTC/USDT:1x"}', "bad_input", "1x"),
        ("[1", "bad_input", "JSON"),
    ],
)
def test_bad_requests(version: str, client: TestClient, body: str, code: str, says: str) -> None:
    """Whatever cannot be meant is a 422 whose sentence names it."""
    answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert says in answer.text
    assert answer.headers["X-Model-Version"] == version


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400"])
def test_numbers_that_are_not_finite(version: str, client: TestClient, number: str) -> None:
    """They are refused by name wherever they stand, never echoed, never a 500."""
    for body in (f'{{"logret": [{number}]}}', f'{{"bars": [[0, 1, 1, 1, 1, {number}]]}}'):
        answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_input")
        assert "finite" in answer.json()["detail"]


def test_bad_bars(version: str, client: TestClient) -> None:
    """Impossible bars and impossible moves are refused by name."""
    rows = [list(row) for row in bars(40).rows()]
    unaligned = [[row[0] + 1, *row[1:]] for row in rows]
    leap = [*rows[:-1], [rows[-1][0], 1e-300, 1e300, 1e-300, 1e300, 1.0]]
    low = [*rows[:-1], [rows[-1][0], 1.0, 0.5, 0.1, 1.0, 1.0]]
    beyond = [[10**30, *row[1:]] for row in rows]
    before = [[row[0] - 10**16, *row[1:]] for row in rows]
    times = ((beyond, "1e+30"), (before, "no UTC time"))
    for wrong, says in (
        *times,
        (unaligned, "multiple"),
        (leap, "e^20"),
        (low, "highest"),
        (rows + rows[-1:], "repeats"),
    ):
        answer = client.post("/predict", json={"bars": wrong})
        assert answer.status_code == 422
        assert says in answer.json()["detail"]


def test_an_unknown_stream_names_the_known_ones(version: str, ledger: Ledger, client: TestClient) -> None:
    """404, with what there is."""
    stored(ledger, BTC, bars(40))
    answer = client.post("/predict", json={"stream": "binance:DOGE/USDT:1m"})

    assert answer.status_code == 404
    assert str(BTC) in answer.json()["detail"]


def test_too_many_points(version: str, client: TestClient) -> None:
    """The most that the schema takes, in its longest spelling, is what a role reads by default; one more is refused."""
    longest, bar = -1.2345678901234567e-300, [1_767_225_600_000, *[1.2345678901234567e300] * 5]
    for name, item, most in (("logret", longest, MAX_RETURNS), ("bars", bar, MAX_BARS)):
        body = json.dumps({name: [item] * most}).encode()
        assert len(body) <= Settings.model_fields["max_body_bytes"].default and flaw(body) is None

        answer = client.post("/predict", json={name: [item] * (most + 1)})
        assert answer.status_code == 422
        assert f"at most {most} items" in answer.json()["detail"]


def test_the_longest_is_answered(version: str, client: TestClient) -> None:
    """The largest request of log returns, parsed apart from others, is filtered as any."""
    answer = client.post("/predict", json={"logret": returns(MAX_RETURNS).copy()})

    assert (answer.status_code, answer.json()["n_used"]) == (200, MAX_RETURNS)


def test_the_first_wrong_number_ends_the_search(version: str, client: TestClient) -> None:
    """A hundred thousand complaints would keep others waiting for half a second."""
    answer = client.post("/predict", json={"logret": ["x"] * MAX_RETURNS})

    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["errors"]] == [["body", "logret", "0"]]
