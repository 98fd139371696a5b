"""Tiny models of every format, trained in place on the same few hundred rows."""

from functools import cache
from typing import Any

import numpy as np

from tidewheel.features.frames import Floats

FEATURES = 5


@cache
def rows() -> Floats:
    """[300, 5]."""
    return np.random.default_rng(7).normal(size=(300, FEATURES))


@cache
def target() -> Floats:
    """[300]."""
    noise = np.random.default_rng(8).normal(size=len(rows()))
    return np.asarray(rows() @ np.arange(FEATURES) + noise)


def targets() -> Floats:
    """[300, 2]."""
    return np.column_stack([target(), -target()])


def skops_bytes(estimator: Any) -> bytes:
    """A fitted estimator as its owner would save it."""
    import skops.io

    return bytes(skops.io.dumps(estimator))


@cache
def forest() -> Any:
    """A fitted forest of five trees."""
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(n_estimators=5, max_depth=4, random_state=7).fit(rows(), target())
