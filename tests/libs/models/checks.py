"""What every model must do, whatever it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tests.libs.models.worlds import candles, regime_path, regime_returns
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.returns import WINDOW, log_returns
from tidewheel.models.base import Model


@dataclass(frozen=True)
class Subject:
    """A model under check."""

    fit: Callable[[Mapping[str, Sequence[CandleFrame]], int], Model]  #: (segments, seed)
    learnable: Floats  #: log returns of a world that it must learn
    floor: float  #: mean score it must reach there on bars it never saw, nats a bar


STREAM = "test:A/USDT:1m"
OTHER = "test:B/USDT:1m"


def _world(size: float = 1e-3, seed: int = 7) -> CandleFrame:
    return candles(regime_returns(regime_path(4_000, seed), seed, size))


def seed_gives_the_same_bytes(subject: Subject) -> None:
    """Fitted twice on the same bars with one seed, a model is the same to the byte."""
    segments = {STREAM: [_world()], OTHER: [_world(1e-4, 8)]}
    assert subject.fit(segments, 42).to_payload() == subject.fit(segments, 42).to_payload()


def order_of_streams_is_nothing(subject: Subject) -> None:
    """The order in which streams are handed over leaves no trace."""
    one, two = {STREAM: [_world()], OTHER: [_world(1e-4, 8)]}, {OTHER: [_world(1e-4, 8)], STREAM: [_world()]}
    assert subject.fit(one, 42).to_payload() == subject.fit(two, 42).to_payload()


def saved_model_answers_alike(subject: Subject) -> None:
    """Read back from its files, a model gives the same bytes and the same answers to the bit."""
    model = subject.fit({STREAM: [_world()]}, 1)
    loaded = type(model).from_payload(model.to_payload())
    returns = log_returns(_world(seed=9).close)
    ours, theirs = model.filter(returns, stream=STREAM), loaded.filter(returns, stream=STREAM)
    assert loaded.to_payload() == model.to_payload()
    assert ours.probs.tobytes() == theirs.probs.tobytes() and ours.score.tobytes() == theirs.score.tobytes()
    assert ours.state == theirs.state


def future_changes_nothing(subject: Subject) -> None:
    """Answers for the first n returns are the same to the bit whatever follows them."""
    model = subject.fit({STREAM: [_world()]}, 1)
    returns = log_returns(_world(seed=9).close)
    whole = model.filter(returns, stream=STREAM)
    for length in (WINDOW, WINDOW + 1, 37, 64, 65, 1_001, 2_999):
        changed = np.concatenate([returns[:length], returns[length:] * -50.0 + 0.01])
        for other in (returns[:length], changed):
            part = model.filter(other, stream=STREAM)
            rows = length - WINDOW + 1
            assert part.probs[:rows].tobytes() == whole.probs[:rows].tobytes()
            assert part.score[:rows].tobytes() == whole.score[:rows].tobytes()


def pieces_equal_the_whole(subject: Subject) -> None:
    """Fed in pieces of any size through its state, a model answers as for the whole, to the bit."""
    model = subject.fit({STREAM: [_world()]}, 1)
    returns = log_returns(_world(seed=9).close)[:400]
    whole = model.filter(returns, stream=STREAM)
    for size in (1, 7, 29, 30, 31, 250):
        state, probs, score = None, [], []
        for start in range(0, len(returns), size):
            part = model.filter(returns[start : start + size], stream=STREAM, state=state)
            state = part.state
            probs.append(part.probs)
            score.append(part.score)
        assert np.concatenate(probs).tobytes() == whole.probs.tobytes()
        assert np.concatenate(score).tobytes() == whole.score.tobytes()
        assert state == whole.state


def learnable_world_is_learnt(subject: Subject) -> None:
    """On unseen bars of a world that it can express, a model scores near what the truth would."""
    half = len(subject.learnable) // 2
    model = subject.fit({STREAM: [candles(subject.learnable[:half])]}, 3)
    assert float(model.filter(subject.learnable[half:], stream=STREAM).score.mean()) > subject.floor


def every_score_is_finite(subject: Subject) -> None:
    """Neither a still market nor a jump of a thousand sigma gives NaN or infinity."""
    model = subject.fit({STREAM: [_world()]}, 1)
    found = model.filter([0.0] * 100 + [1.0, -1.0] + [1e-9] * 100, stream=STREAM)
    assert np.isfinite(found.probs).all() and np.isfinite(found.score).all()
    assert np.allclose(found.probs.sum(axis=1), 1.0)


CHECKS = (
    seed_gives_the_same_bytes,
    order_of_streams_is_nothing,
    saved_model_answers_alike,
    future_changes_nothing,
    pieces_equal_the_whole,
    learnable_world_is_learnt,
    every_score_is_finite,
)
