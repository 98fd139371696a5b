"""The story: files in, a scan that trains, scans that do not, days that pass, what was known then, what is refused."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from services.fleet.display import Display
from services.fleet.story import Stage, StepFailed, ingest
from services.fleet.tour.bounce import market
from services.fleet.tour.bounce.checks import hold_backtest, hold_equal, hold_model, hold_signals, hold_skill
from services.fleet.tour.bounce.market import FIRST, LATER, Truth
from services.fleet.tour.checks import Checks
from services.fleet.tour.command import tidewheel
from services.fleet.tour.replay import play_replay
from tidewheel.bounce.market import DailyBars
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.times import DAY
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.open import open_ledger
from tidewheel.market.sim.dips import TICKERS, write_days
from tidewheel.public.bouncehunter import BounceHunter

ROOT = "/api/bouncehunter"
ENTRY = ("config_hash", "model_hash", "bundle", "version", "training_samples", "metrics", "created_at", "updated_at")

CAPITAL = 100_000.0
TERMS = {"position_size": 0.2, "fee_bps": 1.0, "slippage_bps": 5.0, "max_positions": 5}


@dataclass
class Tour:
    """What the steps share beside the stage."""

    truth: Truth
    checks: Checks
    coin: CandleFrame
    scans: dict[str, dict[str, Any]] = field(default_factory=dict)  #: answers, by what they show
    seconds: dict[str, float] = field(default_factory=dict)  #: that each of them took
    backtest: dict[str, Any] = field(default_factory=dict)
    refused: list[tuple[str, int, str, str]] = field(default_factory=list)  #: what was tried, status, code, sentence


def run_tour(home: Path, display: Display, *, seed: int) -> Tour:
    """Play it in `home`, which is wiped first; its violations are told by the tour.

    Raises:
        StepFailed: a step could not go on at all; names it and why.
    """
    # Beside the home, which is wiped when the story begins.
    file, coin = market.write_coin(home.parent, seed)
    truth = market.truth(seed)
    tour = Tour(truth, Checks(display), coin)
    acts: tuple[tuple[str, Callable[[Tour, Stage], None]], ...] = (
        ("import five tickers from files", _import),
        ("a coin's days come from the exchange", _coin),
        ("scan three tickers: the model is trained", _cold),
        ("scan again: the model is kept, the answer is the same", _warm),
        (f"{truth.passing} days pass: the model is kept, the bars are not", _days_pass),
        ("what would have been said then", _as_of),
        ("two tickers join: only they are read", _join),
        ("a program shares the cache; a damaged entry is put aside and trained again", _python),
        ("train anew because it is asked for", _refresh),
        ("test the signals on the past", _backtest),
        ("what cannot be used is left out by name", _leave_out),
        ("what is refused", _refuse),
        ("clear the cache", _clear),
        ("check the ledger", _fsck),
    )
    return play_replay(home, display, file, tour, acts)


def _imported(stage: Stage, frames: Mapping[str, CandleFrame]) -> list[dict[str, Any]]:
    """Files of these bars, given to `tidewheel import`; what it tells of each stream."""
    folder = stage.fleet.plan.home / "files"
    folder.mkdir(exist_ok=True)
    files = [str(write_days(folder / f"{ticker}.csv", frame)) for ticker, frame in frames.items()]
    how = ("--tickers", "--timeframe", "1d", "--utc", "--origin", "synthetic", "--json")
    done = tidewheel(stage, "import", *files, *how)
    if done.returncode != 0:
        raise StepFailed(f"`tidewheel import` ended with {done.returncode}: {done.stderr[-500:]}")
    streams: list[dict[str, Any]] = json.loads(done.stdout)["streams"]
    return streams


def _import(tour: Tour, stage: Stage) -> None:
    told = _imported(stage, tour.truth.until())
    new = {each["stream"]: each["files"][0]["new"] for each in told}
    expected = {f"stocks:{ticker}:1d": tour.truth.today + 1 for ticker in TICKERS}
    tour.checks.that("each session of each ticker is stored", new == expected, new)
    tour.checks.that("weekends are no gaps", not any(each["open_gaps"] for each in told), told)
    tour.checks.that("they are told to be made", {each["origin"] for each in told} == {"synthetic"}, told)
    again = _imported(stage, tour.truth.until())
    tour.checks.that("the same files again bring nothing", not any(each["files"][0]["new"] for each in again), again)
    stage.display.note(f"{', '.join(TICKERS)}: {tour.truth.today + 1} sessions each, up to {tour.truth.day()}")


def _coin(tour: Tour, stage: Stage) -> None:
    ingest(1)(stage)
    streams = {each["stream"]: each for each in stage.ask("GET", "/streams")["streams"]}
    told = streams[f"binance:{market.COIN}:1d"]
    end = int(tour.coin.open_time[-1]) + DAY
    tour.checks.that("every day of the coin is stored", (told["watermark"], told["gaps_open"]) == (end, 0), told)
    answer = _scan(tour, stage, "coin", [market.COIN])
    tour.checks.that("a coin is a ticker too", answer["total_tickers_scanned"] == 1, answer)
    tour.checks.that("replayed candles are told to be so", answer["origin"] == "replay", answer["origin"])


def _asked(tour: Tour, stage: Stage, what: str, path: str, body: Mapping[str, Any]) -> httpx.Response:
    """One POST, whose seconds are kept."""
    began = time.perf_counter()
    answer = stage.edge.post(f"{ROOT}/{path}", json=body)
    tour.seconds[what] = time.perf_counter() - began
    return answer


def _scan(tour: Tour, stage: Stage, what: str, tickers: Sequence[str], **options: Any) -> dict[str, Any]:
    """What a scan answers; it is kept under `what`."""
    answer = _asked(tour, stage, what, "scan", {"tickers": list(tickers), **options})
    if answer.status_code != 200:
        raise StepFailed(f"the scan {what!r} was answered {answer.status_code}: {answer.text[:500]}")
    found: dict[str, Any] = answer.json()
    tour.scans[what] = found
    return found


def _source(tour: Tour, what: str, *expected: str) -> None:
    source = tour.scans[what]["cache_info"]["source"]
    tour.checks.that(f"the model of {what!r} is {' or '.join(expected)}", source in expected, source)


def _cold(tour: Tour, stage: Stage) -> None:
    told = _scan(tour, stage, "cold", FIRST)
    _source(tour, "cold", "trained")
    hold_signals(tour.checks, tour.truth, "cold", told, FIRST)
    hold_model(tour.checks, "cold", told["cache_info"], tour.truth.known(FIRST))
    info, metrics = told["cache_info"], told["cache_info"]["metrics"]
    stage.display.note(
        f"{info['training_samples']} dips; forward AUC {metrics['auc']:.2f}, Brier {metrics['brier']:.3f} against "
        f"{metrics['brier_of_base_rate']:.3f} of the base rate; {_in_words(told)}"
    )


def _in_words(told: Mapping[str, Any]) -> str:
    signals = [f"{each['ticker']} {each['probability']:.0%}" for each in told["signals"]]
    return f"{told['session']}: {', '.join(signals) or 'no signal'}"


def _warm(tour: Tour, stage: Stage) -> None:
    cold = tour.scans["cold"]
    told = _scan(tour, stage, "warm", FIRST)
    _source(tour, "warm", "memory", "disk")
    hold_equal(tour.checks, "warm and cold", told, cold, ("signals", "session", "statistics", "volatility"))
    hold_equal(tour.checks, "warm and cold", told["cache_info"], cold["cache_info"], ENTRY)
    info = stage.ask("GET", f"{ROOT}/cache/info", tickers=",".join(FIRST))
    hold_equal(tour.checks, "cache/info and scan", info, told["cache_info"], ENTRY)
    tour.checks.that("cache/info names the tickers", sorted(info["tickers"]) == sorted(FIRST), info)
    tour.checks.that("the entry is young", not info["stale"] and 0 <= info["age_hours"] < 1, info)
    stage.display.note(f"{tour.seconds['cold']:.2f} s cold, {tour.seconds['warm']:.3f} s warm")


def _days_pass(tour: Tour, stage: Stage) -> None:
    new = [each["files"][0]["new"] for each in _imported(stage, tour.truth.until(tour.truth.passing))]
    tour.checks.that("only the new sessions are stored", new == [tour.truth.passing] * len(TICKERS), new)
    told = _scan(tour, stage, "later", FIRST)
    _source(tour, "later", "memory", "disk")
    hold_equal(tour.checks, "later and cold", told["cache_info"], tour.scans["cold"]["cache_info"], ENTRY)
    hold_signals(tour.checks, tour.truth, "later", told, FIRST, tour.truth.passing)
    seen = tour.scans["cold"]["signals"] + told["signals"]
    tour.checks.that("of two likely bounces one at least was a signal", len(seen) > 0, (tour.scans["cold"], told))
    stage.display.note(_in_words(told))


def _as_of(tour: Tour, stage: Stage) -> None:
    """The ledger has gone on; what it told when it ended there is what it tells of then."""
    then = tour.truth.day()
    told, cold = _scan(tour, stage, "as of", FIRST, as_of=then), tour.scans["cold"]
    hold_equal(tour.checks, "as of then and then", told, cold, ("signals", "session", "statistics", "volatility"))
    info, before = told["cache_info"], cold["cache_info"]
    hold_equal(tour.checks, "as of then and then", info, before, ("metrics", "training_samples", "data_as_of"))
    tour.checks.that("it is an entry of its own", info["config_hash"] != before["config_hash"], info)
    stage.display.note(f"as of {then}: {_in_words(told)}, as was told on that day")


def _join(tour: Tour, stage: Stage) -> None:
    parent = stage.ask("GET", f"{ROOT}/cache/info", tickers=",".join(FIRST))
    body = {"new_tickers": list(LATER), "config_hash": parent["config_hash"]}
    told = tour.checks.answered("two tickers join", _asked(tour, stage, "incremental", "train/incremental", body), 200)
    tour.checks.that("the entry is a child", told.get("parent") == parent["config_hash"], told)
    tour.checks.that("of all five", told.get("tickers") == sorted(TICKERS), told)
    # It reads them as far as its parent had read.
    hold_model(tour.checks, "incremental", told, tour.truth.known(TICKERS))
    hold_skill(tour.checks, "incremental", told["metrics"])
    five = _scan(tour, stage, "five", TICKERS)
    _source(tour, "five", "memory", "disk")
    hold_equal(tour.checks, "the child and its scan", told, five["cache_info"], ENTRY)
    hold_signals(tour.checks, tour.truth, "five", five, TICKERS, tour.truth.passing)
    stage.display.note(f"{told['training_samples']} dips; {tour.seconds['incremental']:.2f} s; {_in_words(five)}")


def _python(tour: Tour, stage: Stage) -> None:
    """The analyst's program and the fleet share the entries; of two that it makes one is damaged on disk."""
    home, cache = stage.fleet.plan.home, stage.fleet.plan.home / "model_cache"
    sound, damaged = ("MSFT", "AMD"), ("GOOGL", "TSLA")
    ledger = open_ledger(f"sqlite:///{home / 'ml' / 'manifest.sqlite'}", home / "ml")
    try:
        program, other = (
            BounceHunter(BounceHunterConfig.of(each), cache_dir=cache, bars=DailyBars(ledger))
            for each in (sound, damaged)
        )
        made, found = (program.fit(), other.fit()), program.scan()
    finally:
        ledger.close()
    told = _scan(tour, stage, "of a program", sound)
    _source(tour, "of a program", "disk")
    tour.checks.that("the program's model answers", told["cache_info"]["model_hash"] == made[0].model_hash, made[0])
    signals = [(each["ticker"], each["probability"]) for each in told["signals"]]
    expected = [(each.ticker, each.probability) for each in found.signals]
    tour.checks.that("and says what it says to the program", signals == expected, (signals, expected))
    entry = cache / f"bouncehunter_{made[1].config_hash[:16]}"
    file = entry / made[1].bundle / "model.json"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(bytes(content))
    told = _scan(tour, stage, "damaged", damaged)
    _source(tour, "damaged", "trained")
    tour.checks.that("the same model is made anew", told["cache_info"]["model_hash"] == made[1].model_hash, made[1])
    aside = sorted(each.name for each in entry.iterdir() if ".aside-" in each.name)
    tour.checks.that("the damaged version lies aside", len(aside) == 1, sorted(each.name for each in entry.iterdir()))
    stage.display.note(f"one bit of {file.name} was turned: {', '.join(aside)}, and a new fit")


def _refresh(tour: Tour, stage: Stage) -> None:
    _scan(tour, stage, "alone", ["AAPL"], force_refresh=True)
    _source(tour, "alone", "trained")
    told = _scan(tour, stage, "refreshed", FIRST, force_refresh=True)
    _source(tour, "refreshed", "trained")
    hold_model(tour.checks, "refreshed", told["cache_info"], tour.truth.known(FIRST, tour.truth.passing))
    again = _scan(tour, stage, "not kept", FIRST, use_cache=False)
    _source(tour, "not kept", "bypassed")
    same = ("model_hash", "training_samples", "metrics")
    hold_equal(tour.checks, "the same bars", again["cache_info"], told["cache_info"], same)
    stage.display.note(f"{told['cache_info']['training_samples']} dips, {tour.seconds['refreshed']:.2f} s")


def _backtest(tour: Tour, stage: Stage) -> None:
    end = tour.truth.day(tour.truth.passing)
    body = {"tickers": list(TICKERS), "start": f"{int(end[:4]) - 3}-01-02", "end": end, "capital": CAPITAL, **TERMS}
    answer = _asked(tour, stage, "backtest", "backtest", body)
    told = tour.backtest = tour.checks.answered("a backtest is answered", answer, 200)
    hold_backtest(tour.checks, tour.truth, told, CAPITAL)
    stage.display.note(f"{told['metrics']['trades']} trades; {tour.seconds['backtest']:.1f} s")


def _leave_out(tour: Tour, stage: Stage) -> None:
    odd = {
        f"ODD{number}": each
        for number, each in enumerate(market.unusable(tour.truth.until(tour.truth.passing)["AMD"]).items())
    }
    _imported(stage, {ticker: frame for ticker, (_, frame) in odd.items()})
    told = _scan(tour, stage, "with odd ones", [*FIRST, *odd])
    for ticker, (why, _) in odd.items():
        said = told["left_out"].get(ticker, "")
        tour.checks.that(f"{ticker} is left out for {why}", said.startswith(why), told["left_out"])
        stage.display.note(said)
    sound = sorted(told["left_out"]) == sorted(odd) and told["total_tickers_scanned"] == len(FIRST)
    tour.checks.that("and no other", sound, told["left_out"])


def _refuse(tour: Tour, stage: Stage) -> None:
    def refused(what: str, status: int, code: str, path: str, body: Mapping[str, Any]) -> str:
        answer = stage.edge.post(f"{ROOT}/{path}", json=body)
        told = tour.checks.answered(f"{what} is refused", answer, status, code)
        tour.refused.append((what, status, code, str(told.get("detail"))))
        stage.display.note(f"{what}: {status} {code}: {str(told.get('detail'))[:160]}")
        return str(told.get("detail"))

    told = refused("a ticker that is not there", 422, "unknown_ticker", "scan", {"tickers": ["AAPL", "NVDA"]})
    command = "tidewheel import NVDA.csv --symbol NVDA --timeframe 1d --utc --offline"
    tour.checks.that("the refusal names the whole command", command in told, told)
    refused("no ticker", 422, "bad_input", "scan", {"tickers": []})
    refused("a day to come", 422, "as_of_in_future", "scan", {"tickers": ["AAPL"], "as_of": "2999-01-01"})
    early = {"tickers": ["AAPL"], "as_of": "2014-03-03"}
    refused("a day with too few dips before it", 422, "not_enough_data", "scan", early)


def _clear(tour: Tour, stage: Stage) -> None:
    listed = stage.ask("GET", f"{ROOT}/cache/list")
    kept = stage.ask("DELETE", f"{ROOT}/cache/clear", older_than_days="1")
    tour.checks.that("nothing is older than a day", kept["cleared"] == 0, kept)
    told = stage.ask("DELETE", f"{ROOT}/cache/clear")
    tour.checks.that("every entry is cleared", told["cleared"] == listed["total"] > 0, (told, listed))
    tour.checks.that("its bytes are freed", told["freed_bytes"] > 0, told)
    left = stage.ask("GET", f"{ROOT}/cache/list")
    tour.checks.that("none is left", (left["models"], left["total"], left["total_bytes"]) == ([], 0, 0), left)
    stage.display.note(f"{told['cleared']} entries, {told['freed_bytes'] / 2**20:.1f} MiB")


def _fsck(tour: Tour, stage: Stage) -> None:
    done = tidewheel(stage, "ledger", "fsck")
    tour.checks.that("the ledger is sound", done.returncode == 0, done.stdout[-500:])
