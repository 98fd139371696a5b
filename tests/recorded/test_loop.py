"""Real candles through the whole loop: replay, seal, train, gate, serve, predict; on both kinds of ledger."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from tests.conftest import DIALECTS
from tests.recorded.loop import Loop, loop
from tests.servers import PostgresServer
from tests.waiting import until
from tidewheel.contracts.times import MINUTE

pytestmark = pytest.mark.timeout(900)  # thousands of requests and a dozen fits, on a machine that may be busy
Report = Callable[[str], None]
Places = Callable[[str], tuple[Path, str]]

#: How often a bar that is in a sealed file was consumed, at most; and how many bars were.
TIMES_TRAINED = text(
    "SELECT max(times), count(*) FROM ("
    " SELECT count(*) AS times FROM candles c"
    " JOIN files f ON f.stream_id = c.stream_id AND c.open_time >= f.start_time AND c.open_time < f.end_time"
    " JOIN claims k ON k.file_id = f.id AND k.consumer = 'hmm' AND k.state = 'processed'"
    " WHERE c.revision = 0 GROUP BY c.stream_id, c.open_time) AS bars"
)


@pytest.fixture
def places(
    tmp_path: Path, sqlite_template: Path, postgres_server: PostgresServer, postgres_template: str
) -> Iterator[Places]:
    """A home and a fresh ledger of each dialect."""
    name = f"{postgres_template}_recorded"
    postgres_server.run(f"CREATE DATABASE {name} TEMPLATE {postgres_template}")

    def place(dialect: str) -> tuple[Path, str]:
        home = tmp_path / dialect
        (home / "ml").mkdir(parents=True)
        if dialect == "postgresql":
            return home, postgres_server.dsn(name)
        file = home / "ml" / "manifest.sqlite"
        file.write_bytes(sqlite_template.read_bytes())
        return home, f"sqlite:///{file}"

    yield place
    postgres_server.run(f"DROP DATABASE {name} WITH (FORCE)")


def times_trained(dsn: str) -> tuple[int, int]:
    """What TIMES_TRAINED answers."""
    address = dsn if dsn.startswith("sqlite") else dsn.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(address)
    with engine.connect() as connection:
        most, bars = connection.execute(TIMES_TRAINED).one()
    engine.dispose()
    return most, bars


def essence(run: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on the ledger's dialect or on when the run was."""
    return {name: run[name] for name in ("state", "version", "verdict", "metadata")}


def _served(running: Loop, version: str, stream: str) -> dict[str, Any]:
    until(lambda: running.ask("predictor", "GET", "/model")["loaded"] == version)
    answer = running.ask("predictor", "POST", "/predict", json={"stream": stream})
    assert answer["model_version"] == version
    assert sum(answer["probs"].values()) == pytest.approx(1.0)
    return {name: answer[name] for name in ("probs", "state", "n_used", "data_time")}


def _minutes(candles: Path, home: Path, dsn: str) -> dict[str, Any]:
    stream = "binance:UNITTEST/BTC:1m"
    with loop([candles / "UNITTEST_BTC-1m.feather"], "1m", home, dsn, exactly_once=True) as running:
        report = running.ingest()[stream]
        assert report["stored"] == 13_681
        gaps = running.ask("ingester", "GET", "/streams")["streams"][0]
        assert sum(gaps[f"gaps_{state}"] for state in ("open", "confirmed", "healed")) == 538
        run = running.train()
        steps = {step["step"]: step for step in run["verdict"]["steps"]}
        enough = steps["enough_data"]
        assert (enough["numbers"]["segments"], enough["numbers"]["short_segments"]) == (539, 476)
        assert "476 of 539 unbroken runs of bars are too short to use" in enough["reason"]
        if run["state"] == "refused":  # the gate's word; an operator may overrule it, and that shows
            path = f"/model/promote/{run['version']}"
            running.ask("ml-trainer", "POST", path, expect=409)
            forced = running.ask("ml-trainer", "POST", path, params={"force": "true", "reason": "recorded minutes"})
            assert forced["forced"]
        answer = _served(running, run["version"], stream)
    return {"run": essence(run), "answer": answer, "times_trained": times_trained(dsn)}


def test_minutes_full_of_holes_go_through_the_whole_loop(candles: Path, places: Places, report: Report) -> None:
    """717 missing minutes at 538 places: stored, trained on what is long enough, judged, served, and said so."""
    told = {dialect: _minutes(candles, *places(dialect)) for dialect in DIALECTS}

    assert told["sqlite"] == told["postgresql"]
    run, trained = told["sqlite"]["run"], told["sqlite"]["times_trained"]
    assert trained == (1, 13_681)
    report(f"recorded UNITTEST/BTC 1m: {run['state']} {run['version']}, max(times_trained), bars: {trained}")
    for step in run["verdict"]["steps"]:
        report(f"recorded UNITTEST/BTC 1m: {step['step']}: {step['reason']}")


ALIGNED = ("ETH_BTC-5m", "LTC_BTC-5m", "XMR_BTC-5m")
PARTS = (0.5, 0.75, 1.0)  #: of the streams' time, after which a model is trained


def _aligned(candles: Path, home: Path, dsn: str, *, exactly_once: bool) -> dict[str, Any]:
    files = [candles / f"{name}.feather" for name in ALIGNED]
    runs, trained = [], []
    with loop(files, "5m", home, dsn, exactly_once=exactly_once, until=PARTS[0]) as running:
        start, end = running.exchange.scenario.start, running.exchange.scenario.ends[-1]
        for part in PARTS:
            step = 5 * MINUTE
            running.exchange.clock.move_to(start + int((end - start) * part) // step * step)
            running.ingest()
            runs.append(running.train())
            trained.append(times_trained(dsn))
        champion = running.ask("ml-trainer", "GET", "/model")["desired"]
        answers = {name: _served(running, champion, f"binance:{name[:3]}/BTC:5m") for name in ALIGNED}
    return {"runs": [essence(run) for run in runs], "answers": answers, "trained": trained}


@pytest.mark.parametrize("exactly_once", [True, False], ids=["strict", "sliding"])
def test_three_aligned_streams_are_trained_once(
    candles: Path, places: Places, report: Report, *, exactly_once: bool
) -> None:
    """17,278 bars in three retrains: no bar is consumed twice, and SQLite and Postgres give the same versions.

    Alone, the 4,320 bars of the second strict claim could not be judged: they wait, and the third trains them.
    """
    told = {dialect: _aligned(candles, *places(dialect), exactly_once=exactly_once) for dialect in DIALECTS}

    assert told["sqlite"] == told["postgresql"]
    assert told["sqlite"]["trained"] == [(1, 8_640), (1, 8_640 if exactly_once else 12_960), (1, 17_278)]
    reasons = [run["metadata"]["reason"] or "" for run in told["sqlite"]["runs"] if run["state"] == "skipped"]
    assert len(reasons) == (1 if exactly_once else 0)
    assert all("4320 bars, about 5865" in reason and "15 of the 20 blocks" in reason for reason in reasons)
    mode = "strict" if exactly_once else "sliding"
    report(f"recorded 3 x 5m {mode}: max(times_trained), bars, after each run: {told['sqlite']['trained']}")
    for number, run in enumerate(told["sqlite"]["runs"], start=1):
        last = run["verdict"]["steps"][-1] if run["verdict"] else {"step": "none", "reason": run["metadata"]["reason"]}
        what = f"{run['state']} {run['version']}"
        bars = f"{run['metadata']['new_bars']} new of {run['metadata']['window_bars']} bars"
        report(f"recorded 3 x 5m {mode}: run {number}: {what}, {bars}; {last['step']}: {last['reason']}")
