"""The web console: its sessions, and what heartbeats said over time."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """From 0005 to 0006."""
    op.create_table(
        "console_sessions",
        sa.Column("SessionID", sa.String(length=32), nullable=False),
        sa.Column("SecretHash", sa.String(length=64), nullable=False),
        sa.Column("EarlierHash", sa.String(length=64), nullable=False),
        sa.Column("FormToken", sa.String(length=64), nullable=False),
        sa.Column("UserName", sa.String(length=64), nullable=False),
        sa.Column("VO", sa.String(length=64), nullable=False),
        sa.Column("GroupName", sa.String(length=64), nullable=False),
        sa.Column("TokenID", sa.String(length=64), nullable=False),
        sa.Column("Roles", sa.String(length=255), nullable=False),
        sa.Column("Address", sa.String(length=64), nullable=False),
        sa.Column("CreationTime", sa.BigInteger(), nullable=False),
        sa.Column("RotationTime", sa.BigInteger(), nullable=False),
        sa.Column("ShownTime", sa.BigInteger(), nullable=True),
        sa.Column("LastTime", sa.BigInteger(), nullable=False),
        sa.Column("ExpiryTime", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("SessionID"),
        sa.UniqueConstraint("SecretHash"),
    )
    op.create_index("console_sessions_by_earlier", "console_sessions", ["EarlierHash"], unique=False)
    op.create_index("console_sessions_of_user", "console_sessions", ["UserName", "VO"], unique=False)
    op.create_table(
        "job_usage",
        sa.Column("JobID", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("Attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("Time", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("CPUConsumed", sa.Double(), nullable=True),
        sa.Column("WallClockTime", sa.Double(), nullable=True),
        sa.Column("MemoryUsed", sa.Double(), nullable=True),
        sa.Column("OutputBytes", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("JobID", "Attempt", "Time"),
    )
