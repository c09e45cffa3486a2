"""Task queues, site mask, what pilots say, users and logins, sums over accounting; the first release refuses it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """From 0001 to 0002."""
    _sums()
    _logins()
    _sessions()
    _pilots()
    _sites()
    _queues()
    facts = sa.table("system_facts", sa.column("Name"), sa.column("Value"))
    op.execute(sa.update(facts).where(facts.c.Name == "SchemaVersion").values(Value="2"))


def _sums() -> None:
    """Accounting records as columns, to be summed up."""
    op.create_table(
        "accounting_type_job",
        sa.Column(
            "RecordID", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("EndTime", sa.BigInteger(), nullable=False),
        sa.Column("VO", sa.String(length=64), nullable=False),
        sa.Column("User", sa.String(length=64), nullable=False),
        sa.Column("UserGroup", sa.String(length=128), nullable=False),
        sa.Column("JobGroup", sa.String(length=64), nullable=False),
        sa.Column("JobType", sa.String(length=64), nullable=False),
        sa.Column("JobClass", sa.String(length=64), nullable=False),
        sa.Column("ProcessingType", sa.String(length=64), nullable=False),
        sa.Column("Site", sa.String(length=100), nullable=False),
        sa.Column("FinalMajorStatus", sa.String(length=32), nullable=False),
        sa.Column("FinalMinorStatus", sa.String(length=128), nullable=False),
        sa.Column("CPUTime", sa.Double(), nullable=False),
        sa.Column("NormCPUTime", sa.Double(), nullable=False),
        sa.Column("ExecTime", sa.Double(), nullable=False),
        sa.Column("WallClockTime", sa.Double(), nullable=False),
        sa.Column("InputDataSize", sa.Double(), nullable=False),
        sa.Column("OutputDataSize", sa.Double(), nullable=False),
        sa.Column("InputDataFiles", sa.Double(), nullable=False),
        sa.Column("OutputDataFiles", sa.Double(), nullable=False),
        sa.Column("DiskSpace", sa.Double(), nullable=False),
        sa.Column("InputSandBoxSize", sa.Double(), nullable=False),
        sa.Column("OutputSandBoxSize", sa.Double(), nullable=False),
        sa.Column("ProcessedEvents", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("RecordID"),
    )
    op.create_index("accounting_by_end", "accounting_type_job", ["VO", "EndTime"], unique=False)


def _logins() -> None:
    """Users, and logins under way."""
    op.create_table(
        "auth_flows",
        sa.Column("FlowID", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("UserCode", sa.String(length=64), nullable=False),
        sa.Column("SecretHash", sa.String(length=64), nullable=False),
        sa.Column("ClientID", sa.String(length=64), nullable=False),
        sa.Column("VO", sa.String(length=64), nullable=False),
        sa.Column("GroupName", sa.String(length=64), nullable=False),
        sa.Column("RedirectURI", sa.String(length=1024), nullable=False),
        sa.Column("State", sa.String(length=1024), nullable=False),
        sa.Column("Challenge", sa.String(length=128), nullable=False),
        sa.Column("UserName", sa.String(length=64), nullable=True),
        sa.Column("Address", sa.String(length=64), nullable=False),
        sa.Column("ExpiryTime", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("FlowID"),
        sa.UniqueConstraint("SecretHash"),
        sa.UniqueConstraint("UserCode"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "auth_login_codes",
        sa.Column("CodeHash", sa.String(length=64), nullable=False),
        sa.Column("UserName", sa.String(length=64), nullable=False),
        sa.Column("VO", sa.String(length=64), nullable=False),
        sa.Column("ExpiryTime", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("CodeHash"),
    )
    op.create_table(
        "auth_user_groups",
        sa.Column("UserName", sa.String(length=64), nullable=False),
        sa.Column("VO", sa.String(length=64), nullable=False),
        sa.Column("GroupName", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("UserName", "VO", "GroupName"),
    )
    op.create_table(
        "auth_users",
        sa.Column("UserName", sa.String(length=64), nullable=False),
        sa.Column("VO", sa.String(length=64), nullable=False),
        sa.Column("PasswordHash", sa.String(length=255), nullable=True),
        sa.Column("CreationTime", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("UserName", "VO"),
    )


def _sessions() -> None:
    """Refresh tokens and the audit log."""
    op.create_table(
        "auth_audit",
        sa.Column("EntryID", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("EntryTime", sa.BigInteger(), nullable=False),
        sa.Column("Event", sa.String(length=32), nullable=False),
        sa.Column("UserName", sa.String(length=64), nullable=False),
        sa.Column("VO", sa.String(length=64), nullable=False),
        sa.Column("Address", sa.String(length=64), nullable=False),
        sa.Column("Detail", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("EntryID"),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_by_time", "auth_audit", ["EntryTime", "Event"], unique=False)
    op.create_table(
        "auth_refresh_tokens",
        sa.Column("JTI", sa.String(length=64), nullable=False),
        sa.Column("SessionID", sa.String(length=64), nullable=False),
        sa.Column("Status", sa.String(length=16), nullable=False),
        sa.Column("UserName", sa.String(length=64), nullable=False),
        sa.Column("VO", sa.String(length=64), nullable=False),
        sa.Column("GroupName", sa.String(length=64), nullable=False),
        sa.Column("ClientID", sa.String(length=64), nullable=False),
        sa.Column("Predecessor", sa.String(length=64), nullable=False),
        sa.Column("SessionTime", sa.BigInteger(), nullable=False),
        sa.Column("CreationTime", sa.BigInteger(), nullable=False),
        sa.Column("ExpiryTime", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("JTI"),
    )
    op.create_index("refresh_tokens_of_session", "auth_refresh_tokens", ["SessionID"], unique=False)
    op.create_index("refresh_tokens_of_user", "auth_refresh_tokens", ["UserName", "VO"], unique=False)


def _pilots() -> None:
    """What pilots say, offer, and are told."""
    op.create_table(
        "pilot_offers",
        sa.Column("PilotStamp", sa.String(length=32), nullable=False),
        sa.Column("VO", sa.String(length=64), nullable=False),
        sa.Column("Offer", sa.Text(), nullable=False),
        sa.Column("OfferTime", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("PilotStamp"),
    )
    op.create_index("offers_by_time", "pilot_offers", ["VO", "OfferTime"], unique=False)
    op.create_table(
        "pilot_stops",
        sa.Column("PilotStamp", sa.String(length=32), nullable=False),
        sa.Column("Author", sa.String(length=64), nullable=False),
        sa.Column("OrderTime", sa.BigInteger(), nullable=False),
        sa.Column("TakenTime", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("PilotStamp"),
    )
    op.create_table(
        "pilots_logging",
        sa.Column("LogID", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("PilotStamp", sa.String(length=32), nullable=False),
        sa.Column("MessageTime", sa.BigInteger(), nullable=False),
        sa.Column("ArrivalTime", sa.BigInteger(), nullable=False),
        sa.Column("Severity", sa.String(length=16), nullable=False),
        sa.Column("Source", sa.String(length=64), nullable=False),
        sa.Column("Message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("LogID"),
    )
    op.create_index("logs_of_pilot", "pilots_logging", ["PilotStamp", "LogID"], unique=False)
    op.create_index("pilot_logs_by_arrival", "pilots_logging", ["ArrivalTime"], unique=False)


def _sites() -> None:
    """The site mask."""
    op.create_table(
        "site_mask",
        sa.Column("Site", sa.String(length=100), nullable=False),
        sa.Column("Status", sa.String(length=16), nullable=False),
        sa.Column("Author", sa.String(length=64), nullable=False),
        sa.Column("Comment", sa.String(length=255), nullable=False),
        sa.Column("LastUpdateTime", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("Site"),
    )
    op.create_table(
        "site_mask_history",
        sa.Column("ChangeID", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("Site", sa.String(length=100), nullable=False),
        sa.Column("Status", sa.String(length=16), nullable=False),
        sa.Column("Author", sa.String(length=64), nullable=False),
        sa.Column("Comment", sa.String(length=255), nullable=False),
        sa.Column("ChangeTime", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ChangeID"),
    )
    op.create_index("mask_history_by_site", "site_mask_history", ["Site", "ChangeID"], unique=False)


def _queues() -> None:
    """Task queues, and the indexes by which they are searched."""
    op.create_table(
        "task_queues",
        sa.Column(
            "TaskQueueID", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("Digest", sa.String(length=64), nullable=False),
        sa.Column("VO", sa.String(length=64), nullable=False),
        sa.Column("CPUWork", sa.BigInteger(), nullable=False),
        sa.Column("Requirements", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("TaskQueueID"),
        sa.UniqueConstraint("Digest"),
        sqlite_autoincrement=True,
    )
    op.add_column("jobs", sa.Column("TaskQueueID", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True))
    op.drop_index(op.f("jobs_by_owner"), table_name="jobs")
    op.drop_index(op.f("jobs_by_status"), table_name="jobs")
    op.create_index("jobs_by_queue", "jobs", ["Status", "TaskQueueID", "UserPriority", "JobID"], unique=False)
    op.create_index("jobs_in_use", "jobs", ["Status", "Site", "JobType", "VO", "OwnerGroup", "Owner"], unique=False)
    op.create_index("jobs_of_owner", "jobs", ["Owner", "VO", "Status", "JobID"], unique=False)
