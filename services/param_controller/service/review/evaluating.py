"""What another preset, or another policy, would have earned: off-policy estimates from a pair's log."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from services.param_controller.service.review.retrace import Moment, retrace
from services.param_controller.service.review.trials import Trial, as_log, trials
from services.param_controller.service.review.views import (
    EstimateView,
    EvaluateRequest,
    EvaluationView,
    LeftOut,
    PolicyTarget,
)
from services.param_controller.service.schema_files import Schemas
from tidewheel.bandits.evaluation import Estimate, always, evaluate
from tidewheel.bandits.policies import choose
from tidewheel.bandits.posterior import Posterior
from tidewheel.contracts.errors import BadInput, NotFound
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.states import PolicyName
from tidewheel.contracts.strategies import PolicySpec, StrategySchema
from tidewheel.contracts.times import EARLIEST, LATEST, UtcMillis, parse_time
from tidewheel.features.frames import Floats
from tidewheel.ledger.control.records import Logged, Preset
from tidewheel.ledger.open import Ledger

MOST = 100_000  #: decisions that an evaluation of a preset reads
MOST_OF_POLICY = 5_000  #: decisions whose beliefs are solved again for another policy, about a millisecond each


@dataclass(frozen=True, slots=True)
class _Span:
    since: UtcMillis
    until: UtcMillis

    def holds(self, logged: Logged) -> bool:
        """Whether the decision was made within it, its end left out."""
        return self.since <= logged.decision.decided_at < self.until


def evaluation(ledger: Ledger, schemas: Schemas, request: EvaluateRequest) -> EvaluationView:
    """What the target would have earned in the decisions of the span whose outcome is known.

    Raises:
        NotFound: the strategy has no schema, nothing was registered for the pair, or the preset is unknown.
        BadInput: the key, a time or the policy cannot be.
    """
    key = PairKey(request.strategy, request.instrument)
    schema, presets = schemas.get(key.strategy), ledger.presets.of(key)
    span = _span(request)
    if request.target.preset_id is not None:
        return _of_preset(ledger, schema, key, presets, request.target.preset_id, span)
    return _of_policy(ledger, schema, key, presets, _spec(schema, request.target.policy or PolicyTarget()), span)


def _span(request: EvaluateRequest) -> _Span:
    since = EARLIEST if request.since is None else parse_time(str(request.since))
    until = LATEST if request.until is None else parse_time(str(request.until))
    if since >= until:
        raise BadInput(f"since = {request.since} is not before until = {request.until}")
    return _Span(since, until)


def _of_preset(
    ledger: Ledger, schema: StrategySchema, key: PairKey, presets: Sequence[Preset], preset_id: str, span: _Span
) -> EvaluationView:
    if preset_id not in [preset.preset_id for preset in presets]:
        raise NotFound(f"{key} has no preset {preset_id!r}; GET /preset/{key} lists them", code="unknown_preset")
    after = max(0, ledger.presets.pair(key).decisions - MOST)
    log = [each for each in ledger.decisions.log(key, after) if span.holds(each)]
    counted = trials(log, schema)
    rows = [row for row in counted if preset_id in row.propensities]  # others could not have served it
    names = _names(presets)
    target = always(names.index(preset_id), as_log(rows, names))
    left_out = _left_out(log, counted, schema, no_chance=len(counted) - len(rows))
    return _answer(key, f"always {preset_id}", rows, names, target, left_out)


def _of_policy(
    ledger: Ledger, schema: StrategySchema, key: PairKey, presets: Sequence[Preset], spec: PolicySpec, span: _Span
) -> EvaluationView:
    """The policy, asked in the place of the one that was: with what it knew, in its context, its incumbent."""
    digests = {preset.preset_id: preset.digest for preset in presets}
    names, log = _names(presets), list[Logged]()
    rows: list[Trial] = []
    target: list[Floats] = []
    first = ledger.presets.pair(key).decisions - MOST_OF_POLICY
    for moment in retrace(ledger, key):
        logged = moment.logged
        if logged.decision.number <= first or not span.holds(logged):
            continue
        log.append(logged)
        found = trials([logged], schema)
        if found and len(logged.decision.propensities) > 1:
            rows += found
            target.append(_probabilities(schema, spec, moment, digests, names))
    counted = trials(log, schema)
    left_out = _left_out(log, counted, schema, no_chance=len(counted) - len(rows))
    told = f"{spec.name}, exploration {spec.exploration:g}, epsilon {spec.epsilon:g}"
    return _answer(key, told, rows, names, np.array(target).reshape(len(rows), len(names)), left_out)


def _probabilities(
    schema: StrategySchema, spec: PolicySpec, moment: Moment, digests: dict[str, str], names: Sequence[str]
) -> Floats:
    """With which the policy would have served each of `names`."""
    decision, before = moment.logged.decision, moment.before
    live = [name for name in names if name in decision.propensities]
    x = np.array(decision.context)
    beliefs = [
        moment.learned.get((digests[name], decision.signature), Posterior.empty(len(x))).solve(
            spec.ridge, decision.decided_at, spec.half_life_ms
        )
        for name in live
    ]
    incumbent = live.index(before.preset_id) if before is not None and before.preset_id in live else None
    default = live.index(schema.default_preset) if schema.default_preset in live else 0
    unthrown = np.random.default_rng(0)  # a pick is drawn beside the probabilities, and not looked at
    pick = choose(spec, beliefs, x, unthrown, incumbent, schema.guardrails.hysteresis, default=default)
    found = np.zeros(len(names))
    found[[names.index(name) for name in live]] = pick.propensities
    return found


def _spec(schema: StrategySchema, target: PolicyTarget) -> PolicySpec:
    """The schema's policy with what the target changes.

    Raises:
        BadInput: it learns in another context than the schema's.
    """
    if target.name is PolicyName.THOMPSON and schema.contextual:
        raise BadInput(
            f"thompson learns without context, and the log of {schema.strategy} was learnt with one; name lints, "
            "epsilon_greedy or fixed",
            code="other_context",
        )
    changes = {name: value for name, value in target.model_dump().items() if value is not None}
    try:
        return PolicySpec.model_validate(schema.policy.model_dump() | changes)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        raise BadInput(f"policy.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _names(presets: Sequence[Preset]) -> list[str]:
    return [preset.preset_id for preset in presets]


def _left_out(log: Sequence[Logged], counted: Sequence[Trial], schema: StrategySchema, no_chance: int) -> LeftOut:
    waiting = sum(each.outcome is None for each in log)
    other = sum(each.outcome is not None and each.decision.signature != schema.context_signature for each in log)
    return LeftOut(
        waiting=waiting, other_context=other, not_learnt=len(log) - waiting - other - len(counted), no_chance=no_chance
    )


def _answer(
    key: PairKey, told: str, rows: Sequence[Trial], names: Sequence[str], target: Floats, left_out: LeftOut
) -> EvaluationView:
    log = as_log(rows, names)
    found, gain = evaluate(log, target), evaluate(log, target, over_log=True)
    times = [row.decision.decided_at for row in rows]
    return EvaluationView(
        strategy=key.strategy,
        instrument=key.instrument,
        target=told,
        supported=found.supported,
        reason=found.reason,
        rows=found.rows + left_out.no_chance,
        share=found.share * found.rows / (found.rows + left_out.no_chance) if found.rows else 0.0,
        left_out=left_out,
        since=min(times, default=None),
        until=max(times, default=None),
        ips=_estimate(found.ips),
        snips=_estimate(found.snips),
        dr=_estimate(found.dr),
        over_log=_estimate(gain.dr),
    )


def _estimate(found: Estimate | None) -> EstimateView | None:
    return None if found is None else EstimateView.model_validate(found)
