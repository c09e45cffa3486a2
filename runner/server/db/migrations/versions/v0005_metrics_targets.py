"""Where agents and wrappers serve their metrics."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """From 0004 to 0005."""
    op.create_table(
        "metrics_targets",
        sa.Column("Host", sa.String(length=64), nullable=False),
        sa.Column("Port", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("VO", sa.String(length=128), nullable=False),
        sa.Column("Path", sa.String(length=64), nullable=False),
        sa.Column("Role", sa.String(length=16), nullable=False),
        sa.Column("Site", sa.String(length=128), nullable=False),
        sa.Column("PilotStamp", sa.String(length=32), nullable=False),
        sa.Column("JobID", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ExpiryTime", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("Host", "Port"),
    )
    with op.batch_alter_table("metrics_targets", schema=None) as batch_op:
        batch_op.create_index("targets_by_expiry", ["VO", "ExpiryTime"], unique=False)
