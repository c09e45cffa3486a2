"""Guards: rows that are held while something is counted."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """From 0003 to 0004."""
    op.create_table(
        "guards",
        sa.Column("Name", sa.String(length=255), nullable=False),
        sa.Column("LastTime", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("Name"),
    )
