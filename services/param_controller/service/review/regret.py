"""Regret against the best fixed preset, from the log alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.param_controller.service.review.trials import Trial, as_log
from tidewheel.bandits.evaluation import Estimate, always, evaluate


@dataclass(frozen=True, slots=True)
class Regret:
    """What always serving the best fixed preset would have earned more, per decision; or why nobody can tell."""

    against: str | None  #: the best fixed preset by the estimate; None where the log tells of none
    per_decision: Estimate | None  #: clipped reward, doubly robust; negative where the policy did better
    unsupported: dict[str, str]  #: presets that the log tells nothing of, and why


def regret(rows: Sequence[Trial], live: Sequence[str], *, confidence: float = 0.95) -> Regret:
    """Compare each live preset, always served, with what was served in the same rows.

    The best preset is not known beforehand, so every preset's interval is as wide as it takes for all of them to hold
    at once (Bonferroni), and the greatest regret lies between the greatest low end and the greatest high end. The
    value is the greatest estimate; the best of several estimates flatters itself a little.
    """
    unsupported: dict[str, str] = {}
    gains: dict[str, Estimate] = {}
    presets = sorted({*live, *(row.decision.preset_id for row in rows)})
    for name in live:
        log = as_log([row for row in rows if name in row.propensities], presets)
        target = always(presets.index(name), log)
        found = evaluate(log, target, confidence=1.0 - (1.0 - confidence) / len(live), over_log=True)
        if found.dr is None:
            unsupported[name] = str(found.reason)
        else:
            gains[name] = found.dr
    if not gains:
        return Regret(None, None, unsupported)
    best = max(gains, key=lambda name: gains[name].value)
    low, high = (max(getattr(gain, end) for gain in gains.values()) for end in ("low", "high"))
    found_best = gains[best]
    return Regret(best, Estimate(found_best.value, low, high, found_best.n, found_best.ess), unsupported)
