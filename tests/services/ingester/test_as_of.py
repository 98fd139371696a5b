"""`as_of`: what was knowable then, the same answer for ever, whatever came and was corrected since."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.libs.market.sim.made import START, candles
from tests.services.ingester.asked import BTC, role, simulator
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import MINUTE, UtcMillis
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.archive import Archive, Stored
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.recorded import Recorded
from tidewheel.ledger.records import Lease

Known = dict[UtcMillis, tuple[float, ...]]
STEPS = 14


def moment(ledger: Ledger) -> UtcMillis:
    """Now; what is stored from here on comes later."""
    now = ledger.now()
    while ledger.now() <= now:
        time.sleep(0.0005)
    return now


def history(ledger: Ledger, lease: Lease, seed: int) -> list[tuple[UtcMillis, Known]]:
    """Append and seal at random: new bars, old ones, corrections of both. Moments, and what was known at each."""
    rng = np.random.default_rng(seed)
    whole, known = candles(400), Known()
    told = [(moment(ledger), Known())]
    newest = 200
    for _ in range(STEPS):
        first = int(rng.integers(max(0, newest - 60), newest + 3))
        count = int(rng.integers(1, 30))
        frame = whole.take(slice(first, first + count))
        frame = frame.take(rng.random(len(frame)) < 0.8)
        if rng.random() < 0.5:
            frame = replace(frame, volume=frame.volume + rng.integers(1, 1_000))
        ledger.bars.append(lease, BTC, frame, "test")
        known.update({row[0]: row[1:] for row in frame.rows()})
        newest = max(newest, first + count)
        told.append((moment(ledger), dict(known)))
        if rng.random() < 0.4:
            ledger.bars.seal(lease, BTC)
            told.append((moment(ledger), dict(known)))
    return told


def wrong(client: TestClient, told: list[tuple[UtcMillis, Known]]) -> list[UtcMillis]:
    """The moments of which GET /candles tells something else than was known."""

    def shown(at: UtcMillis) -> Known:
        answer = client.get("/candles", params={"stream": str(BTC), "as_of": str(at)})
        return {row[0]: tuple(row[1:]) for row in answer.json()["bars"]}

    return [at for at, known in told if shown(at) != known]


@pytest.mark.parametrize("planted", [False, True])
def test_it_is_what_was_knowable_then(
    ledger: Ledger, ledger_dsn: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    """Over a random history; planted, a seal forgets when the single bars came."""
    if planted:
        monkeypatch.setattr(Recorded, "runs", lambda bars: [(len(bars.frame), int(bars.recorded_at[0]))])
    ledger.streams.register(BTC, Origin.EXCHANGE)
    with role(simulator(), ledger_dsn, data_dir) as client, ledger.leases.hold(f"stream:{BTC}", "t", 60_000) as held:
        told = history(ledger, held.lease, seed=3)
        found = wrong(client, told)

    assert max(file.revision for file in ledger.bars.files(BTC)) >= 1
    assert bool(found) is planted


def test_what_was_answered_while_a_correction_was_being_written_stays(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file lies on disk before the ledger names it: whoever asked in between did not know it."""
    ledger.streams.register(BTC, Origin.EXCHANGE)
    answers: list[tuple[UtcMillis, CandleFrame]] = []
    store = Archive.store

    def watched(archive: Archive, *args: object) -> Stored:
        stored: Stored = store(archive, *args)  # type: ignore[arg-type]  # the arguments of `store`
        at = moment(ledger)
        answers.append((at, ledger.bars.read(BTC, as_of=at)))
        return stored

    with ledger.leases.hold(f"stream:{BTC}", "t", 60_000) as held:
        ledger.bars.append(held.lease, BTC, candles(10), "test")
        ledger.bars.seal(held.lease, BTC)
        monkeypatch.setattr(Archive, "store", watched)
        corrected = replace(candles(10), volume=candles(10).volume + 1)
        ledger.bars.append(held.lease, BTC, corrected, "test")
        ledger.bars.append(held.lease, BTC, older(5), "test")

    assert len(answers) == 2
    for at, answer in answers:
        assert ledger.bars.read(BTC, as_of=at).rows() == answer.rows()


def older(count: int) -> CandleFrame:
    """Bars before START."""
    frame = candles(count)
    back = count * MINUTE
    return replace(frame, open_time=frame.open_time - back, available_at=frame.available_at - back)


def test_nobody_knows_what_will_have_been_known(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """A moment to come is refused: its answer could not stay the same."""
    ledger.streams.register(BTC, Origin.EXCHANGE)
    with role(simulator(), ledger_dsn, data_dir) as client:
        ahead = {"stream": str(BTC), "as_of": str(ledger.now() + 3_600_000)}
        refused = client.get("/candles", params=ahead)
        past = client.get("/candles", params=ahead | {"as_of": str(START)})

    assert refused.status_code == 422 and "has not come yet" in refused.json()["detail"]
    assert past.json()["bars"] == []
