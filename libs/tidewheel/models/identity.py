"""Which state is the bull: names that survive a retrain.

A fit numbers its states at random. The first model of a family names them by their mean return; later ones take the
names of the champion's states that they resemble most, so that `bull` keeps its meaning when the market changes.
"""

import numpy as np

from tidewheel.features.frames import Floats

STATES = ("bull", "bear", "chop")  #: in this order everywhere


def canonical_order(means: Floats) -> list[int]:
    """Order in which the states become bull (highest mean return), bear (lowest) and chop; `means` is [3, 2]."""
    bear, chop, bull = np.argsort(means[:, 0], kind="stable").tolist()
    return [bull, bear, chop]


def matching_order(means: Floats, covars: Floats, to_means: Floats, to_covars: Floats) -> list[int]:
    """Order in which states (`means`, `covars`, each [S, K, D]) best fit those of another model, state by state.

    S counts the streams compared; means and variances are in raw units, in which both models speak alike whatever
    their scales. The distance of two states is the Bhattacharyya distance of their Gaussians, mean over streams,
    and the assignment of least total distance wins.
    """
    from scipy.optimize import linear_sum_assignment

    mine, theirs = means[:, None], to_means[:, :, None]  # distance[i, j]: their state i, my state j
    my_var, their_var = covars[:, None], to_covars[:, :, None]
    pooled = (my_var + their_var) / 2.0
    apart = (mine - theirs) ** 2 / (8.0 * pooled) + 0.5 * np.log(pooled / np.sqrt(my_var * their_var))
    _, order = linear_sum_assignment(apart.sum(axis=-1).mean(axis=0))
    return [int(state) for state in order]
