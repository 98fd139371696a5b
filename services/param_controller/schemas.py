"""What the param-controller is asked and what it answers."""

import math
import re
from dataclasses import asdict, dataclass
from typing import Annotated, Any
from urllib.parse import parse_qsl

from pydantic import ConfigDict, Field, JsonValue

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.keys import ConfigId, PairKey
from tidewheel.contracts.states import DecisionState, OutcomeKind, PolicyName, Reason
from tidewheel.contracts.strategies import StrategySchema
from tidewheel.contracts.times import UtcMillis
from tidewheel.kit.schemas import Answer, RequestBody
from tidewheel.ledger.control.records import Decision, KillSwitch, Learnt, Outcome, Preset

_MOST_FIELDS = 64
_FEATURE = re.compile(r"features\[([^\[\]]*)\]")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_ASKS = "features[NAME]=NUMBER, position=new, position=open and config_id=ID"

Number = Annotated[float, Field(strict=True)]  #: neither "0.1" nor true
#: Not blank, and without NUL, which Postgres cannot hold.
_SAID = r"^[^\x00]*[^\s\x00][^\x00]*$"
Why = Annotated[str, Field(pattern=_SAID, max_length=400, description="For whoever reads it later.")]
PresetName = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$", examples=["fast"])]


@dataclass(frozen=True, slots=True)
class ParamQuery:
    """What `GET /param` is asked beside its path."""

    features: dict[str, float]
    position_open: bool
    config_id: ConfigId | None  #: of the open position

    @classmethod
    def of(cls, query: bytes) -> "ParamQuery":
        """Read a raw query string, whose brackets may be percent-encoded.

        Raises:
            BadInput: a name is unknown or comes twice, a value is no number: names it.
        """
        try:
            fields = parse_qsl(
                query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
            )
        except ValueError:
            raise BadInput(f"the query is not UTF-8, or has more than {_MOST_FIELDS} fields; send {_ASKS}") from None
        features: dict[str, float] = {}
        others: dict[str, str] = {}
        for name, value in fields:
            feature = _FEATURE.fullmatch(name)
            into = others if feature is None else features
            called = name if feature is None else feature[1]
            if called in into:
                raise BadInput(f"{name[:80]!r} stands twice in the query; send it once")
            if feature is not None:
                features[called] = _number(name, value)
            elif name in ("position", "config_id"):
                others[name] = value
            else:
                raise BadInput(f"{name[:80]!r} is not asked for here; send {_ASKS}")
        position, config_id = others.get("position", "new"), others.get("config_id")
        if position not in ("new", "open"):
            raise BadInput(f"position = {position[:80]!r} is neither new nor open")
        if config_id is not None and position == "new":
            raise BadInput("config_id names the decision of an open position: send position=open with it")
        return cls(features, position == "open", None if config_id is None else ConfigId.parse(config_id))


def _number(name: str, value: str) -> float:
    number = float(value) if _NUMBER.fullmatch(value) else math.nan
    if not math.isfinite(number):
        raise BadInput(f"{name[:80]} = {value[:80]!r} is not a finite number", code="bad_features")
    return number


class SchemaView(Answer):
    """A strategy's schema as it is in force."""

    strategy: str = Field(examples=["momentum_breakout"])
    policy_version: str = Field(
        description="Changes with whatever changes a pick: policy, context, reward, guardrails.",
        examples=["lints-1a2b3c4d"],
    )
    context_signature: str = Field(description="Of what the numbers of a context mean; one posterior for each.")
    definition: StrategySchema = Field(description="The file, defaults filled in.")

    @classmethod
    def of(cls, schema: StrategySchema) -> "SchemaView":
        """The view of a schema."""
        return cls(
            strategy=schema.strategy,
            policy_version=schema.policy_version,
            context_signature=schema.context_signature,
            definition=schema,
        )


class SchemaList(Answer):
    """Every strategy that has a schema."""

    schemas: list[SchemaView]


class RegisterPreset(RequestBody):
    """A named parameter set."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "preset_id": "fast",
                    "params": {
                        "lookback_bars": 20, "entry_buffer_atr": 0.1, "stop_atr": 1.2, "trail_atr": 1.8,
                        "max_hold_bars": 45, "entry_order": "market",
                    },
                },
                {"preset_id": "balanced"},
            ]
        }
    )  # fmt: skip

    preset_id: PresetName
    params: dict[str, JsonValue] | None = Field(
        None, description="Every parameter of the schema; left out, those of its safe preset of that name."
    )


class RetirePreset(RequestBody):
    """A preset to serve no more."""

    preset_id: PresetName
    reason: Why


class PresetView(Answer):
    """A preset of a pair."""

    preset_id: str
    params: dict[str, Any]
    digest: str = Field(description="Of the params: what was learnt belongs to the content.")
    created_at: UtcMillis
    created_by: str
    retired_at: UtcMillis | None = Field(description="Since when it is served no more; null while it is live.")
    retired_by: str | None
    retired_reason: str | None
    forbidden: str | None = Field(description="Why the schema in force has it not served; null while it allows it.")

    @classmethod
    def of(cls, preset: Preset, forbidden: str | None) -> "PresetView":
        """The view of a preset, and of what the schema says of it by now."""
        return cls(**asdict(preset) | {"forbidden": forbidden})


class PresetList(Answer):
    """A pair's presets, in the order of registration."""

    strategy: str
    instrument: str
    presets: list[PresetView]


class ParamAnswer(Answer):
    """Which parameters to use; tag the order with `config_id`."""

    config_id: str = Field(description="Unique for each decision; report the outcome with it.", examples=["17:fast"])
    strategy: str
    instrument: str
    preset_id: str
    params: dict[str, Any]
    reason: Reason = Field(description="Why this preset.")
    policy: PolicyName
    policy_version: str
    propensity: float = Field(description="Probability with which the policy picks this preset here.")
    features_used: dict[str, Any] = Field(description="What the decision looked at, and who told it.")
    changed: bool = Field(description="Whether another preset was served before.")
    decided_at: UtcMillis
    expires_at: UtcMillis = Field(description="An outcome that comes later is not learnt.")

    @classmethod
    def of(cls, decision: Decision, reason: Reason | None = None) -> "ParamAnswer":
        """The view of a decision; `reason` where this answer has another one."""
        return cls(
            config_id=str(decision.config_id),
            strategy=decision.key.strategy,
            instrument=decision.key.instrument,
            preset_id=decision.preset_id,
            params=dict(decision.params),
            reason=reason or decision.reason,
            policy=decision.policy,
            policy_version=decision.policy_version,
            propensity=decision.propensity,
            features_used=dict(decision.features_used),
            changed=decision.changed and reason is None,
            decided_at=decision.decided_at,
            expires_at=decision.expires_at,
        )


class OutcomeReport(RequestBody):
    """What came of a decision."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reward": 1.4, "config_id": "17:fast"}]})

    reward: Number = Field(description="In the schema's unit.")
    config_id: str | None = Field(
        None, max_length=120, description="What GET /param answered; else the preset's newest open decision is meant."
    )
    features: dict[Annotated[str, Field(max_length=64)], Number] | None = Field(
        None, max_length=64, description="Kept and compared; learnt is the decision's own context."
    )
    event_id: str | None = Field(
        None, max_length=120, description="Your name for the settlement; send the same one when you repeat it."
    )


class OutcomeView(Answer):
    """An outcome as the ledger has it."""

    kind: OutcomeKind
    reward: float
    learnt_reward: float = Field(description="Within the schema's clip.")
    learnt: bool
    left_out: str | None = Field(description="Why it was not learnt, such as key_share.")
    inferred: bool = Field(description="The report named no decision.")
    event_id: str | None
    actor: str
    learnt_at: UtcMillis
    dropped_at: UtcMillis | None = Field(description="When a rollback unlearnt it.")


class SwitchView(Answer):
    """A tripped kill switch: it stands until an admin clears it."""

    scope: str = Field(description="`fleet`, or `strategy/instrument`.")
    tripped_at: UtcMillis
    tripped_by: str
    reason: str
    cause: str = Field(description="hand, drawdown or metric.")


class LearntAnswer(OutcomeView):
    """What became of a report."""

    config_id: str
    preset_id: str
    repeated: bool = Field(description="It was known before; nothing changed.")
    features_differ: list[str] = Field(description="Posted features that are not what the decision looked at.")
    kill_switch: SwitchView | None = Field(description="The switch that this very outcome tripped.")

    @classmethod
    def of_report(cls, learnt: Learnt, posted: dict[str, float] | None) -> "LearntAnswer":
        """The view of what was learnt of a report with those features."""
        used = {name: told.get("value") for name, told in learnt.decision.features_used.items()}
        tripped = learnt.tripped
        return cls(
            **OutcomeView.model_validate(learnt.outcome).model_dump(),
            config_id=str(learnt.decision.config_id),
            preset_id=learnt.decision.preset_id,
            repeated=learnt.repeated,
            features_differ=sorted(name for name, value in (posted or {}).items() if used.get(name) != value),
            kill_switch=None if tripped is None else SwitchView.model_validate(tripped),
        )


class LoggedView(ParamAnswer):
    """A decision and what came of it so far."""

    number: int = Field(description="Of the pair's decisions, from 1.")
    state: DecisionState
    propensities: dict[str, float] = Field(description="Of every preset that could be picked.")
    actor: str
    outcome: OutcomeView | None

    @classmethod
    def of_row(cls, decision: Decision, outcome: Outcome | None) -> "LoggedView":
        """The view of a row of the log."""
        return cls(
            **ParamAnswer.of(decision).model_dump(),
            number=decision.number,
            state=decision.state,
            propensities=dict(decision.propensities),
            actor=decision.actor,
            outcome=None if outcome is None else OutcomeView.model_validate(outcome),
        )


class DecisionList(Answer):
    """A pair's decisions, newest first."""

    decisions: list[LoggedView]


class SwitchScope(RequestBody):
    """A pair, or the whole fleet where neither is named."""

    strategy: str | None = Field(None, max_length=64)
    instrument: str | None = Field(None, max_length=120)
    reason: Why

    def pair(self) -> PairKey | None:
        """The pair; None for the whole fleet.

        Raises:
            BadInput: one of the two is missing, or cannot be meant.
        """
        if self.strategy is None and self.instrument is None:
            return None
        if self.strategy is None or self.instrument is None:
            raise BadInput("a pair is a strategy and an instrument: send both, or neither for the whole fleet")
        return PairKey(self.strategy, self.instrument)


class MetricReport(RequestBody):
    """A validation metric that somebody measured."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$", examples=["champion_score"])
    value: Number


class MetricAnswer(Answer):
    """Whether the value broke a limit of TIDEWHEEL_KILL_METRICS."""

    limits: list[str] = Field(description="That watch this metric.")
    kill_switch: SwitchView | None = Field(description="The fleet's, where it did.")

    @classmethod
    def of(cls, limits: list[str], switch: KillSwitch | None) -> "MetricAnswer":
        """The view of what a metric did."""
        return cls(limits=limits, kill_switch=None if switch is None else SwitchView.model_validate(switch))


class PairView(Answer):
    """Where a pair stands."""

    strategy: str
    instrument: str
    frozen: bool = Field(description="By its own switch or the fleet's.")
    incumbent: str | None = Field(description="Preset served last.")
    changes_today: int
    changes_per_day: int | None = Field(description="Most that the schema allows; null where the schema is gone.")
    decisions: int
    learnt: int
    realised: float = Field(description="Sum of all reported rewards.")
    drawdown: float = Field(description="How far that is below its peak since the switch was last cleared.")
    max_drawdown: float | None


class AuditView(Answer):
    """One deed of a person or a guardrail."""

    at: UtcMillis
    actor: str
    action: str
    subject: str
    reason: str
    detail: dict[str, Any]


class RailsAnswer(Answer):
    """What is frozen, how near the pairs are to their limits, and who did what of late."""

    kill_switches: list[SwitchView]
    kill_metrics: list[str] = Field(description="TIDEWHEEL_KILL_METRICS.")
    pairs: list[PairView]
    audit: list[AuditView] = Field(description="Newest first.")


class RollBack(RequestBody):
    """An earlier time to go back to."""

    as_of: str = Field(max_length=40, description="Epoch ms or ISO-8601: what was learnt later is unlearnt.")
    reason: Why


class RolledBackAnswer(Answer):
    """What a rollback did."""

    dropped: int = Field(description="Outcomes that teach no more; they stay in the log, marked.")
    kept: int
