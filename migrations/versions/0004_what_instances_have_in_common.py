"""Remember the key of all instances, by a mark, and the oldest release beside this one.

From here on each version says in `oldest_beside` which releases may go on running, or
start, over the database that it made: those whose newest version is that one or a later.
An update of several instances needs that; so a version adds, and what it makes useless
goes with a later one (expand and contract).
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
oldest_beside = "0004"


def upgrade() -> None:
    op.create_table(
        "key_marks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("mark", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_marks")),
    )
    op.create_table(
        "oldest_beside",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oldest_beside")),
    )
