"""What pilots write about themselves; an index for searches by owner and status; the first release refuses it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """From 0001 to 0002."""
    op.create_table(
        "pilots_logging",
        sa.Column("SequenceID", SERIAL, primary_key=True),
        sa.Column("PilotStamp", sa.String(32), nullable=False),
        sa.Column("Time", sa.BigInteger(), nullable=False),
        sa.Column("ArrivalTime", sa.BigInteger(), nullable=False),
        sa.Column("Severity", sa.String(16), nullable=False),
        sa.Column("Source", sa.String(64), nullable=False),
        sa.Column("Message", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("pilots_logging_by_pilot", "pilots_logging", ["PilotStamp", "Time", "SequenceID"])
    op.create_index("pilots_logging_by_arrival", "pilots_logging", ["ArrivalTime"])
    op.drop_index("jobs_by_owner", "jobs")
    op.create_index("jobs_of_owner", "jobs", ["Owner", "VO", "Status", "JobID"])
    facts = sa.table("system_facts", sa.column("Name"), sa.column("Value"))
    op.execute(sa.update(facts).where(facts.c.Name == "SchemaVersion").values(Value="2"))
