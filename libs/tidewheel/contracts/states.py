"""Words with a fixed meaning: every state that the ledger stores or an answer names."""

from collections.abc import Iterable
from enum import StrEnum


class Purpose(StrEnum):
    """What a ledger is for; a role of the other purpose refuses to start."""

    PRODUCTION = "production"
    RESEARCH = "research"


class Origin(StrEnum):
    """Where a stream's bars come from: as an exchange says of itself, files that a user has, or made; set once."""

    EXCHANGE = "exchange"
    REPLAY = "replay"
    IMPORT = "import"
    SYNTHETIC = "synthetic"

    @classmethod
    def least_real(cls, among: Iterable["Origin"]) -> "Origin":
        """The least real one: one synthetic stream makes a synthetic model."""
        return min(among, key=(cls.SYNTHETIC, cls.REPLAY, cls.IMPORT, cls.EXCHANGE).index)


class ClaimState(StrEnum):
    """What a consumer has done with a file."""

    DOWNLOADED = "downloaded"
    PROCESSING = "processing"
    PROCESSED = "processed"
    POISON = "poison"


class RunState(StrEnum):
    """Where a training run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PROMOTED = "promoted"
    REFUSED = "refused"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the run will never change again."""
        return self not in (RunState.QUEUED, RunState.RUNNING)


class GapState(StrEnum):
    """What is known of missing bars."""

    OPEN = "open"
    CONFIRMED_EMPTY = "confirmed_empty"
    HEALED = "healed"


class BackfillState(StrEnum):
    """Where a backfill stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class PromotionAction(StrEnum):
    """Why `current` moved."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    ADOPT = "adopt"


class PolicyName(StrEnum):
    """How a preset is picked."""

    LINTS = "lints"
    THOMPSON = "thompson"
    EPSILON_GREEDY = "epsilon_greedy"
    FIXED = "fixed"


class Reason(StrEnum):
    """Why a decision names its preset."""

    EXPLORED = "explored"
    EXPLOITED = "exploited"
    FIXED = "fixed"
    HELD_BY_HYSTERESIS = "held_by_hysteresis"
    DAILY_LIMIT = "daily_limit"
    POSITION_OPEN = "position_open"
    KILL_SWITCH = "kill_switch"
    POSTERIOR_UNUSABLE = "posterior_unusable"


class DecisionState(StrEnum):
    """Whether it is known what came of a decision."""

    OPEN = "open"
    SETTLED = "settled"
    EXPIRED = "expired"


class OutcomeKind(StrEnum):
    """Whether somebody told an outcome, or its time ran out."""

    REPORTED = "reported"
    DEFAULTED = "defaulted"


class ModelFormat(StrEnum):
    """How a registered model lies on disk."""

    SKOPS = "skops"
    XGBOOST = "xgboost"
    LIGHTGBM = "lightgbm"
    ONNX = "onnx"
    BUNDLE = "bundle"
    JOBLIB = "joblib"


class PredictionState(StrEnum):
    """Whether it is known what came of a prediction; `missing`: its bar never came, though later ones did."""

    OPEN = "open"
    KNOWN = "known"
    MISSING = "missing"


class IntervalSource(StrEnum):
    """Which residuals a prediction's interval was made of: of data held back in training, or of its own outcomes."""

    CALIBRATION = "calibration"
    OUTCOMES = "outcomes"
    NONE = "none"


class Scope(StrEnum):
    """What a key may do; `admin` may do everything."""

    READ = "read"
    INGEST = "ingest"
    TRAIN = "train"
    PROMOTE = "promote"
    DECIDE = "decide"
    LEARN = "learn"
    PRESET = "preset"
    REGISTRY = "registry"
    ADMIN = "admin"
