"""Decisions whose outcome counts, as the arrays that off-policy evaluation reads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tidewheel.bandits.evaluation import Log
from tidewheel.contracts.strategies import StrategySchema
from tidewheel.ledger.control.records import Decision, Logged, Outcome


@dataclass(frozen=True, slots=True)
class Trial:
    """A decision, and the outcome that was learnt of it."""

    decision: Decision
    outcome: Outcome

    @property
    def propensities(self) -> Mapping[str, float]:
        """Of every preset that could have been served then."""
        return self.decision.propensities


def trials(log: Iterable[Logged], schema: StrategySchema) -> list[Trial]:
    """The rows that speak of the schema in force: same meaning of the context, and an outcome that still teaches.

    What one key told beyond its share, and what a rollback took out, was not believed, and is not believed here.
    """
    return [
        Trial(each.decision, each.outcome)
        for each in log
        if each.outcome is not None
        and each.outcome.learnt
        and each.outcome.dropped_at is None
        and each.decision.signature == schema.context_signature
    ]


def as_log(rows: Sequence[Trial], presets: Sequence[str]) -> Log:
    """The rows in the numbers of `presets`, which names every preset that they served."""
    index = {name: place for place, name in enumerate(presets)}
    dimensions = len(rows[0].decision.context) if rows else 1
    return Log(
        x=np.array([row.decision.context for row in rows]).reshape(len(rows), dimensions),
        preset=np.array([index[row.decision.preset_id] for row in rows], dtype=np.int64),
        reward=np.array([row.outcome.learnt_reward for row in rows]),
        propensity=np.array([row.decision.propensity for row in rows]),
        presets=len(presets),
    )
