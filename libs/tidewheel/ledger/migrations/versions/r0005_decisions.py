"""Parameter control: presets, decisions, outcomes, posteriors, kill switches, and who changed what."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_JSON = sa.JSON(none_as_null=True)
_OPEN = sa.text("state = 'open'")


def upgrade() -> None:
    """Add the tables."""
    _pairs()
    _decisions()
    _learning()
    _safety()


def _pairs() -> None:
    op.create_table(
        "guardrails",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("incumbent", sa.Text()),
        sa.Column("day", sa.Integer(), server_default="0", nullable=False),
        sa.Column("changes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("decisions", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("learnt", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("realised", sa.Double(), server_default="0", nullable=False),
        sa.Column("peak", sa.Double(), server_default="0", nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_guardrails"),
        sa.UniqueConstraint("strategy", "instrument", name="uq_guardrails_strategy_instrument"),
    )
    op.create_table(
        "presets",
        sa.Column("id", _ID, nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("preset_id", sa.Text(), nullable=False),
        sa.Column("params", _JSON, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("retired_at", sa.BigInteger()),
        sa.Column("retired_by", sa.Text()),
        sa.Column("retired_reason", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_presets"),
        sa.ForeignKeyConstraint(["pair_id"], ["guardrails.id"], name="fk_presets_pair_id"),
        sa.UniqueConstraint("pair_id", "preset_id", name="uq_presets_pair_id_preset_id"),
        sqlite_autoincrement=True,
    )


def _decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("preset_id", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("context", _JSON, nullable=False),
        sa.Column("features_used", _JSON, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("propensity", sa.Double(), nullable=False),
        sa.Column("propensities", _JSON, nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.Column("learnt", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        sa.ForeignKeyConstraint(["pair_id"], ["guardrails.id"], name="fk_decisions_pair_id"),
        sa.ForeignKeyConstraint(
            ["pair_id", "preset_id"], ["presets.pair_id", "presets.preset_id"], name="fk_decisions_pair_id_preset_id"
        ),
        sa.UniqueConstraint("pair_id", "number", name="uq_decisions_pair_id_number"),
        sqlite_autoincrement=True,
    )
    for name, columns in (
        ("ix_decisions_open", ["pair_id", "preset_id", "number"]),
        ("ix_decisions_due", ["pair_id", "expires_at"]),
    ):
        op.create_index(name, "decisions", columns, postgresql_where=_OPEN, sqlite_where=_OPEN)


def _learning() -> None:
    op.create_table(
        "outcomes",
        sa.Column("decision_id", _ID, autoincrement=False, nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text()),
        sa.Column("reward", sa.Double(), nullable=False),
        sa.Column("learnt_reward", sa.Double(), nullable=False),
        sa.Column("half_life_ms", sa.BigInteger()),
        sa.Column("learnt", sa.Boolean(), nullable=False),
        sa.Column("left_out", sa.Text()),
        sa.Column("inferred", sa.Boolean(), nullable=False),
        sa.Column("features", _JSON),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("learnt_at", sa.BigInteger(), nullable=False),
        sa.Column("dropped_at", sa.BigInteger()),
        sa.Column("dropped_after", sa.BigInteger()),
        sa.PrimaryKeyConstraint("decision_id", name="pk_outcomes"),
        sa.ForeignKeyConstraint(["decision_id"], ["decisions.id"], name="fk_outcomes_decision_id"),
        sa.ForeignKeyConstraint(["pair_id"], ["guardrails.id"], name="fk_outcomes_pair_id"),
        sa.UniqueConstraint("pair_id", "seq", name="uq_outcomes_pair_id_seq"),
        sa.UniqueConstraint("pair_id", "event_id", name="uq_outcomes_pair_id_event_id"),
    )
    op.create_table(
        "posteriors",
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["guardrails.id"], name="fk_posteriors_pair_id"),
        sa.PrimaryKeyConstraint("pair_id", "digest", "signature", name="pk_posteriors"),
    )


def _safety() -> None:
    op.create_table(
        "kill_switches",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("tripped_at", sa.BigInteger(), nullable=False),
        sa.Column("tripped_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name="pk_kill_switches"),
    )
    op.create_table(
        "audit",
        sa.Column("id", _ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sqlite_autoincrement=True,
    )
