"""Each fault shows in what the exchange sends, the same way for the same seed, and the truth stays readable."""

import json
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.fleet.simulator.app import sim_app
from tests.libs.market.sim.made import START, candles, told
from tidewheel.contracts.errors import BadCandles, BadInput
from tidewheel.contracts.times import MINUTE
from tidewheel.features.frames import CandleFrame
from tidewheel.market.sim.clock import VirtualClock
from tidewheel.market.sim.engine import Face, Refused
from tidewheel.market.sim.faults import BAD_ROWS, Faults, RudeExchange

BARS = 400
ASKED = range(30)


def rude(text: str, seed: int = 1, now: int = BARS) -> RudeExchange:
    clock = VirtualClock(START + now * MINUTE)
    return RudeExchange(told(("BTC/USDT", "1m", candles(BARS))), Faults.parse(text), seed, clock)


def page(exchange: RudeExchange, since: int = 0) -> list[list[Any]]:
    return exchange.klines(Face.SPOT, "BTCUSDT", "1m", START + since * MINUTE, limit=50)


def opens(rows: list[list[Any]]) -> list[int]:
    return [(row[0] - START) // MINUTE for row in rows]


@pytest.mark.parametrize(
    ("fault", "shows"),
    [
        ("short=0.5", lambda rows, since: len(rows) < 50 and opens(rows) == list(range(since, since + len(rows)))),
        ("drop=0.5", lambda rows, since: len(rows) < 50 and opens(rows)[-1] == since + 49),
        ("repeat=0.5", lambda rows, since: len(set(opens(rows))) < len(rows) or opens(rows)[:1] != [since]),
        ("disorder=0.5", lambda rows, since: opens(rows) != sorted(opens(rows))),
    ],
)
def test_a_page_is_spoilt_now_and_then(fault: str, shows: Callable[[list[list[Any]], int], bool]) -> None:
    """Some pages are spoilt and some are not, and the same seed spoils the same ones."""
    exchange, twin = rude(fault), rude(fault)
    pages = [page(exchange, since) for since in ASKED]

    assert pages == [page(twin, since) for since in ASKED]
    spoilt = [shows(rows, since) for since, rows in zip(ASKED, pages, strict=True)]
    assert any(spoilt) and not all(spoilt)
    assert [rows == page(rude(""), since) for since, rows in zip(ASKED, pages, strict=True)].count(True) > 0


def test_every_bad_row_is_one_that_no_frame_takes_or_an_outlier() -> None:
    """The thirteen kinds are bad by the frame's own rules; outliers, which are possible bars, are far off."""
    good = page(rude(""))
    possible = set()
    for name, spoil in BAD_ROWS.items():
        rows = [*good[:7], *spoil(good[7]), *good[8:]]
        numbers = [[row[0], *(float("nan" if cell is None else cell) for cell in row[1:6])] for row in rows]
        try:
            CandleFrame.from_rows(MINUTE, numbers)
        except BadCandles:
            continue
        possible.add(name)

    assert possible == {"outlier", "outlying wick", "tiny"}
    assert len(BAD_ROWS) == 13


def test_a_ban_counts_who_knocks_during_it() -> None:
    """A request during a ban is refused and counted; the first after it is answered."""
    exchange = rude("ban=1,pause=0.05")
    with pytest.raises(Refused) as refused:
        exchange.admit()
    assert (refused.value.status, exchange.requests_while_banned) == (418, 0)
    with pytest.raises(Refused):
        exchange.admit()
    assert exchange.requests_while_banned == 1
    time.sleep(0.06)
    with pytest.raises(Refused):  # ban=1 bans anew
        exchange.admit()
    assert exchange.requests_while_banned == 1


def test_limits_failures_and_cut_answers_over_http() -> None:
    """429 carries Retry-After, 5xx do not, and a cut answer is not JSON."""
    seen: set[str] = set()
    with TestClient(sim_app(rude("limit=0.1,5xx=0.2,cut=0.2,pause=0"))) as client:
        for _ in range(80):
            answer = client.get("/api/v3/klines", params={"symbol": "BTCUSDT", "interval": "1m"})
            try:
                answer.json()
            except json.JSONDecodeError:
                seen.add("cut")
            seen.add(f"{answer.status_code} {'Retry-After' in answer.headers}")

    assert {"cut", "200 False", "429 True"} < seen
    assert any(status in seen for status in ("500 False", "502 False", "503 False", "504 False"))


def test_the_time_told_is_off_both_ways() -> None:
    exchange = rude("skew=90")
    off = [exchange.time()["serverTime"] - exchange.clock.now() for _ in range(200)]

    assert -90_000 <= min(off) < -60_000 and 60_000 < max(off) <= 90_000


def test_holes_listing_and_halt_are_missing_for_good() -> None:
    """What does not exist is not in the truth either; the newest bar always exists."""
    exchange = rude("hole=0.05,listing=0.25,halt=0.2")
    truth = opens([[time] for time in exchange.scenario.series[0].frame.open_time.tolist()])

    assert min(truth) >= 100 and truth[-1] == BARS - 1
    assert max(after - before for before, after in pairwise(truth)) > 80
    assert opens(page(exchange, 0)) == truth[:50]


def test_a_revised_bar_changes_within_five_bars_of_its_close() -> None:
    """Just closed, some bars show values that are possible and not yet the true ones; six bars later all are true."""
    exchange = rude("revise=0.3", now=200)
    truth = exchange.scenario.series[0].frame.rows()

    def differing() -> list[int]:
        rows = exchange.klines(Face.SPOT, "BTCUSDT", "1m", START + 150 * MINUTE, START + 199 * MINUTE)
        frame = CandleFrame.from_rows(MINUTE, [[float(cell) for cell in row[:6]] for row in rows])
        return [150 + at for at, row in enumerate(frame.rows()) if row != truth[150 + at]]

    first = differing()
    assert first and min(first) >= 194
    exchange.clock.move_to(START + 206 * MINUTE)
    assert differing() == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rain=1", "'rain' is not known; there are ban"),
        ("cut=2", "0 to 1"),
        ("cut=x", "needs a number"),
        ("cut", "cut=0.05"),
    ],
)
def test_a_description_that_is_none_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        Faults.parse(text)
