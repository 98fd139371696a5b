"""The synthetic tickers: what they promise of dips is what BounceHunter's own eyes find in them."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from services.fleet.imports import judged
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import DAY
from tidewheel.features.bounce import UNKNOWN, dips, require_adjusted
from tidewheel.features.volatility import Squares, at_sessions, percentile
from tidewheel.market.sim.dips import SESSIONS, START, TICKERS, DipsMarket, dips_market
from tidewheel.models.bounce import BounceModel, DipRows

CONFIG = BounceHunterConfig.of(TICKERS)


@cache
def market(edge: float = 1.5, undecided: float = 0.0) -> DipsMarket:
    return dips_market(edge=edge, undecided=undecided)


def rows_of(made: DipsMarket) -> DipRows:
    """All dips of a market, with the universe's volatility."""
    levels = percentile(*Squares.added(Squares.of(frame) for frame in made.frames.values()).realised())
    parts = []
    for place, ticker in enumerate(sorted(made.frames)):
        found = dips(made.frames[ticker], CONFIG)
        volatility = at_sessions(found.time, *levels)
        parts.append(
            DipRows(
                found.time,
                np.full(len(found), place),
                np.column_stack([found.features, volatility]),
                found.label,
                found.known_at,
            )
        )
    return DipRows.joined(parts)


def test_sessions_are_weekdays_and_the_seed_gives_the_bars() -> None:
    """Five tickers share them; other seeds make other markets, and prices stay those of shares."""
    made, again, other = market(), dips_market(), dips_market(sessions=300, seed=2)
    assert tuple(made.frames) == TICKERS
    for ticker, frame in made.frames.items():
        assert np.array_equal(frame.matrix(), again.frames[ticker].matrix())
        assert not np.array_equal(frame.close[:300], other.frames[ticker].close)
        assert frame.open_time[0] == START and len(frame) == SESSIONS
        assert set(((frame.open_time // DAY + 3) % 7).tolist()) == {0, 1, 2, 3, 4}
        assert (np.diff(frame.open_time) <= 3 * DAY).all()
        assert 5 < frame.close.min() < frame.close.max() < 5_000
        assert (frame.close * frame.volume).min() > 1e7
        require_adjusted(ticker, frame)
    with pytest.raises(BadInput, match="1 sessions of 5 tickers with the seed 1 make no market"):
        dips_market(sessions=1)


@pytest.mark.parametrize(("edge", "undecided"), [(1.5, 0.0), (0.0, 0.0), (1.5, 0.2)])
def test_each_dip_ends_as_was_drawn(edge: float, undecided: float) -> None:
    """Every dip that the default configuration finds has a fate, and its label is that."""
    made, over = market(edge, undecided), 0
    for ticker, frame in made.frames.items():
        found = dips(frame, CONFIG)
        at = np.searchsorted(frame.open_time, found.time)
        fate, known = made.bounced[ticker][at], found.label != UNKNOWN
        assert known.sum() > 45
        assert np.array_equal(fate[known], found.label[known])
        assert not np.isnan(made.chance[ticker][at]).any()
        over += int((found.known_at[known] > frame.open_time[np.minimum(at[known] + 4, SESSIONS - 1)] + DAY).sum())
    chance = np.concatenate([each[~np.isnan(each)] for each in made.chance.values()])
    came = np.concatenate([each[each >= 0] for each in made.bounced.values()])
    assert abs(came.mean() - chance.mean()) < 0.06
    assert (over > 30) == (undecided > 0)
    assert (np.ptp(chance) > 0.55) == (edge > 0)


def test_a_model_has_skill_where_there_is_an_edge_and_none_where_there_is_none() -> None:
    """Forward metrics tell the two markets apart, and its probabilities follow the true chance."""
    rows = rows_of(market())
    model, blind = (BounceModel.fit(each, fewest=40) for each in (rows, rows_of(market(0.0))))
    metrics, none = model.metrics, blind.metrics
    assert metrics.auc is not None and none.auc is not None
    assert metrics.brier is not None and metrics.brier_of_base_rate is not None
    assert metrics.auc > 0.7 and metrics.brier < metrics.brier_of_base_rate - 0.03
    assert abs(none.auc - 0.5) < 0.08
    names = sorted(TICKERS)
    truth = [
        market().chance[names[ticker]][int(np.searchsorted(market().frames[names[ticker]].open_time, time))]
        for time, ticker in zip(rows.time.tolist(), rows.ticker.tolist(), strict=True)
    ]
    assert np.corrcoef(truth, model.probability(rows.features))[0, 1] > 0.7


@pytest.mark.parametrize("ticker", TICKERS)
def test_one_ticker_is_enough_for_a_fit(ticker: str) -> None:
    """As the documents ask for AAPL alone."""
    made = market()
    alone = DipsMarket({ticker: made.frames[ticker]}, {}, {})
    assert BounceModel.fit(rows_of(alone), fewest=CONFIG.min_event_samples).trained > 45


def test_a_file_is_one_that_people_have(tmp_path: Path) -> None:
    """Dates alone, prices as they are."""
    files = market().written(tmp_path)
    assert files["AAPL"].read_text().startswith("Date,Open,High,Low,Close,Volume\n2013-01-07,")
    read = judged(files["AMD"], StreamKey("stocks", "AMD", "1d"), START + 5_000 * DAY, naive_is_utc=True)
    assert (read.bars, read.first) == (SESSIONS, START)
