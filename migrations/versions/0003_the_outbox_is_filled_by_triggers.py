"""Let triggers write every change of the catalogue into the outbox.

A later version that rebuilds one of these tables (a batch operation on SQLite drops and
makes it anew, and its triggers go with it) makes them anew at its end, with the columns
that are watched then: `context.script.get_revision("0003").module.make_triggers(...)`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# The key of each table, and the columns whose changes are written down.
WATCHED = {
    "users": (
        "id",
        "id name name_key email password_hash is_admin disabled_at quota_bytes "
        "created_at",
    ),
    "entries": (
        "id",
        "id owner_id parent_id kind name size created_at blob_id media_type trashed_at "
        "trashed_from",
    ),
    "blobs": (
        "uuid",
        "uuid size form attempt manifest_digest root sha256 layout state created_at "
        "tombstoned_at due_at slots redundancy share verified_at",
    ),
}


def upgrade() -> None:
    # Nothing wrote to it before there were triggers, so it may be made anew.
    op.drop_table("outbox")
    op.create_table(
        "outbox",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.func.now(),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    for table, (key, columns) in WATCHED.items():
        make_triggers(table, key, columns.split())


def make_triggers(table: str, key: str, columns: list[str]) -> None:
    """Make the triggers of a table, in place of those that there are."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in (_sqlite if sqlite else _postgresql)(table, key, columns):
        op.execute(statement)


def _sqlite(table: str, key: str, columns: list[str]) -> list[str]:
    note = "INSERT INTO outbox (name, key)"
    new, old = (f"{note} SELECT '{table}', {row}.{key}" for row in ("NEW", "OLD"))
    moved = f"{old} WHERE OLD.{key} IS NOT NEW.{key}"
    events = {
        "insert": ("INSERT", new),
        "delete": ("DELETE", old),
        "update": (f"UPDATE OF {', '.join(columns)}", f"{new}; {moved}"),
    }
    statements = []
    for word, (event, body) in events.items():
        name = f"journal_{table}_{word}"
        statements += [
            f"DROP TRIGGER IF EXISTS {name}",
            f"CREATE TRIGGER {name} AFTER {event} ON {table} BEGIN {body}; END",
        ]
    return statements


def _postgresql(table: str, key: str, columns: list[str]) -> list[str]:
    name = f"journal_{table}"
    new, old = (
        f"INSERT INTO outbox (name, key) VALUES ('{table}', {row}.{key}::text);"
        for row in ("NEW", "OLD")
    )
    function = f"""
        CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' THEN
                {old}
            ELSE
                {new}
                IF TG_OP = 'UPDATE' THEN
                    IF OLD.{key} <> NEW.{key} THEN
                        {old}
                    END IF;
                END IF;
            END IF;
            RETURN NULL;
        END $$
    """
    events = {
        "insert": "INSERT",
        "delete": "DELETE",
        "update": f"UPDATE OF {', '.join(columns)}",
    }
    statements = [function]
    for word, event in events.items():
        statements += [
            f"DROP TRIGGER IF EXISTS {name}_{word} ON {table}",
            f"CREATE TRIGGER {name}_{word} AFTER {event} ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {name}()",
        ]
    return statements
