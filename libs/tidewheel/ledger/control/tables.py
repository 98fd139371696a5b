"""The tables of parameter control, for both dialects; private to the ledger, as `tables.py` is."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from tidewheel.ledger.tables import Id, Json, metadata

_OPEN = text("state = 'open'")

guardrails = Table(
    "guardrails",
    metadata,
    Column("id", Integer, primary_key=True, doc="of the pair; whoever changes anything of a pair locks this row first"),
    Column("strategy", Text, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("incumbent", Text, doc="preset id served last; null before the first decision"),
    Column("day", Integer, nullable=False, server_default="0", doc="UTC day that `changes` counts, days since 1970"),
    Column("changes", Integer, nullable=False, server_default="0", doc="of the incumbent on that day"),
    Column("decisions", BigInteger, nullable=False, server_default="0", doc="number of the newest decision"),
    Column("learnt", BigInteger, nullable=False, server_default="0", doc="sequence number of the newest outcome"),
    Column("realised", Double, nullable=False, server_default="0", doc="sum of the rewards as they were reported"),
    Column("peak", Double, nullable=False, server_default="0", doc="highest `realised` since the switch was cleared"),
    Column("epoch", BigInteger, nullable=False, server_default="0", doc="grows with its presets and posteriors"),
    UniqueConstraint("strategy", "instrument"),
)

presets = Table(
    "presets",
    metadata,
    Column("id", Id, primary_key=True, doc="in the order of registration"),
    Column("pair_id", Integer, ForeignKey("guardrails.id"), nullable=False),
    Column("preset_id", Text, nullable=False),
    Column("params", Json, nullable=False),
    Column("digest", Text, nullable=False, doc="of the params: what was learnt belongs to the content"),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("retired_at", BigInteger),
    Column("retired_by", Text),
    Column("retired_reason", Text),
    UniqueConstraint("pair_id", "preset_id"),
    sqlite_autoincrement=True,
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("pair_id", Integer, ForeignKey("guardrails.id"), nullable=False),
    Column("number", BigInteger, nullable=False, doc="of the pair's decisions, from 1, without holes"),
    Column("preset_id", Text, nullable=False),
    Column("signature", Text, nullable=False, doc="what the numbers of `context` mean"),
    Column("context", Json, nullable=False, doc="[1, scaled features...] as the policy saw them"),
    Column("features_used", Json, nullable=False),
    Column("reason", Text, nullable=False),
    Column("propensity", Double, nullable=False),
    Column("propensities", Json, nullable=False, doc="preset id -> propensity, of all that could be picked, in order"),
    Column("policy", Text, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("learnt", BigInteger, nullable=False, doc="sequence number of the newest outcome that it could know"),
    Column("changed", Boolean, nullable=False, doc="whether another preset was served before"),
    Column("state", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    UniqueConstraint("pair_id", "number"),
    ForeignKeyConstraint(["pair_id", "preset_id"], ["presets.pair_id", "presets.preset_id"]),
    Index("ix_decisions_open", "pair_id", "preset_id", "number", postgresql_where=_OPEN, sqlite_where=_OPEN),
    Index("ix_decisions_due", "pair_id", "expires_at", postgresql_where=_OPEN, sqlite_where=_OPEN),
    sqlite_autoincrement=True,
)

outcomes = Table(
    "outcomes",
    metadata,
    # What makes an outcome count once.
    Column("decision_id", Id, ForeignKey("decisions.id"), primary_key=True, autoincrement=False),
    Column("pair_id", Integer, ForeignKey("guardrails.id"), nullable=False),
    Column(
        "seq", BigInteger, nullable=False, doc="of the pair's outcomes, from 1, without holes: the order of learning"
    ),
    Column("kind", Text, nullable=False),
    Column("event_id", Text, doc="the caller's own name for it"),
    Column("reward", Double, nullable=False, doc="as it was sent"),
    Column("learnt_reward", Double, nullable=False, doc="within the schema's clip"),
    Column("half_life_ms", BigInteger, doc="after which it weighs half; null for ever"),
    Column("learnt", Boolean, nullable=False),
    Column("left_out", Text, doc="why it was not learnt"),
    Column("inferred", Boolean, nullable=False, doc="the report named no decision: the newest open one was meant"),
    Column("features", Json, doc="as they were posted, for comparison only"),
    Column("actor", Text, nullable=False),
    Column("learnt_at", BigInteger, nullable=False),
    Column("dropped_at", BigInteger, doc="when a rollback took it out of the posterior"),
    Column("dropped_after", BigInteger, doc="number of the last decision that knew it, where dropped"),
    UniqueConstraint("pair_id", "seq"),
    UniqueConstraint("pair_id", "event_id"),
)

posteriors = Table(
    "posteriors",
    metadata,
    Column("pair_id", Integer, ForeignKey("guardrails.id"), nullable=False),
    Column("digest", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("count", BigInteger, nullable=False, doc="outcomes in it"),
    Column("seq", BigInteger, nullable=False, doc="of the newest outcome in it"),
    PrimaryKeyConstraint("pair_id", "digest", "signature"),
)

kill_switches = Table(
    "kill_switches",
    metadata,
    Column("scope", Text, primary_key=True, doc="fleet, or strategy/instrument; the row is the tripped switch"),
    Column("tripped_at", BigInteger, nullable=False),
    Column("tripped_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("cause", Text, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Json, nullable=False),
    sqlite_autoincrement=True,
)
