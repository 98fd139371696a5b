"""Sufficient statistics of a Gaussian HMM: all that an M-step needs to know of the bars behind it."""

from dataclasses import dataclass

import numpy as np

from tidewheel.features.frames import Floats


@dataclass(frozen=True, eq=False, slots=True)
class Statistics:
    """Expected counts under the smoothed posteriors; adding two adds their bars."""

    transitions: Floats  #: [K, K], expected moves from state i to j, the pseudo-transitions of the prior included
    occupancy: Floats  #: [K], expected bars in each state
    first: Floats  #: [K, D], sum over bars of p(state) x feature, scaled units
    second: Floats  #: [K, D], sum over bars of p(state) x feature²

    @classmethod
    def prior(cls, states: int, dimensions: int) -> "Statistics":
        """No bars, and one pseudo-transition between every pair of states.

        The pseudo-transitions are the Dirichlet(2) prior of each row: no transition ever becomes impossible.
        """
        return cls(
            np.ones((states, states)),
            np.zeros(states),
            np.zeros((states, dimensions)),
            np.zeros((states, dimensions)),
        )

    def log_density(self, transmat: Floats, means: Floats, covars: Floats) -> float:
        """Expected complete-data log density of these statistics' bars (and pseudo-transitions), nats.

        `transmat` [K, K], `means` [K, D], `covars` [K, D] (variances).
        """
        spread = self.second - 2.0 * means * self.first + means**2 * self.occupancy[:, None]
        emissions = self.occupancy[:, None] * np.log(2.0 * np.pi * covars) + spread / covars
        return float(np.sum(self.transitions * np.log(transmat)) - 0.5 * np.sum(emissions))

    def permuted(self, order: list[int]) -> "Statistics":
        """State i becomes what was state `order[i]`."""
        return Statistics(
            self.transitions[np.ix_(order, order)], self.occupancy[order], self.first[order], self.second[order]
        )
