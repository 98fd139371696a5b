"""Saved predictions: once each, due when their hour is over, settled once; on both dialects."""

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text, update

from tests.libs.ledger.registry.registering import (
    BTC,
    ETH,
    NOON,
    new_prediction,
    predicting,
    saved,
    version,
)
from tests.libs.ledger.test_runs import at_once
from tidewheel.contracts.errors import BadInput, Conflict
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import IntervalSource, PredictionState
from tidewheel.contracts.times import HOUR, MINUTE, UtcMillis
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.registry.records import NewPrediction, SavedPrediction
from tidewheel.ledger.registry.tables import predictions


def shuffled(ledger: Ledger, *ids: int) -> None:
    """On Postgres what was changed last lies last, and in the indexes of what was changed too."""
    hour = predictions.c.predicted_time
    with ledger._db.write() as connection:
        for each in ids:
            for values in ({hour: hour + 1, "current_price": 1.0}, {hour: hour - 1}):
                connection.execute(update(predictions).where(predictions.c.id == each).values(values))


def told(found: list[SavedPrediction]) -> list[int]:
    return [each.id for each in found]


def bars(ledger: Ledger, key: StreamKey, start: UtcMillis, count: int, seal: bool = False) -> None:
    """Store so many bars from `start`."""
    times = start + key.step * np.arange(count, dtype=np.int64)
    price = np.full(count, 100.0)
    frame = CandleFrame(
        step=key.step, open_time=times, open=price, high=price, low=price, close=price, volume=price,
        available_at=times + key.step, revision=np.zeros(count, dtype=np.int16),
    )  # fmt: skip
    lease = ledger.leases.acquire(f"stream:{key}", "writer", 60_000)
    assert lease is not None
    ledger.bars.append(lease, key, frame, "test")
    if seal:
        ledger.bars.seal(lease, key)
    ledger.leases.release(lease)


class TestSave:
    def test_what_is_stored(self, ledger: Ledger) -> None:
        """Every field comes back; the hour that is forecast follows from base time and horizon."""
        predicting(ledger)
        before = ledger.now()
        new = new_prediction(3, 24)
        stored, created = ledger.predictions.save(new)
        assert created
        for field in fields(NewPrediction):
            assert getattr(stored, field.name) == getattr(new, field.name), field.name
        assert stored.predicted_time == NOON + 27 * HOUR
        assert (stored.state, stored.actual_value, stored.scored_at) == (PredictionState.OPEN, None, None)
        assert before <= stored.created_at <= ledger.now()
        assert ledger.predictions.latest() == [stored]

    def test_without_an_interval(self, ledger: Ledger) -> None:
        """There may be too few residuals for one."""
        predicting(ledger)
        none: dict[str, Any] = {"lower": None, "upper": None, "level": None, "interval_source": IntervalSource.NONE}
        (stored,) = saved(ledger, new_prediction(**none))
        assert (stored.lower, stored.upper, stored.level, stored.interval_source) == tuple(none.values())

    def test_the_same_again_is_the_stored_one(self, ledger: Ledger) -> None:
        """Also with another interval, which learns, and with a sum that another machine has rounded."""
        predicting(ledger)
        (first,) = saved(ledger, new_prediction())
        for again in (
            new_prediction(),
            new_prediction(lower=1.0),
            new_prediction(predicted_value=math.nextafter(100.5, 200.0)),
        ):
            assert ledger.predictions.save(again) == (first, False)

    def test_another_value_differs(self, ledger: Ledger) -> None:
        """What was saved stays, and the sentence tells both values."""
        predicting(ledger)
        (first,) = saved(ledger, new_prediction())
        with pytest.raises(Conflict, match=r"already forecast 100\.5 from 2026-01-01.*for 1h.*not 100\.51") as caught:
            ledger.predictions.save(new_prediction(predicted_value=100.51))
        assert caught.value.code == "prediction_differs"
        assert ledger.predictions.latest() == [first]

    def test_each_has_its_own(self, ledger: Ledger) -> None:
        """Another name, version, stream, base time or horizon is another prediction, with a value of its own."""
        predicting(ledger)
        others: tuple[dict[str, Any], ...] = (
            {}, {"model_name": "linear"}, {"number": 2}, {"stream": ETH}, {"hour": 1}, {"horizon": 3},
        )  # fmt: skip
        made: list[NewPrediction] = [new_prediction(**each, predicted_value=float(n)) for n, each in enumerate(others)]
        assert all(created for _, created in map(ledger.predictions.save, made))
        for new in made:
            stored, created = ledger.predictions.save(new)
            assert (created, stored.predicted_value) == (False, new.predicted_value)

    def test_no_price(self) -> None:
        """A number that is none is not saved, on either dialect."""
        for name in ("predicted_value", "current_price", "lower", "upper", "level"):
            changes: dict[str, Any] = {name: math.inf}
            with pytest.raises(BadInput, match="holds inf, which is no price"):
                new_prediction(**changes)

    def test_at_once(self, ledger: Ledger) -> None:
        """Of many who save one prediction one makes the row, and all get it."""
        predicting(ledger)
        answers = at_once(4, lambda _: ledger.predictions.save(new_prediction()))
        assert sorted(created for _, created in answers) == [False, False, False, True]
        assert len({stored.id for stored, _ in answers}) == 1


class TestLatest:
    def test_newest_base_time_first(self, ledger: Ledger) -> None:
        """Among those of one base time the one saved last; as many as are asked for."""
        predicting(ledger)
        made = saved(
            ledger,
            *(new_prediction(5), new_prediction(7), new_prediction(7, 24), new_prediction(6), new_prediction(4)),
        )
        shuffled(ledger, made[1].id, made[0].id)
        newest = [made[index].id for index in (2, 1, 3, 0, 4)]
        assert told(ledger.predictions.latest()) == newest
        assert told(ledger.predictions.latest(limit=2)) == newest[:2]
        saved(ledger, *(new_prediction(hour) for hour in range(8, 18)))
        assert len(ledger.predictions.latest()) == 10

    def test_of_one(self, ledger: Ledger) -> None:
        """By model, by horizon, by version, and by all of them."""
        predicting(ledger)
        made = saved(
            ledger,
            new_prediction(),
            new_prediction(horizon=24),
            new_prediction(number=2),
            new_prediction(model_name="linear"),
        )
        latest = ledger.predictions.latest
        assert told(latest("forest")) == [made[2].id, made[1].id, made[0].id]
        assert told(latest("linear")) == told(latest("linear", 1)) == [made[3].id]
        assert told(latest(horizon=24)) == told(latest("forest", 24)) == [made[1].id]
        assert told(latest("forest", model_version=version(1))) == [made[1].id, made[0].id]
        assert latest("nobody") == latest("linear", 24) == []


class TestDue:
    def test_nothing_to_wait_for(self, ledger: Ledger) -> None:
        """A stream without bars, or without predictions, is not due."""
        predicting(ledger)
        bars(ledger, ETH, NOON, 48)
        saved(ledger, new_prediction())
        assert ledger.predictions.due() == []

    @pytest.mark.parametrize("seal", [False, True])
    def test_when_its_hour_is_over(self, ledger: Ledger, seal: bool) -> None:
        """With the last minute of it and not before, whether the bars are sealed or wait for it."""
        predicting(ledger)
        saved(ledger, new_prediction(0, 2), new_prediction(0, 1))
        bars(ledger, BTC, NOON + HOUR, 59, seal)
        assert ledger.predictions.due() == []
        bars(ledger, BTC, NOON + HOUR + 59 * MINUTE, 1, seal)
        assert ledger.predictions.due() == [BTC]

    def test_when_later_bars_are_stored(self, ledger: Ledger) -> None:
        """An hour that never came is over too; bars that came late say nothing of the end."""
        predicting(ledger)
        saved(ledger, new_prediction(0, 1))
        bars(ledger, BTC, NOON + 3 * HOUR, 60, seal=True)
        bars(ledger, BTC, NOON - HOUR, 30)
        assert ledger.predictions.due() == [BTC]

    def test_each_stream_by_itself(self, ledger: Ledger) -> None:
        """In order of key; what is settled is due no more, and what is still to come does not hold it up."""
        predicting(ledger)
        saved(ledger, new_prediction(stream=ETH), new_prediction(), new_prediction(0, 24), new_prediction(0, 3))
        bars(ledger, ETH, NOON, 2)
        assert ledger.predictions.due() == [ETH]
        bars(ledger, BTC, NOON, 120)
        assert ledger.predictions.due() == [BTC, ETH]
        ledger.predictions.settle(ETH, {NOON + HOUR: 100.0})
        assert ledger.predictions.due() == [BTC]
        ledger.predictions.settle(BTC, {NOON + HOUR: None})
        assert ledger.predictions.due() == []

    def test_what_waits(self, ledger: Ledger) -> None:
        """The hours of a stream's open predictions, each once, the earliest first, as many as are asked for."""
        predicting(ledger)
        made = saved(
            ledger,
            *(new_prediction(0, 24), new_prediction(1, 1), new_prediction(1, 3), new_prediction(1, 1, 2)),
            *(new_prediction(stream=ETH), new_prediction()),
        )
        ledger.predictions.settle(BTC, {made[2].predicted_time: 1.0})
        shuffled(ledger, made[3].id, made[1].id, made[0].id)
        waiting = [made[5].predicted_time, made[1].predicted_time, made[0].predicted_time]
        assert made[3].predicted_time == made[1].predicted_time
        assert ledger.predictions.open_hours(BTC) == waiting
        assert ledger.predictions.open_hours(BTC, 2) == waiting[:2]


class TestSettle:
    def test_known_and_missing(self, ledger: Ledger) -> None:
        """Every open prediction of the stream's hour, of whichever model, horizon and base time; nothing else."""
        predicting(ledger)
        made = saved(
            ledger,
            *(new_prediction(1, 2), new_prediction(2, 1), new_prediction(2, 1, 2), new_prediction(0, 1)),
            *(new_prediction(2, 1, stream=ETH), new_prediction(1, 1)),
        )
        hour, gone = NOON + 3 * HOUR, NOON + HOUR
        before = ledger.now()
        assert ledger.predictions.settle(BTC, {hour: 101.0, gone: None, NOON + 9 * HOUR: 7.0}) == 4
        found = {each.id: each for each in ledger.predictions.latest()}
        for each in made[:3]:
            now = found[each.id]
            assert now == replace(each, state=PredictionState.KNOWN, actual_value=101.0, scored_at=now.scored_at)
            assert now.scored_at is not None and before <= now.scored_at <= ledger.now()
        missing = found[made[3].id]
        assert (missing.state, missing.actual_value) == (PredictionState.MISSING, None)
        assert missing.scored_at is not None
        assert [found[each.id] for each in made[4:]] == made[4:]

    def test_once(self, ledger: Ledger) -> None:
        """What is known stays, whatever is told later; so does what is missing."""
        predicting(ledger)
        saved(ledger, new_prediction(), new_prediction(1))
        ledger.predictions.settle(BTC, {NOON + HOUR: 101.0, NOON + 2 * HOUR: None})
        before = ledger.predictions.latest()
        for close in (101.0, 99.0, None):
            assert ledger.predictions.settle(BTC, {NOON + HOUR: close, NOON + 2 * HOUR: close}) == 0
        assert ledger.predictions.latest() == before

    def test_no_close(self, ledger: Ledger) -> None:
        """A close that is no number changes nothing, not even what was told beside it."""
        predicting(ledger)
        before = saved(ledger, new_prediction())
        with pytest.raises(BadInput, match="the close nan of binance:BTC/USDT:1m at 2026-01-01T02:00:00Z is no price"):
            ledger.predictions.settle(BTC, {NOON + HOUR: 101.0, NOON + 2 * HOUR: math.nan})
        assert ledger.predictions.latest() == before

    def test_at_once(self, ledger: Ledger) -> None:
        """Of several who settle the same hours, in whichever order, each prediction is settled by one."""
        predicting(ledger)
        saved(ledger, *(new_prediction(hour, 1, number) for hour in range(6) for number in (1, 2)))
        closes = {NOON + hour * HOUR: 100.0 + hour for hour in range(1, 7)}

        def settle(number: int) -> int:
            order: Any = reversed(closes.items()) if number % 2 else closes.items()
            return ledger.predictions.settle(BTC, dict(order))

        assert sum(at_once(4, settle)) == 12
        assert {each.actual_value for each in ledger.predictions.latest(limit=12)} == set(closes.values())


class TestScored:
    def test_newest_hour_first(self, ledger: Ledger) -> None:
        """Those of the version, stream and horizon whose close is known, as many as are asked for."""
        predicting(ledger)
        made = saved(
            ledger,
            *(new_prediction(1, 1), new_prediction(4, 1), new_prediction(1, 3), new_prediction(0, 3)),
            *(new_prediction(3, 1, stream=ETH), new_prediction(1, 1, 2), new_prediction(1, 1, model_name="linear")),
            *(new_prediction(8, 1), new_prediction(9, 1)),
        )
        for key in (BTC, ETH):
            ledger.predictions.settle(key, {NOON + hour * HOUR: 1.0 for hour in range(7)} | {NOON + 9 * HOUR: None})
        shuffled(ledger, made[2].id, made[0].id)
        scored, mine = ledger.predictions.scored, ("forest", version(1))
        assert told(scored(*mine, BTC, 1, 9)) == [made[1].id, made[0].id]
        assert told(scored(*mine, BTC, 1, 1)) == [made[1].id]
        assert told(scored(*mine, BTC, 3, 9)) == [made[2].id, made[3].id]
        assert told(scored(*mine, ETH, 1, 9)) == [made[4].id]
        assert told(scored("forest", version(2), BTC, 1, 9)) == [made[5].id]
        assert scored("nobody", version(1), BTC, 1, 9) == []

    def test_counts(self, ledger: Ledger) -> None:
        """By horizon and state, in the order of horizons; another version's and name's are not counted."""
        predicting(ledger)
        saved(
            ledger,
            *(new_prediction(0, 24), new_prediction(0, 1), new_prediction(1, 1), new_prediction(2, 1)),
            *(new_prediction(3, 1, stream=ETH), new_prediction(0, 1, 2), new_prediction(0, 1, model_name="linear")),
        )
        ledger.predictions.settle(BTC, {NOON + HOUR: 1.0, NOON + 2 * HOUR: None})
        counts = ledger.predictions.counts("forest", version(1))
        assert list(counts) == [1, 24]
        assert counts[1] == {PredictionState.OPEN: 2, PredictionState.KNOWN: 1, PredictionState.MISSING: 1}
        assert counts[24] == {PredictionState.OPEN: 1, PredictionState.KNOWN: 0, PredictionState.MISSING: 0}
        assert ledger.predictions.counts("nobody", version(1)) == {}
        assert ledger.predictions.counts("forest", version(1), ETH) == {
            1: {PredictionState.OPEN: 1, PredictionState.KNOWN: 0, PredictionState.MISSING: 0}
        }
        assert [each.stream for each in ledger.predictions.latest("forest", stream=ETH)] == [ETH]


PLANS = [
    ("ORDER BY timestamp DESC, id DESC LIMIT 10", "ix_predictions_timestamp"),
    ("WHERE model_name = 'a' ORDER BY timestamp DESC LIMIT 10", "ix_predictions_model_name_timestamp"),
    ("WHERE prediction_horizon = 3 ORDER BY timestamp DESC LIMIT 10", "ix_predictions_prediction_horizon_timestamp"),
    (
        "WHERE model_name = 'a' AND prediction_horizon = 3 ORDER BY timestamp DESC LIMIT 10",
        "ix_predictions_of_both_timestamp",
    ),
    ("WHERE state = 'open' AND stream = 'a' ORDER BY predicted_time, id", "ix_predictions_open"),
    (
        "WHERE state = 'known' AND model_name = 'a' AND model_version = 'b' ORDER BY predicted_time DESC",
        "ix_predictions_known",
    ),
    (
        "WHERE state = 'known' AND model_name = 'a' AND model_version = 'b' AND stream = 'c' "
        "AND prediction_horizon = 3 ORDER BY predicted_time DESC",
        "ix_predictions_known_of_stream",
    ),
]


def test_each_query_has_its_index(ledger: Ledger) -> None:
    """Without sorting what it has found: each stays quick among millions."""
    if ledger.dialect == "postgresql":
        before, plan = "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off", "EXPLAIN"
    else:
        before, plan = "SELECT 1", "EXPLAIN QUERY PLAN"
    for query, index in PLANS:
        with ledger._db.read() as connection:
            connection.execute(text(before))
            lines = connection.execute(text(f"{plan} SELECT * FROM predictions {query}")).all()
        assert any(index in str(line) for line in lines), (query, lines)
