"""Regime models for tests that serve them: handmade, so that nothing must be fitted."""

import numpy as np

from tests.libs.modelstore.bundles import AS_OF, meta
from tidewheel.features.returns import regime_signature
from tidewheel.models.regime import RegimeModel
from tidewheel.models.statistics import Statistics
from tidewheel.modelstore.store import ModelStore, Staged

MINUTE = 60_000


def regime(bull_drift: float = 0.5) -> RegimeModel:
    """A sound 1m model whose versions differ by `bull_drift`."""
    return RegimeModel(
        step=MINUTE,
        startprob=np.full(3, 1 / 3),
        transmat=np.array([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.01, 0.01, 0.98]]),
        means=np.array([[bull_drift, 0.0], [-0.5, 0.7], [0.0, -0.9]]),
        covars=np.array([[1.0, 0.1], [4.0, 0.1], [0.16, 0.1]]),
        scales={"binance:BTC/USDT:1m": 1e-3},
        default_scale=1e-3,
        statistics=Statistics(np.ones((3, 3)), np.ones(3), np.zeros((3, 2)), np.ones((3, 2))),
        seed=42,
        restarts=1,
    )


def staged_regime(store: ModelStore, bull_drift: float = 0.5) -> Staged:
    """The model as a staged bundle."""
    about = meta(feature_signature=regime_signature("1m"), data_as_of=AS_OF)
    return store.stage("hmm", regime(bull_drift).to_payload(), about)


def published_regime(store: ModelStore, bull_drift: float = 0.5) -> str:
    """The model as a published bundle; its version."""
    staged = staged_regime(store, bull_drift)
    store.publish(staged)
    return staged.version


def returns(count: int, seed: int = 1) -> list[float]:
    """Log returns of a market without drift."""
    found: list[float] = (1e-3 * np.random.default_rng(seed).standard_normal(count)).tolist()
    return found
