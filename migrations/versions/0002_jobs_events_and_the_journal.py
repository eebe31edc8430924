"""Add jobs, events, the journal, orphans, and what is known of members and blobs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _widen_known_tables()
    _jobs()
    _events()
    _journal()
    op.create_table(
        "orphans",
        sa.Column("member_uuid", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified_at", MOMENT, nullable=False),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.Column("last_seen_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("member_uuid", "key", name=op.f("pk_orphans")),
    )


def _widen_known_tables() -> None:
    # Every column has a default or may be null, so that the release before this one
    # goes on writing beside it.
    zero, no = sa.text("0"), sa.false()
    op.add_column(
        "arrays",
        sa.Column("journal_number", sa.BigInteger(), server_default=zero, nullable=False),
    )
    op.add_column("arrays", sa.Column("journal_hash", sa.LargeBinary(), nullable=True))
    op.add_column("arrays", sa.Column("pace", sa.SmallInteger(), nullable=True))
    op.add_column(
        "members",
        sa.Column("journal_number", sa.BigInteger(), server_default=zero, nullable=False),
    )
    op.add_column("members", sa.Column("target_slot", sa.Integer(), nullable=True))
    op.add_column(
        "members", sa.Column("leaving", sa.Boolean(), server_default=no, nullable=False)
    )
    op.add_column(
        "members",
        sa.Column("inventory_due", sa.Boolean(), server_default=no, nullable=False),
    )
    op.add_column("blobs", sa.Column("slots", sa.Text(), nullable=True))
    op.add_column("blobs", sa.Column("redundancy", sa.SmallInteger(), nullable=True))
    op.add_column(
        "blobs", sa.Column("share", sa.BigInteger(), server_default=zero, nullable=False)
    )
    op.add_column("blobs", sa.Column("verified_at", MOMENT, nullable=True))
    op.create_index("ix_blobs_lie", "blobs", ["state", "slots", "redundancy", "share"])
    op.create_index("ix_blobs_verified", "blobs", ["verified_at"])


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("member_uuid", sa.Uuid(), nullable=True),
        sa.Column("slot", sa.Integer(), nullable=True),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("done_bytes", sa.BigInteger(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.Column("done_objects", sa.BigInteger(), nullable=False),
        sa.Column("total_objects", sa.BigInteger(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("actor", sa.String(length=64), nullable=True),
        sa.Column("lease", sa.String(length=32), nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("takeovers", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("touched_at", MOMENT, nullable=True),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_state", "jobs", ["state", "id"])
    op.create_index("ix_jobs_kind", "jobs", ["kind", "finished_at"])


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("word", sa.String(length=48), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=True),
        sa.Column("member_uuid", sa.Uuid(), nullable=True),
        sa.Column("actor", sa.String(length=64), nullable=True),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_at"), "events", ["at"])


def _journal() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_table(
        "journal_entries",
        sa.Column("incarnation", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("snapshot", sa.Boolean(), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("incarnation", "number", name=op.f("pk_journal_entries")),
    )
