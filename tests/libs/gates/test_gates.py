"""Splits, scores and the pure steps."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.libs.gates.candidates import GATE, SIGNATURE, candidate
from tests.libs.models.worlds import MINUTE, START, candles, market
from tidewheel.contracts.errors import BadInput, NotEnoughData
from tidewheel.features.frames import CandleFrame, Ints
from tidewheel.features.returns import WINDOW
from tidewheel.gates.enough import Enough
from tidewheel.gates.gate import Candidate, Gate
from tidewheel.gates.scores import block_bootstrap, differences, scored_blocks, scores
from tidewheel.gates.splits import split
from tidewheel.gates.steps import ChampionStep, EnoughDataStep
from tidewheel.models.regime import RegimeModel

STREAM = "test:A/USDT:1m"


@pytest.fixture(scope="module")
def good() -> tuple[RegimeModel, Candidate]:
    return candidate({STREAM: market(8_000, seed=1)})


def test_split_holds_out_the_last_fifth_and_purges() -> None:
    """The hold-out is the last 20 % of the time of all streams together; the 30 bars before it are dropped."""
    parts = split({STREAM: market(1_000, 1), "test:B/USDT:1m": market(1_000, 2).take(slice(500, None))})
    cut = START + 800 * MINUTE
    assert parts.cut == cut
    for stream, bars in ((STREAM, 770), ("test:B/USDT:1m", 270)):
        (train,), (held,) = parts.train[stream], parts.holdout[stream]
        assert (len(train), len(held)) == (bars, 200)
        assert train.open_time[-1] == cut - (WINDOW + 1) * MINUTE
        assert held.open_time[0] == cut
    assert (parts.train_bars, parts.holdout_bars) == (1_040, 400)


def test_split_cuts_at_gaps() -> None:
    """A frame with a hole gives two contiguous frames."""
    frame = market(1_000, 1)
    holed = frame.take(np.r_[0:300, 310:1_000])
    assert [len(part) for part in split({STREAM: holed}).train[STREAM]] == [300, 460]


def test_split_of_nothing_is_refused() -> None:
    """No bars: a sentence, not an empty split."""
    with pytest.raises(NotEnoughData, match="there are no bars to split"):
        split({})


@pytest.mark.parametrize("bars", [1_003, 1_004, 1_007])
def test_split_cuts_between_bars(bars: int) -> None:
    """The cut is a bar's open time, and the hold-out the whole bars that fit into a fifth."""
    parts = split({STREAM: market(bars, 1)})
    assert parts.cut == START + (bars - bars // 5) * MINUTE and parts.holdout_bars == bars // 5


def test_split_takes_one_timeframe() -> None:
    """Streams of two timeframes are refused with both."""
    other = CandleFrame.from_rows(5 * MINUTE, [(START // (5 * MINUTE) * 5 * MINUTE, 1.0, 1.0, 1.0, 1.0, 1.0)])
    with pytest.raises(BadInput, match=r"\[60000, 300000\] ms long; one model takes one timeframe"):
        split({STREAM: market(100, 1), "test:B/USDT:5m": other})


def test_better_model_than_the_baseline_passes(good: tuple[RegimeModel, Candidate]) -> None:
    """A first model that learnt real regimes beats the one-state Gaussian, and the numbers say by how much."""
    verdict = GATE.judge(good[1])
    assert verdict.passed and [step.step for step in verdict.steps] == ["schema", "enough_data", "champion"]
    numbers = verdict.steps[-1].numbers
    assert numbers["opponent"] == "gaussian"
    assert 0 < numbers["quantile_05"] < numbers["mean_difference"]
    assert numbers["n"] == numbers["streams"][STREAM]["n"] == 1_600 - WINDOW
    assert numbers["mean_difference"] == pytest.approx(numbers["challenger_score"] - numbers["opponent_score"])


def test_model_does_not_beat_itself(good: tuple[RegimeModel, Candidate]) -> None:
    """A challenger equal to the champion is refused with the number zero: promotion needs a gain."""
    model, made = good
    verdict = GATE.judge(replace(made, champion=model, champion_version="v1"))
    assert verdict.refusal is not None and verdict.refusal.step == "champion"
    assert verdict.refusal.numbers["mean_difference"] == verdict.refusal.numbers["quantile_05"] == 0.0
    assert "not surely better than v1" in verdict.refusal.reason


def test_gate_stops_at_the_first_refusal(good: tuple[RegimeModel, Candidate]) -> None:
    """Too few training bars: refused there, with the missing number, and no later step runs."""
    verdict = GATE.judge(replace(good[1], min_train_bars=50_000))
    assert [step.step for step in verdict.steps] == ["schema", "enough_data"]
    assert verdict.refusal is not None and "43630 more" in verdict.refusal.reason


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"feature_signature": "0" * 64}, "feature signature"),
        ({"payload": {"model.json": b"{}"}}, "lacks"),
        ({"family": "lstm"}, "stands for lstm"),
    ],
)
def test_schema_refuses(good: tuple[RegimeModel, Candidate], change: dict[str, Any], says: str) -> None:
    """Foreign features, damaged files and a wrong family are refusals with a reason, not exceptions."""
    refusal = GATE.judge(replace(good[1], **change)).refusal
    assert refusal is not None and refusal.step == "schema" and says in refusal.reason


def test_schema_refuses_other_files(good: tuple[RegimeModel, Candidate]) -> None:
    """Files of another model than the one that was scored are refused."""
    model, made = good
    other = replace(model, seed=model.seed + 1).to_payload()
    refusal = GATE.judge(replace(made, payload=other, feature_signature=SIGNATURE)).refusal
    assert refusal is not None and "another model" in refusal.reason


def test_thin_holdout_is_refused(good: tuple[RegimeModel, Candidate]) -> None:
    """A hold-out of a few blocks, or of none, cannot promote."""
    for bars in (20, 600):
        result = ChampionStep()(replace(good[1], holdout={STREAM: [market(bars, 3)]}))
        assert not result.passed and "20 blocks are needed" in result.reason


def test_enough_data_tells_what_gaps_left_unusable(good: tuple[RegimeModel, Candidate]) -> None:
    """The step counts the unbroken runs of bars, and those too short to use; it is silent where there are none."""
    broken_up = EnoughDataStep()(replace(good[1], segments=539, short_segments=476))
    whole = EnoughDataStep()(replace(good[1], segments=2, train_bars=1_000, min_train_bars=1_000))

    assert broken_up.reason.endswith("; 476 of 539 unbroken runs of bars are too short to use")
    assert (broken_up.numbers["segments"], broken_up.numbers["short_segments"]) == (539, 476)
    assert whole.reason == "1000 training bars, 1000 needed" and whole.passed
    assert broken_up.reason.startswith(f"{good[1].train_bars} training bars, ")


def test_scores_skip_gaps(good: tuple[RegimeModel, Candidate]) -> None:
    """After a gap, scoring starts afresh: each contiguous run of n bars gives n - 30 scores."""
    frame = market(1_000, 4)
    runs = scores(good[0], {STREAM: [frame.take(np.r_[0:300, 310:1_000])]})[STREAM]
    assert [len(run) for run in runs] == [270, 660]


def test_bootstrap_is_seeded_and_covers() -> None:
    """Same seed, same quantile; on pure noise the 5 % quantile exceeds zero in about 5 % of trials."""
    rng = np.random.default_rng(0)
    noise = {"a": [rng.standard_normal(3_000)], "b": [rng.standard_normal(1_000)]}
    assert block_bootstrap(noise, 7) == block_bootstrap(noise, 7)
    passed = sum(block_bootstrap({"a": [rng.standard_normal(3_000)]}, trial).quantile > 0 for trial in range(80))
    assert 1 <= passed <= 12


def test_bootstrap_sees_correlation() -> None:
    """Where neighbouring bars move together, the quantile is far lower than independent draws would say."""
    rng = np.random.default_rng(1)
    lumpy = np.repeat(rng.standard_normal(100), 60) + 0.1
    found = block_bootstrap({"a": [lumpy]}, 0)
    assert found.mean - found.quantile > 3 * 1.645 * lumpy.std() / np.sqrt(len(lumpy))


def test_differences_pair_bar_by_bar(good: tuple[RegimeModel, Candidate]) -> None:
    """The paired difference of two models is taken on the same bars, baseline and regime model alike."""
    holdout = {STREAM: [candles(np.zeros(10)), market(500, 5)]}
    ours, theirs = scores(good[0], holdout), scores(good[1].baseline, holdout)
    paired = differences(ours, theirs)
    assert np.array_equal(paired[STREAM][0], ours[STREAM][0] - theirs[STREAM][0])
    assert [len(run) for run in paired[STREAM]] == [470]
    with pytest.raises(ValueError, match="shorter"):
        differences(ours, {STREAM: []})


@pytest.mark.parametrize("kept", [np.r_[0:1_000], np.r_[0:31, 40:70, 80:111, 200:290, 300:391, 400:1_000], np.r_[0:20]])
def test_blocks_are_counted_before_the_fit(good: tuple[RegimeModel, Candidate], kept: Ints) -> None:
    """Whatever the holes, the count without a model is the number of blocks that the bootstrap cuts."""
    holdout = {STREAM: [market(1_000, 6).take(kept)], "test:B/USDT:1m": market(200, 7).segments()}
    paired = differences(scores(good[0], holdout), scores(good[1].baseline, holdout))
    assert scored_blocks(holdout) == block_bootstrap(paired, 0).blocks


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize(("min_train_bars", "min_blocks"), [(500, 20), (9_000, 20), (500, 0)])
def test_enough_tells_how_many_bars_are_needed(streams: int, min_train_bars: int, min_blocks: int) -> None:
    """A window of as many bars is enough, and one that is a little shorter is not."""

    def of(length: int) -> Enough:
        window = {f"test:{at}/USDT:1m": market(length, at) for at in range(streams)}
        return Enough.of(
            split(window), bars=length * streams, streams=streams, min_train_bars=min_train_bars, min_blocks=min_blocks
        )

    needed = of(100).needed_bars // streams
    assert of(needed).to_fit and of(needed).to_judge
    assert not (of(needed - 5).to_fit and of(needed - 5).to_judge)


def test_the_gate_needs_what_its_steps_need() -> None:
    """The champion step asks for 20 blocks, so the gate does; a gate without it asks for none."""
    assert (GATE.min_blocks, Gate([EnoughDataStep()]).min_blocks, Gate([]).min_blocks) == (20, 0, 0)
