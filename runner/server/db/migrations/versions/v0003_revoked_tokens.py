"""Single tokens that were revoked before their time is over."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """From 0002 to 0003."""
    op.create_table(
        "auth_revoked_tokens",
        sa.Column("JTI", sa.String(length=64), nullable=False),
        sa.Column("ExpiryTime", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("JTI"),
    )
