"""Stoker's own tables; an adopter's tables live in the adopter's own metadata.

Created by the migrations under stoker/migrations, in a schema of their own. All times are `timestamptz`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA = "stoker"
"""The schema of all of them, apart from an application's own tables and migrations."""
metadata = MetaData(schema=SCHEMA)

installation = Table(
    "installation",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    comment="One row. A new or restored database gets a new id, so it never meets an old cache (RACES 42).",
)

seal_keys = Table(
    "seal_keys",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("secret", String(64), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    comment="The keys that seal cache entries: the newest, once all processes know it, and the one before.",
)

cache_events = Table(
    "cache_events",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("payload", JSONB, nullable=False),
    Column(
        "scopes",
        JSONB,
        nullable=False,
        comment="[[kind, id, [view, ...], hard 0 or 1, every view 0 or 1], ...]; kind ?: as the rule says",
    ),
    Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("settled_at", DateTime(timezone=True)),
    Column("settled_by", String(128), comment="The process that applied it."),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("error", Text),
    Column("trace", String(55), comment="W3C traceparent of the transaction; null: not traced."),
    Column(
        "recorded_by",
        Text,
        nullable=False,
        server_default="application",
        comment="application, `trigger` and its table, sql, migrate",
    ),
    Column(
        "transaction_id",
        BigInteger,
        nullable=False,
        server_default=text("CAST(CAST(pg_current_xact_id() AS text) AS bigint)"),
        comment="The writer's, as pg_current_xact_id gives it.",
    ),
    Index("cache_events_unsettled", "recorded_at", postgresql_where=text("settled_at IS NULL")),
    Index("cache_events_settled", "settled_at", postgresql_where=text("settled_at IS NOT NULL")),
    comment="The outbox: what changed, recorded in the writer's own transaction.",
)

job_requests = Table(
    "job_requests",
    metadata,
    Column("seq", BigInteger, Identity(), primary_key=True, comment="The order of asking."),
    Column("job_id", String(64), nullable=False, comment="The job's id in the queue; begins with r-."),
    Column("lane", String(32), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("arguments", JSONB, nullable=False),
    Column("flag", String(64), nullable=False, comment="Digest of its coalesce key; empty: it has none."),
    Column("alone", Boolean, nullable=False, comment="One job of the key at a time."),
    Column("fair", String(1200), nullable=False, comment="Its fair key, quoted; empty: none."),
    Column("due_at", DateTime(timezone=True), comment="Null: at once."),
    Column("trace", String(55)),
    Column("requested_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("delivered_at", DateTime(timezone=True)),
    Column("delivered_to", String(16), comment="The life of the queue that has it."),
    Index("job_requests_undelivered", "seq", postgresql_where=text("delivered_at IS NULL")),
    Index("job_requests_delivered", "delivered_at", postgresql_where=text("delivered_at IS NOT NULL")),
    Index("job_requests_life", "delivered_to", postgresql_where=text("delivered_to IS NOT NULL")),
    comment="Jobs that were asked for in a transaction, until the queue has them and for a day after.",
)

job_ends = Table(
    "job_ends",
    metadata,
    Column("job_id", String(64), primary_key=True),
    Column("ended_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    comment="Jobs of job_requests that have ended: a queue that lost its data does not get them again.",
)

dead_jobs = Table(
    "dead_jobs",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("job_id", String(64), nullable=False),
    Column("lane", String(32), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("payload", JSONB),
    Column("raw", Text, comment="The stored bytes, base64, of a payload that could not be read."),
    Column(
        "reason", String(32), nullable=False, comment="failed, exhausted, expired, undecodable, quarantined"
    ),
    Column("error", Text, nullable=False),
    Column("traceback", Text),
    Column("fingerprint", String(32), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("enqueued_at", DateTime(timezone=True)),
    Column("died_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    UniqueConstraint("job_id", name="dead_jobs_job_id"),
    Index("dead_jobs_fingerprint", "fingerprint", "died_at"),
    Index("dead_jobs_lane", "lane"),
    comment="Jobs that will not run again by themselves.",
)

schedule_slots = Table(
    "schedule_slots",
    metadata,
    Column("task", String(64), primary_key=True),
    Column("slot", DateTime(timezone=True), primary_key=True),
    Column("state", String(16), nullable=False, comment="claimed, done, failed, skipped"),
    Column("claimed_by", String(128), nullable=False),
    Column("claimed_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    Column("done_at", DateTime(timezone=True)),
    Column("error", Text),
    Column("job_id", String(64), comment="The job that carries it out."),
    Column("asked_by", String(64), comment="Who ran it by hand; none: its time."),
    comment="The schedule's ledger: one row per task and slot.",
)

schedule_pauses = Table(
    "schedule_pauses",
    metadata,
    Column("task", String(64), primary_key=True),
    Column("actor", String(64), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    comment="Tasks of the schedule that begin no slot until they are resumed.",
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("actor", String(64), nullable=False),
    Column("address", String(64)),
    Column("action", String(64), nullable=False),
    Column("arguments", JSONB, nullable=False),
    comment="Who did what when.",
)

figure_history = Table(
    "figure_history",
    metadata,
    Column("span_s", Integer, primary_key=True, autoincrement=False, comment="60, 3600 or 86400"),
    Column("at", DateTime(timezone=True), primary_key=True, comment="Where the span begins."),
    Column("series", String(96), primary_key=True),
    Column("gauge", Boolean, nullable=False, comment="Merged by maximum, not by sum."),
    Column("value", Double, nullable=False),
    comment="Figures over time, rolled up minute -> hour -> day.",
)

figure_marks = Table(
    "figure_marks",
    metadata,
    Column("series", String(160), primary_key=True),
    Column("value", Double, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    comment="How far counters were read, so that any number of workers counts once; and which workers run.",
)

job_history = Table(
    "job_history",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("job_id", String(64)),
    Column("lane", String(32), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("failed", Boolean, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("scope", String(128)),
    Column("arguments", JSONB),
    Column("error", Text),
    Column("waited_s", Double, nullable=False),
    Column("ran_s", Double, nullable=False),
    Column("ended_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("worker", String(128), nullable=False),
    Index("job_history_job_id", "job_id"),
    Index("job_history_kind", "kind", "failed", "id"),
    comment="Runs of jobs: every failure, and of each kind the newest that went well.",
)

console_sessions_ended = Table(
    "console_sessions_ended",
    metadata,
    Column("nonce", String(32), primary_key=True),
    Column("until", DateTime(timezone=True), nullable=False),
    comment="Console sessions signed out of, until they would have ended by themselves.",
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("role", String(16), nullable=False, comment="viewer or operator"),
    Column("sha256", String(64), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True), comment="To the minute."),
    Column("expires_at", DateTime(timezone=True), comment="null: it does not end by itself."),
    UniqueConstraint("sha256", name="api_tokens_sha256"),
    comment="API tokens beside those of the settings. Only hashes are stored.",
)

cache_identities = Table(
    "cache_identities",
    metadata,
    Column("root", String(64), primary_key=True),
    Column("run", Text, primary_key=True),
    Column("noted_at", DateTime(timezone=True), nullable=False),
    Column(
        "diverged_since",
        DateTime(timezone=True),
        comment="From when on changes went to another; null: none did.",
    ),
    comment="Caches that recorded events were applied to (docs/decisions/0011).",
)

stale_findings = Table(
    "stale_findings",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("view", String(64), nullable=False),
    Column("scope", String(128), nullable=False),
    Column("params", Text, nullable=False, comment="Of its key; empty: it takes none."),
    Column("age_s", Double, nullable=False, comment="How old the entry was."),
    Column("differs", JSONB, nullable=False, comment="The places where it differed from SQL."),
    Column("suspects", JSONB, nullable=False, comment="Rows that were written since it was built."),
    Column("found_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("found_by", String(128), nullable=False),
    Column("acknowledged_at", DateTime(timezone=True), comment="null: nobody has seen to it."),
    Column("acknowledged_by", String(64)),
    Index("stale_findings_open", "id", postgresql_where=text("acknowledged_at IS NULL")),
    comment="Entries that the verifier found stale, and healed.",
)

workers = Table(
    "workers",
    metadata,
    Column("name", String(128), primary_key=True, comment="host:pid"),
    Column("release", String(64), nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("stopped_at", DateTime(timezone=True), comment="null: it runs, or was killed."),
    Column("lanes", JSONB, nullable=False, comment='{"lane": {"slots": 6, "busy": 2, "used": 0.4}}'),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("quiet", Boolean, nullable=False, server_default="false", comment="It takes no new jobs."),
    comment="Worker processes: each reports every few seconds what it does.",
)

cache_term = Table(
    "cache_term",
    metadata,
    Column("one", Boolean, CheckConstraint("one"), primary_key=True, server_default=true()),
    Column("term_ms", Integer, nullable=False, server_default="0"),
    Column(
        "longest_ms",
        Integer,
        nullable=False,
        server_default="0",
        comment="The longest term that a reader may still serve by.",
    ),
    Column(
        "changes", BigInteger, nullable=False, server_default="0", comment="How often term_ms was changed."
    ),
    comment="One row: for how long readers serve without asking Redis (docs/decisions/0025).",
)

warm_predictor = Table(
    "warm_predictor",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="1: there is one row."),
    Column("holder", String(128), comment="The worker that predicts."),
    Column("lease_until", DateTime(timezone=True)),
    Column("in_force", String(32), comment="default plan, decayed counts, predictor"),
    Column("planned_at", DateTime(timezone=True), comment="Old: nobody predicts, the default plan warms."),
    Column("figures", JSONB, comment="stoker/warming/figures.py"),
    Column("state", LargeBinary, comment="stoker/prediction/snapshot.py, compressed with zstd."),
    Column("saved_at", DateTime(timezone=True)),
    comment="What has been learnt of reads, and which worker goes on learning.",
)

warm_history = Table(
    "warm_history",
    metadata,
    Column("at", DateTime(timezone=True), primary_key=True, comment="The full hour."),
    Column("in_force", String(32), nullable=False),
    Column("figures", JSONB, nullable=False, comment="stoker/warming/figures.py, with the calibration."),
    Column("weights", JSONB, nullable=False, comment="By feature, a weight for each of its bins."),
    comment="The predictor once an hour, for 90 days.",
)
