"""BounceHunter over HTTP: scans by their way to a model, and what they refuse."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from services.predictor.api.bounce import router
from services.predictor.app import build
from services.predictor.service.bounce.backtests import WAITING as BACKTESTS_WAITING
from services.predictor.service.bounce.backtests import Backtests
from services.predictor.service.bounce.runs import WAITING
from services.predictor.service.bounce.scans import QUEUED, Scans
from services.predictor.settings import PredictorSettings
from tests.services.predictor.hunting import training
from tests.tickers import stock
from tests.waiting import until
from tidewheel.bounce.entries import ModelCache
from tidewheel.bounce.files import Made
from tidewheel.bounce.market import DailyBars
from tidewheel.contracts.roles import Role
from tidewheel.contracts.states import RunState, Scope
from tidewheel.contracts.times import iso
from tidewheel.kit.service import Service
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Stream
from tidewheel.market.sim.dips import DipsMarket, dips_market

TICKERS = ["AAPL", "AMD", "MSFT", "TSLA"]
SCAN, CACHE = "/api/bouncehunter/scan", "/api/bouncehunter/cache"
BACKTEST = "/api/bouncehunter/backtest"
SESSIONS = 897  #: the last of them is a dip of TSLA's that the model rates high
Predictor = Callable[..., Any]


@pytest.fixture(scope="module")
def market() -> DipsMarket:
    return dips_market(TICKERS, 1_000)


@pytest.fixture
def stocked(ledger: Ledger, market: DipsMarket) -> None:
    """A ledger whose newest session holds a signal."""
    stock(ledger, {ticker: frame.take(slice(SESSIONS)) for ticker, frame in market.frames.items()})


@pytest.fixture
def predictor(settings: Callable[..., PredictorSettings], tmp_path: Path) -> Predictor:
    """Starts a predictor process's app."""

    @contextmanager
    def started(**changes: Any) -> Iterator[TestClient]:
        chosen = {"model_cache_dir": tmp_path / "model_cache", "scan_wait_seconds": 60.0} | changes
        with TestClient(create_app(build(settings(**chosen)))) as client:
            yield client

    return started


@pytest.fixture
def trainer(ledger: Ledger, tmp_path: Path) -> Iterator[None]:
    with training(ledger, tmp_path):
        yield


def scanned(client: TestClient, tickers: list[str] | None = None, **more: Any) -> dict[str, Any]:
    answer = client.post(SCAN, json={"tickers": tickers or TICKERS} | more)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def problem(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


@pytest.mark.usefixtures("stocked", "trainer")
def test_a_model_comes_from_memory_else_from_disk_else_from_a_run(ledger: Ledger, predictor: Predictor) -> None:
    """Each way gives the same signals. What is bypassed is not kept; what is refreshed is; age and limit decide."""
    with predictor() as client:
        first = scanned(client, ["tsla", "MSFT", "AMD", "AAPL", "AAPL"])
        again = scanned(client)
        with predictor() as other:
            elsewhere = scanned(other)
        bypassed = scanned(client, use_cache=False)
        after = scanned(client)
        refreshed = scanned(client, force_refresh=True)
        old = scanned(client, max_cache_age_hours=0)

    told = (first, again, elsewhere, bypassed, after, refreshed, old)
    sources = ["trained", "memory", "disk", "bypassed", "memory", "trained", "trained"]
    assert [each["cache_info"]["source"] for each in told] == sources
    assert all(each["signals"] == first["signals"] for each in told)
    assert len({each["cache_info"]["bundle"] for each in told}) == 1, "the same bars are the same version"
    runs = {run.id: run for run in ledger.runs.list()}
    assert [each["cache_info"]["run_id"] for each in told if each["cache_info"]["run_id"]] == sorted(runs)
    assert {run.trigger for run in runs.values()} == {"scan"}
    assert {run.state for run in runs.values()} == {RunState.PROMOTED}
    assert after["cache_info"]["updated_at"] == first["cache_info"]["updated_at"], "what was bypassed is not kept"
    assert old["cache_info"]["updated_at"] > refreshed["cache_info"]["updated_at"] > first["cache_info"]["updated_at"]

    (signal,) = first["signals"]
    assert (signal["ticker"], signal["signal_date"], signal["vix_regime"]) == ("TSLA", first["session"], "normal")
    assert signal["probability"] >= first["volatility"]["threshold"] == 0.62
    assert signal["z_score"] <= -1.5 and signal["rsi2"] <= 10 and signal["distance_200ma"] > -0.12
    assert signal["target_price"] == pytest.approx(1.03 * signal["entry_price"])
    assert signal["stop_price"] == pytest.approx(0.97 * signal["entry_price"])
    assert (first["total_tickers_scanned"], first["signals_found"], first["left_out"]) == (4, 1, {})
    assert first["statistics"] == {
        "avg_probability": signal["probability"],
        "max_probability": signal["probability"],
        "min_probability": signal["probability"],
        "avg_z_score": signal["z_score"],
        "gap_down_count": int(signal["gap_down"] < 0),
        "training_samples": first["cache_info"]["training_samples"],
    }
    assert (first["origin"], first["volatility"]["source"]) == ("synthetic", "universe")
    assert [warning.partition(",")[0] for warning in first["warnings"]] == [
        f"the newest session is of {first['session']}"
    ]


@pytest.mark.usefixtures("stocked")
def test_who_does_not_wait_follows_the_run(ledger: Ledger, predictor: Predictor, tmp_path: Path) -> None:
    """202 with the run; when it has ended the same scan is answered from what it kept."""
    with predictor(scan_wait_seconds=0.0) as client:
        ledger.replicas.beat("elsewhere", Role.TRAINER, "", None, None)
        answer = client.post(SCAN, json={"tickers": TICKERS})
        again = client.post(SCAN, json={"tickers": TICKERS})
        (run,) = ledger.runs.list()
        assert (answer.status_code, again.json()) == (202, answer.json())
        assert answer.json() == {"run_id": run.id, "state": "queued", "follow": f"/runs/{run.id}"}
        with training(ledger, tmp_path):
            until(lambda: ledger.runs.get(run.id).state.final)
        assert scanned(client)["cache_info"]["source"] == "disk"


@pytest.mark.usefixtures("stocked")
def test_scans_at_once_make_one_run(ledger: Ledger, predictor: Predictor, tmp_path: Path) -> None:
    """Of two processes, too; those who wait keep nobody else waiting, and one more than may wait is told to follow."""
    ledger.replicas.beat("elsewhere", Role.TRAINER, "", None, None)
    with predictor() as one, predictor() as other, ThreadPoolExecutor(WAITING + 2) as callers:
        clients = (other,) + (one,) * (WAITING + 1)
        asked = [callers.submit(client.post, SCAN, json={"tickers": TICKERS}) for client in clients]
        (told,), waiting = wait(asked, return_when=FIRST_COMPLETED)
        assert told.result().status_code == 202
        assert one.get(f"{CACHE}/list").json() == {"models": [], "total": 0, "total_bytes": 0}
        with training(ledger, tmp_path):
            answers = [each.result().json() for each in waiting]

    assert len(ledger.runs.list()) == 1
    assert len(answers) == WAITING + 1
    assert {each["cache_info"]["run_id"] for each in answers} == {told.result().json()["run_id"]}
    assert all(each["signals"] == answers[0]["signals"] for each in answers)


@pytest.mark.usefixtures("stocked", "trainer")
def test_who_looked_before_a_model_came_takes_that_one(
    ledger: Ledger, predictor: Predictor, settings: Callable[..., PredictorSettings], tmp_path: Path
) -> None:
    """Between a look at the cache and the order others may have had it fitted: nobody fits it again."""
    theirs: list[dict[str, Any]] = []

    class Slow(DailyBars):
        def streams(self, tickers: Iterable[str]) -> dict[str, Stream]:
            if not theirs:
                theirs.append(scanned(other))
            return super().streams(tickers)

    scans = Scans(ledger, ModelCache(tmp_path / "model_cache"), Slow(ledger), 60.0)
    service = Service(name=Role.PREDICTOR, settings=settings(), routers=[router(scans)])
    with predictor() as other, TestClient(create_app(service)) as client:
        mine = scanned(client)
        later = scanned(client, force_refresh=True)

    assert mine["cache_info"]["run_id"] == theirs[0]["cache_info"]["run_id"] == 1
    assert mine["signals"] == theirs[0]["signals"]
    assert [run.id for run in ledger.runs.list()] == [later["cache_info"]["run_id"], 1]


def test_scans_leave_room_for_other_requests(
    ledger: Ledger, settings: Callable[..., PredictorSettings], tmp_path: Path
) -> None:
    """More than may stand in line are told to come back, and need no place while they are."""
    go_on = threading.Event()

    class Slow(DailyBars):
        def streams(self, tickers: Iterable[str]) -> dict[str, Stream]:
            assert go_on.wait(60)
            return super().streams(tickers)

    chosen = settings(max_in_flight=QUEUED + 2)
    scans = Scans(ledger, ModelCache(tmp_path / "model_cache"), Slow(ledger), 0.0)
    service = Service(name=Role.PREDICTOR, settings=chosen, routers=[router(scans)])
    body = {"tickers": ["NOBODY"]}
    with TestClient(create_app(service)) as client, ThreadPoolExecutor(QUEUED + 1) as callers:
        asked = [callers.submit(client.post, SCAN, json=body) for _ in range(QUEUED + 1)]
        refused = next(as_completed(asked)).result()
        assert client.get(f"{CACHE}/list").status_code == 200
        go_on.set()
        answers = [each.result() for each in asked]

    assert problem(refused) == (429, "overloaded") and refused.headers["retry-after"] == "1"
    assert "scans wait for their turn" in refused.json()["detail"]
    assert sorted(problem(each) for each in answers) == [(422, "unknown_ticker")] * QUEUED + [(429, "overloaded")]


@pytest.mark.usefixtures("stocked", "trainer")
def test_a_damaged_entry_is_put_aside_and_fitted_anew(
    predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told in the log, never answered from, and never deleted."""
    with predictor() as client:
        first = scanned(client)
        (model,) = (tmp_path / "model_cache").glob("bouncehunter_*/v*/rows.npz")
        content = bytearray(model.read_bytes())
        content[len(content) // 2] ^= 1
        model.chmod(0o644)
        model.write_bytes(content)
        with predictor() as restarted:
            again = scanned(restarted)

    assert again["cache_info"]["source"] == "trained"
    assert again["cache_info"]["model_hash"] == first["cache_info"]["model_hash"]
    (aside,) = model.parent.parent.glob("*.aside-*")
    assert (aside / "rows.npz").read_bytes() == content
    told = capsys.readouterr()  # where the log goes hangs on what other tests have set up
    assert "cache_entry_put_aside" in caplog.text + told.out + told.err


def test_what_cannot_be_scanned(ledger: Ledger, market: DipsMarket, predictor: Predictor) -> None:
    """Told before anything is ordered, with the remedy."""
    stock(ledger, {"AAPL": market.frames["AAPL"]})
    with predictor() as client:
        unknown = client.post(SCAN, json={"tickers": ["AAPL", "NOBODY"]})
        future = [client.post(SCAN, json={"tickers": ["AAPL"], "as_of": at}) for at in ("2999-01-01", "9999-12-31")]
        bodies: list[dict[str, Any]] = [
            {"tickers": []}, {"tickers": ["AA PL"]}, {"tickers": ["A\u017fPL"]},
            {"tickers": ["AAPL"], "as_of": "yesterday"}, {"tickers": ["AAPL"], "max_cache_age_hours": -1},
            {"tickers": ["AAPL"], "threshold": 0.5},
        ]  # fmt: skip
        odd = [client.post(SCAN, json=body) for body in bodies]

    assert problem(unknown) == (422, "unknown_ticker")
    assert unknown.json()["tickers"] == ["NOBODY"]
    assert "tidewheel import NOBODY.csv --symbol NOBODY" in unknown.json()["detail"]
    assert [problem(each) for each in future] == [(422, "as_of_in_future")] * 2
    assert [problem(each) for each in odd] == [(422, "bad_input")] * 6
    assert ledger.runs.list() == []


@pytest.mark.usefixtures("stocked")
def test_without_a_trainer_nothing_is_ordered(ledger: Ledger, predictor: Predictor, tmp_path: Path) -> None:
    """503 that names the role, also where one has fallen silent; what is cached is answered all the same."""
    with predictor() as client:
        refused = client.post(SCAN, json={"tickers": TICKERS})
        assert problem(refused) == (503, "role_away")
        assert (refused.json()["role"], refused.headers["retry-after"]) == ("trainer", "5")
        assert ledger.runs.list() == []
        with training(ledger, tmp_path):
            scanned(client)
        assert scanned(client)["cache_info"]["source"] == "memory"
        assert problem(client.post(SCAN, json={"tickers": TICKERS, "force_refresh": True})) == (503, "role_away")


@pytest.mark.usefixtures("stocked", "trainer")
def test_a_key_that_reads_scans_what_is_cached(ledger: Ledger, predictor: Predictor) -> None:
    """Having a model fitted needs the scope train, whichever way it is asked for."""
    reads, trains = (ledger.keys.create({Scope.READ, more}, "test")[1] for more in (Scope.READ, Scope.TRAIN))
    with predictor(auth_mode="keys") as client:
        client.headers["Authorization"] = f"Bearer {reads}"
        refused = client.post(SCAN, json={"tickers": TICKERS})
        assert problem(refused) == (403, "not_authorised")
        assert refused.json()["scope"] == "train"
        client.headers["Authorization"] = f"Bearer {trains}"
        assert scanned(client)["cache_info"]["source"] == "trained"
        client.headers["Authorization"] = f"Bearer {reads}"
        assert scanned(client)["cache_info"]["source"] == "memory"
        for more in ({"use_cache": False}, {"force_refresh": True}, {"max_cache_age_hours": 0}):
            assert problem(client.post(SCAN, json={"tickers": TICKERS} | more)) == (403, "not_authorised")
    assert len(ledger.runs.list()) == 1


@pytest.mark.usefixtures("trainer")
def test_a_run_that_made_nothing_says_why(ledger: Ledger, market: DipsMarket, predictor: Predictor) -> None:
    """Too few dips are the request's (422, with how many are missing); a failure is ours."""
    stock(ledger, {"AAPL": market.frames["AAPL"].take(slice(300))})
    with predictor() as client:
        few = client.post(SCAN, json={"tickers": ["AAPL"]})
    with predictor(bounce_vix="stooq:VIX:1d") as misled:
        failed = misled.post(SCAN, json={"tickers": ["AAPL"]})

    assert problem(few) == (422, "not_enough_data")
    assert "35 more dips with a known end" in few.json()["detail"] and few.json()["run_id"] == 1
    assert problem(failed) == (500, "fit_failed")
    assert "the same BOUNCE_VIX" in failed.json()["detail"]


@pytest.mark.usefixtures("stocked")
def test_a_run_that_was_cancelled_says_so(ledger: Ledger, predictor: Predictor) -> None:
    """Who waited for it is told, and by whom."""
    ledger.replicas.beat("elsewhere", Role.TRAINER, "", None, None)
    with predictor() as client, ThreadPoolExecutor(1) as caller:
        waits = caller.submit(client.post, SCAN, json={"tickers": TICKERS})
        until(ledger.runs.list)
        ledger.runs.cancel(1, "olga")
        assert problem(waits.result()) == (409, "run_cancelled")
        assert "cancelled by olga" in waits.result().json()["detail"]


@pytest.mark.usefixtures("stocked", "trainer")
def test_a_predictor_that_looks_elsewhere_says_so(predictor: Predictor, tmp_path: Path) -> None:
    """The run went well and its model is not to be found: the sentence names the setting that may differ."""
    with predictor(model_cache_dir=tmp_path / "elsewhere") as client:
        answer = client.post(SCAN, json={"tickers": TICKERS})

    assert problem(answer) == (409, "cache_cleared")
    assert "the same MODEL_CACHE_DIR" in answer.json()["detail"]


@pytest.mark.usefixtures("stocked", "trainer")
def test_the_cache_is_told_and_cleared(predictor: Predictor) -> None:
    """The document's keys; the entry updated last is meant unless another is named; what is young stays."""
    with predictor() as client:
        empty = client.get(f"{CACHE}/info")
        few, four = scanned(client, TICKERS[:3]), scanned(client)
        past = scanned(client, as_of=four["session"])
        info = client.get(f"{CACHE}/info").json()
        by_hash = client.get(f"{CACHE}/info", params={"config_hash": few["cache_info"]["config_hash"]}).json()
        by_tickers = client.get(f"{CACHE}/info", params={"tickers": "MSFT,aapl,AMD", "max_cache_age_hours": 0}).json()
        listed = client.get(f"{CACHE}/list").json()
        odd = [client.get(f"{CACHE}/info", params=each) for each in (
            {"config_hash": "0" * 64}, {"config_hash": "zz"}, {"config_hash": "0" * 64, "tickers": "AAPL"},
        )]  # fmt: skip
        young = client.delete(f"{CACHE}/clear", params={"older_than_days": 1}).json()
        gone = client.delete(f"{CACHE}/clear").json()
        after = client.get(f"{CACHE}/list").json()
        assert scanned(client)["cache_info"]["source"] == "trained", "no process answers from what was cleared"

    assert problem(empty) == (404, "no_cached_model")
    assert past["cache_info"]["config_hash"] != four["cache_info"]["config_hash"]
    wanted = {
        "config_hash", "model_hash", "version", "created_at", "updated_at", "age_hours", "stale", "training_samples",
        "metrics", "tickers",
    }  # fmt: skip
    assert wanted <= info.keys()
    assert (info["config_hash"], info["tickers"]) == (four["cache_info"]["config_hash"], TICKERS), (
        "not the one of a day"
    )
    assert (info["version"], info["stale"], info["parent"]) == ("1.0", False, None)
    assert by_hash["tickers"] == by_tickers["tickers"] == TICKERS[:3]
    assert (by_hash["stale"], by_tickers["stale"]) == (False, True)
    assert [problem(each) for each in odd] == [(404, "no_cached_model"), (422, "bad_input"), (422, "bad_input")]
    hashes = {each["info"]["config_hash"] for each in listed["models"]}
    assert hashes == {each["cache_info"]["config_hash"] for each in (few, four, past)}
    assert listed["total"] == 3 and listed["total_bytes"] == sum(each["bytes"] for each in listed["models"]) > 0
    assert young == {"cleared": 0, "freed_bytes": 0}
    assert gone == {"cleared": 3, "freed_bytes": listed["total_bytes"]}
    assert after == {"models": [], "total": 0, "total_bytes": 0}


@pytest.mark.usefixtures("stocked", "trainer")
def test_an_entry_grows_by_tickers(ledger: Ledger, predictor: Predictor) -> None:
    """A child entry of the one updated last, with all its dips; known tickers, or none named, read all of it anew."""
    grow = "/api/bouncehunter/train/incremental"
    with predictor() as client:
        nothing = client.post(grow, json={"new_tickers": ["TSLA"]})
        base = scanned(client, TICKERS[:3])["cache_info"]
        child = client.post(grow, json={"new_tickers": ["tsla"]}).json()
        scan = scanned(client)
        anew = client.post(grow, json={"config_hash": base["config_hash"]}).json()
        both = client.post(grow, json={"new_tickers": ["AAPL", "TSLA"], "config_hash": base["config_hash"]}).json()
        unknown = client.post(grow, json={"new_tickers": ["NOBODY"]})

    assert problem(nothing) == (404, "no_cached_model")
    assert (child["added"], child["refreshed"], child["tickers"]) == (["TSLA"], [], TICKERS)
    assert child["parent"] == base["config_hash"] != child["config_hash"] == scan["cache_info"]["config_hash"]
    assert scan["cache_info"]["source"] in ("disk", "memory") and child["training_samples"] > base["training_samples"]
    assert (anew["added"], anew["refreshed"]) == ([], TICKERS[:3])
    assert anew["config_hash"] == base["config_hash"] and anew["updated_at"] > base["updated_at"]
    assert (both["added"], both["refreshed"]) == (["TSLA"], TICKERS[:3])
    assert both["bundle"] == child["bundle"], "what has grown is what is fitted at once, to the byte"
    assert problem(unknown) == (422, "unknown_ticker")
    assert [run.trigger for run in ledger.runs.list()] == [*["incremental"] * 3, "scan"]


@pytest.mark.usefixtures("stocked", "trainer")
def test_an_entry_of_another_release_is_read_anew(predictor: Predictor, tmp_path: Path) -> None:
    """Its rows may mean something else: what grows from it takes none of them over."""
    cache = ModelCache(tmp_path / "model_cache")
    with predictor() as client:
        base = cache.get(scanned(client, TICKERS[:3])["cache_info"]["config_hash"])
        assert base is not None
        told = base.metadata
        old = Made(
            config=told.config,
            config_hash="ab" * 32,
            volatility_source=told.volatility_source,
            gathered=base.gathered,
            model=base.model,
        )
        cache.save(old)
        grown = client.post("/api/bouncehunter/train/incremental", json={"new_tickers": ["TSLA"]}).json()

    assert (grown["parent"], grown["added"], grown["refreshed"]) == (None, ["TSLA"], TICKERS[:3])


@pytest.mark.usefixtures("trainer")
def test_a_scan_of_the_past_knows_nothing_of_what_came(
    ledger: Ledger, market: DipsMarket, predictor: Predictor
) -> None:
    """With a hundred later sessions in the ledger it answers as on that day, from a model of that day's own."""
    stock(ledger, market.frames)
    day = iso(int(market.frames["TSLA"].open_time[SESSIONS - 1]))[:10]
    with predictor() as client:
        today, past = scanned(client), scanned(client, as_of=day)
        by_time = scanned(client, as_of=iso(past["data_as_of"]))

    assert past["session"] == day < today["session"]
    assert [signal["ticker"] for signal in past["signals"]] == ["TSLA"]
    assert past["as_of"] == past["data_as_of"] == past["cache_info"]["as_of"]
    assert past["cache_info"]["data_as_of"] <= past["as_of"]
    assert past["cache_info"]["training_samples"] < today["cache_info"]["training_samples"]
    assert past["warnings"] == [] and today["warnings"] != []
    assert by_time["cache_info"]["source"] == "memory" and by_time["signals"] == past["signals"]


def test_a_scan_may_wait_no_longer_than_the_edge() -> None:
    """The edge ends an answer that is silent for longer."""
    from services.fleet.edge.app import EdgeSettings

    longest = next(m.le for m in PredictorSettings.model_fields["scan_wait_seconds"].metadata if hasattr(m, "le"))
    assert longest < EdgeSettings.model_fields["answer_seconds"].default


def test_a_backtest_is_told(ledger: Ledger, market: DipsMarket, predictor: Predictor) -> None:
    """Trades, equity by day, figures and a picture; what cannot be meant is told before anything is read."""
    stock(ledger, market.frames)
    start = "2016-06-01"
    body: dict[str, Any] = {"tickers": TICKERS, "start": start, "position_size": 0.25}
    early = {"start": "2001-01-01", "end": "2001-02-01"}
    mended: list[dict[str, Any]] = [{"start": "2030-01-01"}, {"end": "2999-01-01"}, {"capital": -1}, early]
    with predictor() as client:
        answer = client.post(BACKTEST, json=body)
        odd = [client.post(BACKTEST, json=body | more) for more in mended]

    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["tickers"], told["left_out"], told["origin"]) == (TICKERS, {}, "synthetic")
    assert told["metrics"]["trades"] == len(told["trades"]) > 0
    days = [each["date"] for each in told["equity"]]
    assert days == [iso(time)[:10] for time in market.frames["AAPL"].open_time.tolist() if iso(time) >= start]
    assert all(trade["decided_on"] < trade["entry_date"] <= trade["exit_date"] for trade in told["trades"])
    assert told["picture"].startswith("<svg")
    codes = ["bad_input", "bad_input", "bad_input", "not_enough_data"]
    assert [problem(each) for each in odd] == [(422, code) for code in codes]


def test_one_backtest_runs_and_few_wait(
    ledger: Ledger, settings: Callable[..., PredictorSettings], tmp_path: Path
) -> None:
    """Of more at once all others are told to come back, and scans are not among those that wait."""
    busy, go_on = threading.Event(), threading.Event()

    class Slow(DailyBars):
        def streams(self, tickers: Iterable[str]) -> dict[str, Stream]:
            busy.set()
            assert go_on.wait(60)
            return super().streams(tickers)

    scans = Scans(ledger, ModelCache(tmp_path / "model_cache"), DailyBars(ledger), 0.0)
    scans.backtests = Backtests(ledger, Slow(ledger))
    service = Service(name=Role.PREDICTOR, settings=settings(), routers=[router(scans)])
    body = {"tickers": ["NOBODY"], "start": "2016-01-01"}
    with TestClient(create_app(service)) as client, ThreadPoolExecutor(BACKTESTS_WAITING + 3) as callers:
        asked = [callers.submit(client.post, BACKTEST, json=body) for _ in range(BACKTESTS_WAITING + 3)]
        refused = next(as_completed(asked)).result()
        assert busy.wait(60)
        assert problem(client.post(SCAN, json={"tickers": ["NOBODY"]})) == (422, "unknown_ticker")
        go_on.set()
        answers = [each.result() for each in asked]

    assert refused.headers["retry-after"] == "60"
    told = sorted(problem(each) for each in answers)
    assert told == [(422, "unknown_ticker")] * (BACKTESTS_WAITING + 1) + [(429, "overloaded")] * 2
