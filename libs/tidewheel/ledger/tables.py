"""The tables, for both dialects. Times are UTC milliseconds; JSON columns hold plain JSON values only.

Private to the ledger, like all of SQLAlchemy: records leave it, rows never do.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: SQLite numbers rows by itself only where the type is spelled INTEGER.
Id = BigInteger().with_variant(Integer, "sqlite")
Json = JSON(none_as_null=True)

#: Source of fences on Postgres; on SQLite the row `fence` of `counters` is.
fence_sequence = Sequence("lease_fence", metadata=metadata, data_type=BigInteger)

ledger_identity = Table(
    "ledger_identity",
    metadata,
    Column("one", SmallInteger, primary_key=True, autoincrement=False, doc="always 1: a ledger has one identity"),
    Column("id", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

streams = Table(
    "streams",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("origin", Text, nullable=False),
    Column("watermark", BigInteger, doc="next expected open time; null before the first seal"),
    Column("created_at", BigInteger, nullable=False),
)

stream_failures = Table(
    "stream_failures",
    metadata,
    Column("stream", Text, primary_key=True, doc="its key, or what the user wrote where that was not known yet"),
    Column("code", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("times", Integer, nullable=False, doc="attempts that failed one after the other"),
    Column("since", BigInteger, nullable=False, doc="the first of them"),
    Column("failed_at", BigInteger, nullable=False, doc="the last of them"),
    Column("over_at", BigInteger, doc="when an attempt went well again; null while it fails"),
)

candles = Table(
    "candles",
    metadata,
    Column("stream_id", Integer, ForeignKey("streams.id"), nullable=False),
    Column("open_time", BigInteger, nullable=False),
    Column("revision", SmallInteger, nullable=False),
    Column("open", Double, nullable=False),
    Column("high", Double, nullable=False),
    Column("low", Double, nullable=False),
    Column("close", Double, nullable=False),
    Column("volume", Double, nullable=False),
    Column("available_at", BigInteger, nullable=False, doc="when this revision could first be known"),
    Column("recorded_at", BigInteger, nullable=False, doc="when this ledger learnt it: what `as_of` asks for"),
    Column("source", Text, nullable=False),
    PrimaryKeyConstraint("stream_id", "open_time", "revision"),
    sqlite_with_rowid=False,
)

files = Table(
    "files",
    metadata,
    Column("id", Id, primary_key=True),
    Column("stream_id", Integer, ForeignKey("streams.id"), nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger, nullable=False, doc="last open time + step: intervals are [start, end)"),
    Column("bars", Integer, nullable=False),
    Column("revision", SmallInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("csv_path", Text, nullable=False, doc="relative to DATA_DIR"),
    Column("blob_path", Text, nullable=False, doc="relative to DATA_DIR"),
    Column("source", Text, nullable=False),
    Column("recorded", Json, nullable=False, doc="[[bars, recorded_at], ...]: the recorded_at of its bars, in order"),
    Column("sealed_at", BigInteger, nullable=False),
    Column("quarantined", Text, doc="why no consumer may read it; null where all may"),
    Index("ix_files_stream_id_start_time", "stream_id", "start_time"),
    # On SQLite `Bars.seal` checks the same under the write lock.
    ExcludeConstraint(
        (func.int4range(text("stream_id"), text("stream_id"), "[]"), "&&"),
        (func.int8range(text("start_time"), text("end_time")), "&&"),
        name="files_first_revisions_never_overlap",
        using="gist",
        where=text("revision = 0"),
    ).ddl_if(dialect="postgresql"),
    sqlite_autoincrement=True,
)

gaps = Table(
    "gaps",
    metadata,
    Column("id", Id, primary_key=True),
    Column("stream_id", Integer, ForeignKey("streams.id"), nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("evidence", Json, nullable=False),
    Column("found_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Index("ix_gaps_stream_id_start_time", "stream_id", "start_time"),
)

backfills = Table(
    "backfills",
    metadata,
    Column("id", Id, primary_key=True),
    Column("stream_id", Integer, ForeignKey("streams.id"), nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger, nullable=False),
    Column("cursor", BigInteger, nullable=False, doc="next open time to ask for; what lies before it is stored"),
    Column("state", Text, nullable=False),
    Column("fetched", BigInteger, nullable=False, doc="bars that the exchange gave"),
    Column("reason", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    UniqueConstraint("stream_id", "start_time", "end_time"),
    sqlite_autoincrement=True,
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False, doc="by the ledger's clock; 0 once released"),
    Column("pulse", BigInteger, nullable=False, doc="lock that the holder's process keeps for as long as it lives"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("consumer", Text, nullable=False),
    Column("family", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("schedule_key", Text, unique=True),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("params", Json, nullable=False),
    Column("progress", Json, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("fence", BigInteger, doc="fence of the newest attempt"),
    Column("claimed_files", Integer, nullable=False, server_default="0"),
    Column("new_bars", Integer, nullable=False, server_default="0"),
    Column("window_bars", Integer, nullable=False, server_default="0"),
    Column("version", Text),
    Column("cancel_requested", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Index(
        "one_active_run_per_consumer",
        "consumer",
        unique=True,
        postgresql_where=text("state IN ('queued', 'running')"),
        sqlite_where=text("state IN ('queued', 'running')"),
    ),
    sqlite_autoincrement=True,
)

claims = Table(
    "claims",
    metadata,
    Column("consumer", Text, nullable=False),
    Column("file_id", Id, ForeignKey("files.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column(
        "run_id", Id, ForeignKey("runs.id"), doc="the run that holds, consumed or poisoned it; null while downloaded"
    ),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("changed_at", BigInteger, nullable=False),
    Column("requeued_by", Text, doc="who last put it back by hand"),
    # With disjoint first revisions this is what makes strict training exactly-once.
    PrimaryKeyConstraint("consumer", "file_id"),
    Index("ix_claims_run_id", "run_id"),
)

versions = Table(
    "versions",
    metadata,
    Column("family", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("data_as_of", BigInteger, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("code_digest", Text, nullable=False),
    Column("parent", Text),
    Column("metrics", Json, nullable=False),
    Column("lineage", Json, nullable=False),
    Column("manifest", Json, nullable=False),
    Column("origin", Text, nullable=False),
    Column("run_id", Id, ForeignKey("runs.id"), nullable=False, doc="the run that first published it"),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("family", "version"),
    UniqueConstraint("family", "digest"),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("run_id", Id, ForeignKey("runs.id"), primary_key=True, autoincrement=False),
    Column("family", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("steps", Json, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    ForeignKeyConstraint(["family", "version"], ["versions.family", "versions.version"]),
    Index("ix_verdicts_family_version", "family", "version"),
)

promotions = Table(
    "promotions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("family", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("forced", Boolean, nullable=False),
    Column("previous", Text, doc="champion before this; null for the first"),
    Column("run_id", Id, ForeignKey("runs.id"), doc="the run whose publish promoted it"),
    Column("created_at", BigInteger, nullable=False),
    ForeignKeyConstraint(["family", "version"], ["versions.family", "versions.version"]),
    Index("ix_promotions_family_id", "family", "id"),
    sqlite_autoincrement=True,
)

replicas = Table(
    "replicas",
    metadata,
    Column("id", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("family", Text, nullable=False),
    Column("loaded", Text),
    Column("error", Text),
    Column("seen_at", BigInteger, nullable=False),
)

regime_state = Table(
    "regime_state",
    metadata,
    Column("stream_id", Integer, ForeignKey("streams.id"), primary_key=True, autoincrement=False),
    Column("data_time", BigInteger, nullable=False, doc="open time of the newest bar that it has seen"),
    Column("probs", Json, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Id, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("payload", Json, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("secret_sha256", Text, nullable=False),
    Column("scopes", Json, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)
