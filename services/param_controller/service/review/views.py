"""What is asked and answered when somebody looks back: reports, and evaluations of what was not served."""

from typing import Any

from pydantic import Field, model_validator

from services.param_controller.schemas import SwitchView
from tidewheel.contracts.states import PolicyName
from tidewheel.contracts.strategies import PresetId
from tidewheel.kit.schemas import Answer, RequestBody


class Counted(Answer):
    """How many, and of all that were asked about."""

    count: int
    share: float | None = Field(description="Of the preset's decisions; null where there are none.")


class Interval(Answer):
    """An estimate, and where the truth lies with a confidence of 95 %."""

    value: float
    low: float | None = Field(description="Null where too few were counted to tell.")
    high: float | None
    n: int = Field(description="How many were counted.")


class Believed(Answer):
    """What was learnt of a preset, at the average context of the decisions that are reported."""

    outcomes: int = Field(description="Learnt so far, faded ones too.")
    mean: float = Field(description="Expected reward.")
    width: float = Field(description="sqrt(x' A⁻¹ x): standard deviation of it for a reward noise of 1.")
    deviation: float = Field(description="Standard deviation that the policy draws with: exploration times width.")
    coefficients: dict[str, float] = Field(
        description="Reward per scaled unit of each feature; `constant` is the rest."
    )


class PresetReport(Answer):
    """A preset, how often it was served, and what came of it."""

    preset_id: str
    live: bool
    retired_reason: str | None
    params: dict[str, Any]
    pulls: Counted = Field(description="Decisions for it, and their share of all.")
    reported: Counted = Field(description="Decisions whose outcome somebody told.")
    inferred: Counted = Field(description="Of these, told without config_id or a known event_id.")
    defaulted: Counted = Field(description="Decisions that count as the schema's default.")
    waiting: Counted = Field(description="Decisions without an outcome as yet.")
    reward: Interval | None = Field(description="Mean of the reported rewards, as they were sent; null without any.")
    posterior: Believed | None
    unusable: str | None = Field(description="Why there is no posterior.")


class ChangesReport(Answer):
    """How often the preset changed, and how often a guardrail kept it."""

    made: int
    today: int = Field(description="On the UTC day of the newest decision.")
    a_day: int = Field(description="Allowed.")
    held_by_hysteresis: int = Field(description="Another preset was drawn, and did not beat the one in use by enough.")
    held_by_daily_limit: int = Field(description="Decisions after the day's changes were used up; nothing was drawn.")
    held_by_kill_switch: int = Field(description="Decisions while a switch stood; nothing was drawn.")


class KeyReport(Answer):
    """What one API key told."""

    actor: str
    learnt: int
    left_out: dict[str, int] = Field(description="Reason -> outcomes that were stored and not learnt.")
    dropped: int = Field(description="Learnt, and taken out again by a rollback of the posterior.")


class RegretReport(Answer):
    """What always serving the best fixed preset would have earned more, estimated from the log alone."""

    known: bool
    reason: str | None = Field(description="Why it is not known, or only of some presets.")
    against: str | None = Field(description="The best fixed preset by the estimate.")
    per_decision: Interval | None = Field(description="Clipped reward; negative where the policy did better.")
    total: Interval | None = Field(description="The same, times the decisions that it was estimated from.")
    unsupported: dict[str, str] = Field(description="Presets of which the log says nothing, and why.")


class DrawdownReport(Answer):
    """How far the realised reward has fallen."""

    realised: float = Field(description="Sum of all reported rewards, as they were sent.")
    peak: float = Field(description="Highest so far, since the kill switch was last cleared.")
    fall: float
    limit: float | None = Field(description="Fall that trips the kill switch; null: never.")


class Course(Answer):
    """Cumulated reward over the reported outcomes, in the order of learning, thinned to at most 240 points."""

    first: int = Field(description="Sequence number of the first outcome; 0 where there is none.")
    last: int
    total: list[float]
    presets: dict[str, list[float]]


class Window(Answer):
    """Which decisions a report is about."""

    decisions: int
    of: int = Field(description="All decisions of the pair.")
    since: int | None = Field(description="When the first of them was made, UTC ms.")
    until: int | None


class Report(Answer):
    """One strategy on one instrument: what was served, why, and what came of it."""

    strategy: str
    instrument: str
    at: int = Field(description="UTC ms.")
    policy: str
    policy_version: str
    reward_unit: str
    window: Window
    average_context: dict[str, float] = Field(description="Scaled features, averaged over the decisions.")
    presets: list[PresetReport]
    reasons: dict[str, int] = Field(description="Decisions by their reason.")
    changes: ChangesReport
    keys: list[KeyReport]
    regret: RegretReport
    drawdown: DrawdownReport
    kill_switches: list[SwitchView] = Field(description="Those that freeze this pair.")
    course: Course


class PolicyTarget(RequestBody):
    """The schema's policy, with other settings; those that are left out stay."""

    name: PolicyName | None = Field(None, description="lints, epsilon_greedy (epsilon 1 is uniform) or fixed.")
    exploration: float | None = Field(None, ge=0)
    epsilon: float | None = Field(None, ge=0, le=1)


class Target(RequestBody):
    """What is evaluated: exactly one of the two."""

    preset_id: PresetId | None = Field(None, description="Always this preset.", examples=["balanced"])
    policy: PolicyTarget | None = None

    @model_validator(mode="after")
    def _one(self) -> "Target":
        if (self.preset_id is None) == (self.policy is None):
            raise ValueError("send exactly one of preset_id and policy")
        return self


class EvaluateRequest(RequestBody):
    """`POST /evaluate`."""

    strategy: str = Field(max_length=64, examples=["momentum_breakout"])
    instrument: str = Field(max_length=120, examples=["BTC/USDT"])
    target: Target
    since: int | str | None = Field(None, description="Decisions made from then on: epoch milliseconds or ISO-8601.")
    until: int | str | None = Field(None, description="Decisions made before.")


class EstimateView(Answer):
    """Mean clipped reward per decision, and its interval at 95 %."""

    value: float
    low: float
    high: float
    n: int = Field(description="Decisions that it rests on.")
    ess: float = Field(description="Effective decisions: how many unweighted ones would tell as much.")


class LeftOut(Answer):
    """Decisions that an evaluation could not use."""

    waiting: int = Field(description="Without an outcome as yet.")
    other_context: int = Field(description="Made when the numbers of a context meant something else.")
    not_learnt: int = Field(description="Their outcome was left out of the posterior, or rolled back.")
    no_chance: int = Field(description="The target's preset was not there yet; or, of a policy, a guardrail decided.")


class EvaluationView(Answer):
    """What a log says of a target."""

    strategy: str
    instrument: str
    target: str = Field(examples=["always balanced"])
    supported: bool
    reason: str | None = Field(description="Why there is no number.")
    rows: int = Field(description="Decisions whose outcome is known and believed.")
    share: float = Field(description="Of them, those in which the target had a chance; the estimates speak of these.")
    left_out: LeftOut
    since: int | None = Field(description="First decision used, UTC ms.")
    until: int | None = Field(description="Last decision used, UTC ms.")
    ips: EstimateView | None = Field(description="Inverse propensity scores.")
    snips: EstimateView | None = Field(description="The same, self-normalised.")
    dr: EstimateView | None = Field(description="Doubly robust: a reward model, corrected by weighted residuals.")
    over_log: EstimateView | None = Field(description="Doubly robust, less what was earned in the same decisions.")
