"""Regimes hold their meaning: whatever the seed, after each retrain, and whatever comes later.

Six checks on markets whose true states are known. Seeds: models that differ in TRAIN_SEED give one label to a bar.
Names: 20 retrains on a market that drifts, in either mode, leave each name on its state. Last bar: filtered equals
hmmlearn's smoothed, which sees no future there. Prefixes: what follows a bar changes no bit of its answer. Served:
neither do the ways to ask the predictor. Strict: statistics count each bar once, and predict like a refit on all.
"""

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np

from services.fleet.prove.apparatus.markets import Market, market
from services.fleet.prove.apparatus.served_regimes import answers
from services.fleet.prove.proof import Budget, Found, Tally, Tell
from tidewheel.features.frames import CandleFrame, Floats, Ints
from tidewheel.features.returns import WINDOW, regime_features
from tidewheel.models.identity import STATES
from tidewheel.models.regime import RegimeModel

STREAM = "binance:BTC/USDT:1m"
SEEDS, AGREEMENT = 20, 0.99
RETRAINS = 20
EXACT = 1e-12  #: probability by which filtered and smoothed may differ at the last bar
NEAR = 1e-3  #: nats a bar by which a strict chain and a full refit may differ


def prove(budget: Budget, tell: Tell) -> Tally:
    """A trial is a comparison; the budget counts markets, each of which brings some thousands of them."""
    found = Found(Tally())
    checks: tuple[Callable[[int, Found], None], ...] = (seeds, names_sliding, names_strict, last_bar, prefixes, strict)
    parts = budget.trials * (len(checks) + 1)
    for number in range(budget.trials):
        seed = budget.seed + number
        for place, check in enumerate(checks):
            tell((number * (len(checks) + 1) + place) / parts, f"market {number + 1}: {check.__name__}")
            check(seed, found)
        tell(((number + 1) * (len(checks) + 1) - 1) / parts, f"market {number + 1}: served")
        served(seed, found, budget)
    found.tally.figures = [f"regimes: {name}: {value:.6g}" for name, value in found.figures.items()]
    return found.tally


def fitted(seed: int = 1, bars: int = 3_000) -> tuple[Market, RegimeModel]:
    """A market, and a model of its first `bars` returns."""
    made = market(bars + 2_000, seed)
    return made, RegimeModel.fit({STREAM: [made.bars(0, bars)]}, seed=42, restarts=1)


def labels(model: RegimeModel, returns: Floats) -> Ints:
    """Index of the served state at each bar from the 30th return on."""
    found: Ints = model.filter(returns, stream=STREAM).probs.argmax(axis=1)
    return found


def seeds(seed: int, found: Found, *, bars: int = 3_000) -> None:
    """Twenty TRAIN_SEEDs at the default five EM starts, and the labels of 2,000 bars that no fit saw."""
    made = market(bars + 2_000, seed)
    told = [
        labels(RegimeModel.fit({STREAM: [made.bars(0, bars)]}, seed=each, restarts=5), made.returns[bars:])
        for each in range(SEEDS)
    ]
    for (one, ours), (other, theirs) in combinations(enumerate(told), 2):
        agreement = float((ours == theirs).mean())
        found.least("least agreement of two seeds", agreement)
        found.hold(agreement >= AGREEMENT, f"market {seed}: seeds {one} and {other} agree on {agreement:.1%} of bars")


def names_sliding(seed: int, found: Found, *, retrains: int = RETRAINS) -> None:
    """A window moves over a market that drifts; each refit is matched to the one before."""
    window, step = 6_000, 1_500
    made = market(window + RETRAINS * step, seed, grows=4.0)
    champion: RegimeModel | None = None
    meant: list[int] = []
    for retrain in range(retrains + 1):
        start, end = retrain * step, retrain * step + window
        # One EM start alone may settle in a poor optimum, whose states are others.
        model = RegimeModel.fit({STREAM: [made.bars(start, end)]}, seed=42, restarts=2, champion=champion)
        truth = _names(labels(model, made.returns[start:end]), made.states[start + WINDOW - 1 : end])
        meant = meant or truth
        found.hold(truth == meant, f"market {seed}, sliding retrain {retrain}: names moved from {meant} to {truth}")
        if champion is not None:
            shared = made.returns[end - 2 * step : end]
            _same_names(f"market {seed}, sliding retrain {retrain}", champion, model, shared, found, "sliding")
        champion = model


def names_strict(seed: int, found: Found, *, retrains: int = RETRAINS) -> None:
    """New bars alone, added to the statistics, on a market that drifts: the levels that they average are the names."""
    step = 1_500
    made = market((RETRAINS + 4) * step, seed, grows=4.0)
    champion = RegimeModel.fit({STREAM: [made.bars(0, 4 * step)]}, seed=42, restarts=1)
    for retrain in range(retrains):
        end = (retrain + 5) * step
        model = champion.update({STREAM: [made.bars(end - step, end)]})
        returns = made.returns[end - 2 * step : end]
        _same_names(f"market {seed}, strict retrain {retrain + 1}", champion, model, returns, found, "strict")
        champion = model


def _same_names(
    where: str, champion: RegimeModel, model: RegimeModel, returns: Floats, found: Found, mode: str
) -> None:
    before, after = labels(champion, returns), labels(model, returns)
    found.least(f"least agreement of a {mode} retrain with its champion", float((before == after).mean()))
    order = _names(after, before)
    found.hold(order == [0, 1, 2], f"{where}: what was {[STATES[each] for each in order]} is now {list(STATES)}")


def _names(told: Ints, truth: Ints) -> list[int]:
    """The state of `truth` that each state of `told` stands for, by the assignment with most bars."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((3, 3))
    np.add.at(counts, (told, truth), 1)
    order: list[int] = linear_sum_assignment(counts, maximize=True)[1].tolist()
    return order


def last_bar(seed: int, found: Found, *, bars: int = 300) -> None:
    """Filtered and smoothed at the last bar of every prefix."""
    from hmmlearn.hmm import GaussianHMM

    made, model = fitted(seed)
    theirs = GaussianHMM(n_components=3, covariance_type="diag")
    theirs.startprob_, theirs.transmat_ = model.startprob, model.transmat
    theirs.means_, theirs.covars_ = model.means, model.covars
    returns = made.returns[-bars:]
    rows = regime_features(returns, model.scale(STREAM))
    for length in range(WINDOW, bars + 1):
        ours = model.filter(returns[:length], stream=STREAM).probs[-1]
        apart = float(np.abs(ours - theirs.predict_proba(rows[: length - WINDOW + 1])[-1]).max())
        found.most("filtered from smoothed at the last bar", apart)
        found.hold(apart <= EXACT, f"market {seed}: filtered and smoothed differ by {apart:.3g} at bar {length}")


def prefixes(seed: int, found: Found, *, bars: int = 400) -> None:
    """The filter on every prefix, against the filter on the whole."""
    made, model = fitted(seed)
    returns = made.returns[-bars:]
    whole = model.filter(returns, stream=STREAM)
    for length in range(WINDOW, bars):
        part, rows = model.filter(returns[:length], stream=STREAM), length - WINDOW + 1
        same = part.probs.tobytes() == whole.probs[:rows].tobytes()
        same = same and part.score.tobytes() == whole.score[:rows].tobytes()
        found.hold(same, f"market {seed}: what follows bar {length} changes the filter up to it")
    # A predictor filters the newest 1,440 bars; what it leaves behind no longer matters.
    long = market(8_000, seed).returns
    all_of_it = model.filter(long, stream=STREAM).probs
    for end in range(2_000, len(long), 600):
        near = model.filter(long[end - 1_439 : end], stream=STREAM).probs[-1]
        apart = float(np.abs(near - all_of_it[end - WINDOW]).max())
        found.most("the newest 1,440 bars from all of them", apart)
        found.hold(apart <= 1e-9, f"market {seed}: bars before the newest 1,440 move a probability by {apart:.3g}")


def served(seed: int, found: Found, budget: Budget, *, bars: int = 65, nowcast_bars: int = 48) -> None:
    """A stream grows bar by bar, and the predictor is asked in all three ways after each."""
    made, model = fitted(seed)
    frame = made.bars(0, bars)
    whole = model.filter(made.returns[:bars], stream=STREAM).probs
    newest = nowcast_bars - 1  # returns between the newest bars
    for told in answers(model, STREAM, frame, budget.ground.folder, nowcast_bars=nowcast_bars):
        expected = whole[told.returns - WINDOW]
        if told.way == "stream" and told.returns > newest:
            seen = made.returns[told.returns - newest : told.returns]
            expected = model.filter(seen, stream=STREAM).probs[-1]
        found.hold(
            told.probs == tuple(expected.tolist()),
            f"market {seed}: asked by {told.way} at bar {told.returns}, it answers {told.probs}, not {expected}",
        )


def strict(seed: int, found: Found, *, retrains: int = RETRAINS) -> None:
    """A chain of strict retrains against one fit on all bars of a market that stays as it is."""
    # What a fit took its bars for stays in their statistics, so the first one must have met every state often enough.
    first, step, unseen = 6_000, 1_000, 10_000
    made = market(first + retrains * step + unseen, seed)
    pieces = list(_pieces(made, first, step, retrains))
    chain = RegimeModel.fit({STREAM: [pieces[0]]}, seed=42, restarts=1)
    for retrain, piece in enumerate(pieces[1:], start=1):
        chain = RegimeModel.from_payload(chain.to_payload()).update({STREAM: [piece]})
        rows = sum(len(each) - WINDOW for each in pieces[: retrain + 1])
        counted = float(chain.statistics.occupancy.sum())
        moves = float(chain.statistics.transitions.sum()) - 9.0  # the prior's
        found.hold(
            abs(counted - rows) < 1e-6 and abs(moves - (rows - retrain - 1)) < 1e-6,
            f"market {seed}, strict retrain {retrain}: {rows} rows were seen, the statistics count {counted:.3f}",
        )
    refit = RegimeModel.fit({STREAM: pieces}, seed=42, restarts=1)
    later = made.returns[-unseen:]
    ours, theirs = (float(each.filter(later, stream=STREAM).score.mean()) for each in (chain, refit))
    found.least("strict less refit, lowest, nats a bar", ours - theirs)
    found.most("strict less refit, highest, nats a bar", ours - theirs)
    found.hold(abs(ours - theirs) <= NEAR, f"market {seed}: strict scores {ours:.5f} nats a bar, a refit {theirs:.5f}")


def _pieces(made: Market, first: int, step: int, retrains: int) -> Iterator[CandleFrame]:
    yield made.bars(0, first)
    for retrain in range(retrains):
        start = first + retrain * step
        yield made.bars(start, start + step)
