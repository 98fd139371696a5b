"""A pair's report: what was served, why, and what came of it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import sqrt
from statistics import fmean, stdev

import numpy as np
from scipy.special import stdtrit

from services.param_controller.schemas import SwitchView
from services.param_controller.service.review.regret import regret
from services.param_controller.service.review.trials import trials
from services.param_controller.service.review.views import (
    Believed,
    ChangesReport,
    Counted,
    Course,
    DrawdownReport,
    Interval,
    KeyReport,
    PresetReport,
    RegretReport,
    Report,
    Window,
)
from services.param_controller.service.schema_files import Schemas
from tidewheel.bandits.evaluation import Estimate
from tidewheel.contracts.errors import PosteriorUnusable
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.states import OutcomeKind, Reason
from tidewheel.contracts.strategies import StrategySchema
from tidewheel.contracts.times import UtcMillis
from tidewheel.features.frames import Floats
from tidewheel.ledger.control.records import FLEET, Learned, Logged, PairState, Preset
from tidewheel.ledger.open import Ledger

NEWEST = 20_000  #: decisions that a report is about, unless it is asked for others
_CONFIDENCE = 0.95
_POINTS = 240


def report(ledger: Ledger, schemas: Schemas, key: PairKey, newest: int = NEWEST) -> Report:
    """The report on the pair's `newest` decisions.

    Raises:
        NotFound: the strategy has no schema, or nothing was ever registered for the pair.
    """
    schema, presets = schemas.get(key.strategy), ledger.presets.of(key)
    state, now = ledger.presets.pair(key), ledger.now()
    log = list(ledger.decisions.log(key, after=max(0, state.decisions - newest)))
    context = _average_context(log, schema)
    learned = ledger.posteriors.of(key)
    return Report(
        strategy=key.strategy,
        instrument=key.instrument,
        at=now,
        policy=schema.policy.name,
        policy_version=schema.policy_version,
        reward_unit=schema.reward.unit,
        window=_window(log, state),
        average_context=dict(zip(_columns(schema), context[1:].tolist(), strict=True)),
        presets=[_preset(each, log, schema, learned, context, now) for each in presets],
        reasons=dict(Counter(each.decision.reason.value for each in log).most_common()),
        changes=_changes(log, state, schema),
        keys=_keys(log),
        regret=_regret(log, presets, schema),
        drawdown=DrawdownReport(
            realised=state.realised,
            peak=state.peak,
            fall=state.peak - state.realised,
            limit=schema.guardrails.max_drawdown,
        ),
        kill_switches=[
            SwitchView.model_validate(each) for each in ledger.switches.tripped() if each.scope in (FLEET, str(key))
        ],
        course=_course(log),
    )


def mean_interval(values: Sequence[float], confidence: float = _CONFIDENCE) -> Interval | None:
    """Mean, and Student's interval for it, which takes the values for independent; None without any."""
    if not values:
        return None
    mean, n = fmean(values), len(values)
    if n < 2:
        return Interval(value=mean, low=None, high=None, n=n)
    reach = float(stdtrit(n - 1, 0.5 + confidence / 2.0)) * stdev(values) / sqrt(n)
    return Interval(value=mean, low=mean - reach, high=mean + reach, n=n)


def _columns(schema: StrategySchema) -> list[str]:
    return [feature.name for feature in schema.context] if schema.contextual else []


def _average_context(log: Sequence[Logged], schema: StrategySchema) -> Floats:
    """[1 + features] over the decisions whose context means the same as now; every feature at its centre without."""
    same = [each.decision.context for each in log if each.decision.signature == schema.context_signature]
    average: Floats = np.array(same).mean(axis=0) if same else np.eye(1, 1 + len(_columns(schema)))[0]
    return average


def _window(log: Sequence[Logged], state: PairState) -> Window:
    since, until = (log[0].decision.decided_at, log[-1].decision.decided_at) if log else (None, None)
    return Window(decisions=len(log), of=state.decisions, since=since, until=until)


def _preset(
    preset: Preset, log: Sequence[Logged], schema: StrategySchema, learned: Learned, context: Floats, now: UtcMillis
) -> PresetReport:
    mine = [each for each in log if each.decision.preset_id == preset.preset_id]
    outcomes = [each.outcome for each in mine if each.outcome is not None]
    told = [each for each in outcomes if each.kind is OutcomeKind.REPORTED]

    def counted(count: int, of: int = len(mine)) -> Counted:
        return Counted(count=count, share=count / of if of else None)

    posterior, unusable = _believed(preset, schema, learned, context, now)
    return PresetReport(
        preset_id=preset.preset_id,
        live=preset.retired_at is None and not schema.forbids(preset.params),
        retired_reason=preset.retired_reason,
        params=dict(preset.params),
        pulls=counted(len(mine), of=len(log)),
        reported=counted(len(told)),
        inferred=counted(sum(each.inferred for each in told)),
        defaulted=counted(len(outcomes) - len(told)),
        waiting=counted(len(mine) - len(outcomes)),
        reward=mean_interval([each.reward for each in told]),
        posterior=posterior,
        unusable=unusable,
    )


def _believed(
    preset: Preset, schema: StrategySchema, learned: Learned, context: Floats, now: UtcMillis
) -> tuple[Believed | None, str | None]:
    from tidewheel.bandits.posterior import Posterior

    known = learned.get((preset.digest, schema.context_signature), Posterior.empty(len(context)))
    try:
        if isinstance(known, PosteriorUnusable):
            raise known
        belief = known.solve(schema.policy.ridge, now, schema.policy.half_life_ms)
    except PosteriorUnusable as unusable:
        return None, unusable.detail
    width = belief.width(context)
    coefficients = dict(zip(["constant", *_columns(schema)], belief.theta.tolist(), strict=True))
    return Believed(
        outcomes=known.count,
        mean=belief.mean(context),
        width=width,
        deviation=schema.policy.exploration * width,
        coefficients=coefficients,
    ), None


def _changes(log: Sequence[Logged], state: PairState, schema: StrategySchema) -> ChangesReport:
    reasons = Counter(each.decision.reason for each in log)
    return ChangesReport(
        made=sum(each.decision.changed for each in log),
        today=state.changes,
        a_day=schema.guardrails.changes_per_day,
        held_by_hysteresis=reasons[Reason.HELD_BY_HYSTERESIS],
        held_by_daily_limit=reasons[Reason.DAILY_LIMIT],
        held_by_kill_switch=reasons[Reason.KILL_SWITCH],
    )


def _keys(log: Sequence[Logged]) -> list[KeyReport]:
    """By what they told, most first."""
    learnt, dropped = Counter[str](), Counter[str]()
    left_out: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in log:
        outcome = each.outcome
        if outcome is None or outcome.kind is not OutcomeKind.REPORTED:
            continue
        learnt[outcome.actor] += outcome.learnt and outcome.dropped_at is None
        dropped[outcome.actor] += outcome.dropped_at is not None
        if outcome.left_out is not None:
            left_out[outcome.actor][outcome.left_out] += 1
    return [
        KeyReport(actor=actor, learnt=count, left_out=dict(left_out[actor]), dropped=dropped[actor])
        for actor, count in learnt.most_common()
    ]


def _regret(log: Sequence[Logged], presets: Sequence[Preset], schema: StrategySchema) -> RegretReport:
    found = regret(
        trials(log, schema),
        [each.preset_id for each in presets if each.retired_at is None and not schema.forbids(each.params)],
        confidence=_CONFIDENCE,
    )
    silent = ", ".join(found.unsupported)
    if found.per_decision is None:
        reason: str | None = f"it cannot be known: the log supports no estimate of {silent or 'any live preset'}"
    else:
        reason = f"of {silent} the log says nothing; it may be better than all others" if silent else None
    return RegretReport(
        known=found.per_decision is not None,
        reason=reason,
        against=found.against,
        per_decision=_interval(found.per_decision, 1.0),
        total=None if found.per_decision is None else _interval(found.per_decision, found.per_decision.n),
        unsupported=found.unsupported,
    )


def _interval(found: Estimate | None, times: float) -> Interval | None:
    if found is None:
        return None
    return Interval(value=found.value * times, low=found.low * times, high=found.high * times, n=found.n)


def _course(log: Sequence[Logged]) -> Course:
    told = sorted(
        (each.outcome.seq, each.decision.preset_id, each.outcome.reward)
        for each in log
        if each.outcome is not None and each.outcome.kind is OutcomeKind.REPORTED
    )
    if not told:
        return Course(first=0, last=0, total=[], presets={})
    points = np.unique(np.linspace(0, len(told) - 1, _POINTS).round().astype(int))
    names = dict.fromkeys(name for _, name, _ in told)

    def thinned(rewards: Sequence[float]) -> list[float]:
        return [float(value) for value in np.array(list(accumulate(rewards)))[points]]

    by_preset: Mapping[str, list[float]] = {
        name: thinned([reward if preset == name else 0.0 for _, preset, reward in told]) for name in names
    }
    return Course(
        first=told[0][0], last=told[-1][0], total=thinned([reward for *_, reward in told]), presets=dict(by_preset)
    )
