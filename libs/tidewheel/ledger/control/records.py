"""What leaves, and enters, the ledger of parameter control: frozen records. Times are UTC ms by the ledger's clock."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from tidewheel.contracts.errors import BadInput, PosteriorUnusable
from tidewheel.contracts.keys import ConfigId, PairKey, preset_id
from tidewheel.contracts.states import DecisionState, OutcomeKind, PolicyName, Reason
from tidewheel.contracts.times import UtcMillis
from tidewheel.ledger.records import Json

if TYPE_CHECKING:  # scipy is a third of a second, and most who open a ledger choose no parameters
    from tidewheel.bandits.posterior import Posterior

FLEET = "fleet"  #: the scope of a kill switch that covers every pair

_MAX_EVENT = 120

#: (digest of a preset's params, signature of the context) -> what was learnt; or why that cannot be read
Learned: TypeAlias = "Mapping[tuple[str, str], Posterior | PosteriorUnusable]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A named parameter set of a pair; its content never changes."""

    key: PairKey
    preset_id: str
    params: Json
    digest: str  #: of the params: what was learnt belongs to the content, whatever its name
    created_at: UtcMillis
    created_by: str
    retired_at: UtcMillis | None  #: since when it is served no more; None while it is live
    retired_by: str | None
    retired_reason: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class KillSwitch:
    """A tripped switch: it stands until a person clears it."""

    scope: str  #: "fleet", or the pair as "strategy/instrument"
    tripped_at: UtcMillis
    tripped_by: str
    reason: str
    cause: str  #: such as "hand", "drawdown" or "metric"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """One deed of a person, or of a guardrail."""

    id: int
    at: UtcMillis
    actor: str
    action: str  #: such as "preset.retire"
    subject: str  #: what it was done to
    reason: str
    detail: Json


@dataclass(frozen=True, kw_only=True, slots=True)
class PairState:
    """Where a pair stands."""

    key: PairKey
    incumbent: str | None  #: preset served last
    day: int  #: UTC day that `changes` counts, days since 1970
    changes: int
    decisions: int  #: number of the newest decision
    learnt: int  #: sequence number of the newest outcome
    realised: float  #: sum of all reported rewards, as they were sent
    peak: float  #: highest `realised` since the pair's switch was last cleared


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What a choice may look at, read under the lock of the pair."""

    key: PairKey
    number: int  #: of the decision that is being made, from 1
    now: UtcMillis
    day: int  #: UTC day, days since 1970
    changes: int  #: of the incumbent on that day so far
    incumbent: Preset | None  #: served last; a retired one is not among the `presets`
    presets: tuple[Preset, ...]  #: live ones, in the order of registration
    learnt: int  #: sequence number of the newest outcome
    frozen: KillSwitch | None  #: the fleet's switch, else the pair's
    signature: str  #: of the context that was asked for
    learned: Learned = field(repr=False)

    def posterior(self, preset: Preset, dimensions: int) -> "Posterior":
        """What outcomes of the preset's content have taught; an empty one where there were none.

        Raises:
            PosteriorUnusable: what is stored cannot be read.
        """
        from tidewheel.bandits.posterior import Posterior

        found = self.learned.get((preset.digest, self.signature))
        if isinstance(found, PosteriorUnusable):
            raise found
        return Posterior.empty(dimensions) if found is None else found


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What was chosen, and with which probability."""

    preset_id: str  #: of one of the live presets
    reason: Reason
    context: tuple[float, ...]  #: [1, scaled features...]
    features_used: Json
    propensities: Mapping[str, float]  #: preset id -> propensity, of all that could be picked
    policy: PolicyName
    policy_version: str
    settle_within_ms: int  #: how long the decision waits for its outcome

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in self.context):
            raise BadInput(f"the context {list(self.context)} holds a number that is not finite")
        if not 0.0 < self.propensity <= 1.0:
            raise BadInput(f"preset {self.preset_id} has propensity {self.propensity}; it must be in (0, 1]")

    @property
    def propensity(self) -> float:
        """Of the chosen preset; NaN where none is named."""
        return self.propensities.get(self.preset_id, math.nan)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question for a preset."""

    key: PairKey
    signature: str  #: of the context that it is asked in
    actor: str
    choose: Callable[[Standing], Choice]  #: runs inside the transaction; a TidewheelError is the question's answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """One answered question."""

    id: int
    key: PairKey
    number: int  #: of the pair's decisions, from 1
    preset_id: str
    params: Json
    digest: str  #: of the params
    signature: str  #: of the context
    context: tuple[float, ...]
    features_used: Json
    reason: Reason
    propensity: float
    propensities: Mapping[str, float]
    policy: PolicyName
    policy_version: str
    learnt: int  #: sequence number of the newest outcome that it could know
    changed: bool  #: whether another preset was served before
    state: DecisionState
    actor: str
    decided_at: UtcMillis
    expires_at: UtcMillis  #: an outcome that comes later is not learnt

    @property
    def config_id(self) -> ConfigId:
        """What an order is tagged with."""
        return ConfigId(self.id, self.preset_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What a strategy's schema says of its outcomes."""

    clip: tuple[float, float]  #: bounds of what is learnt
    default: float  #: what a decision counts as whose outcome never came
    half_life_ms: int | None  #: after which an outcome weighs half; None for ever
    max_key_share: float  #: most of the learnt outcomes that one actor may tell
    max_drawdown: float | None  #: fall of the realised sum below its peak that trips the kill switch; None: never


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What somebody says came of a decision."""

    key: PairKey
    preset_id: str
    reward: float
    actor: str
    rules: Rules
    config_id: ConfigId | None = None  #: the decision; else the event's, else the preset's newest open one
    event_id: str | None = None  #: the caller's own name for it, the same when it is sent again
    features: Json | None = None  #: for comparison; learnt is the decision's context

    def __post_init__(self) -> None:
        preset_id(self.preset_id)
        event = self.event_id
        if event is not None and (not event or len(event) > _MAX_EVENT or not event.isprintable()):
            raise BadInput(f"event_id {event[:80]!r} is empty, not printable or longer than {_MAX_EVENT} characters")
        if not math.isfinite(self.reward):
            raise BadInput(f"reward {self.reward} is not a finite number")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of a decision; at most one each."""

    decision_id: int
    seq: int  #: of the pair's outcomes, from 1: the order of learning
    kind: OutcomeKind
    event_id: str | None
    reward: float  #: as it was sent
    learnt_reward: float  #: within the clip
    half_life_ms: int | None
    learnt: bool
    left_out: str | None  #: why it was not learnt, such as "key_share"
    inferred: bool  #: the report named no decision
    features: Json | None
    actor: str
    learnt_at: UtcMillis
    dropped_at: UtcMillis | None  #: when a rollback took it out of the posterior
    dropped_after: int | None  #: number of the last decision that knew it, where dropped


@dataclass(frozen=True, kw_only=True, slots=True)
class Learnt:
    """The answer to a report."""

    decision: Decision
    outcome: Outcome
    repeated: bool  #: it was known before; nothing changed
    tripped: KillSwitch | None  #: the switch that this very outcome tripped


@dataclass(frozen=True, kw_only=True, slots=True)
class Logged:
    """A decision and what came of it so far."""

    decision: Decision
    outcome: Outcome | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RolledBack:
    """What a rollback of a pair's posteriors did."""

    dropped: int  #: outcomes that are learnt no more
    kept: int  #: outcomes that still are
