"""The tables of the first release, as they were: nothing here follows later changes of the modules."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TABLES = sa.MetaData()

sa.Table(
    "accounting_conflicts",
    TABLES,
    sa.Column("ConflictID", SERIAL, primary_key=True),
    sa.Column("UID", sa.String(36), nullable=False),
    sa.Column("JobID", SERIAL, nullable=False),
    sa.Column("Digest", sa.String(64), nullable=False),
    sa.Column("Body", sa.Text(), nullable=False),
    sa.Column("Detail", sa.String(255), nullable=False),
    sa.Column("ArrivalTime", sa.BigInteger(), nullable=False),
    sa.UniqueConstraint("UID", "Digest"),
    sa.Index("conflicts_by_job", "JobID"),
)
sa.Table(
    "accounting_records",
    TABLES,
    sa.Column("RecordID", SERIAL, primary_key=True),
    sa.Column("UID", sa.String(36), nullable=False),
    sa.Column("RecordedBy", sa.String(16), nullable=False),
    sa.Column("Revision", sa.Integer(), nullable=False),
    sa.Column("JobID", SERIAL, nullable=False),
    sa.Column("Attempt", sa.Integer(), nullable=False),
    sa.Column("Digest", sa.String(64), nullable=False),
    sa.Column("Body", sa.Text(), nullable=False),
    sa.Column("ArrivalTime", sa.BigInteger(), nullable=False),
    sa.Column("Duplicates", sa.Integer(), nullable=False),
    sa.Column("IsCurrent", sa.Integer(), nullable=False),
    sa.UniqueConstraint("UID", "RecordedBy", "Revision"),
    sa.Index("records_by_job", "JobID", "Attempt"),
)
sa.Table(
    "catalog_files",
    TABLES,
    sa.Column("Catalog", sa.String(64), primary_key=True),
    sa.Column("LFN", sa.String(512), primary_key=True),
    sa.Column("Size", sa.BigInteger(), nullable=False),
    sa.Column("Adler32", sa.String(8), nullable=False),
)
sa.Table(
    "catalog_replicas",
    TABLES,
    sa.Column("Catalog", sa.String(64), primary_key=True),
    sa.Column("LFN", sa.String(512), primary_key=True),
    sa.Column("SE", sa.String(64), primary_key=True),
    sa.Column("PFN", sa.String(1024), nullable=False),
)
sa.Table(
    "file_status",
    TABLES,
    sa.Column("VO", sa.String(64), primary_key=True),
    sa.Column("Owner", sa.String(255), primary_key=True),
    sa.Column("ProductionID", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("LFN", sa.String(255), primary_key=True),
    sa.Column("Status", sa.String(64), nullable=False),
    sa.Column("JobID", SERIAL, nullable=False),
    sa.Column("Attempt", sa.Integer(), nullable=False),
    sa.Column("LastUpdateTime", sa.BigInteger(), nullable=False),
    sa.Index("file_status_by_job", "JobID"),
)
sa.Table(
    "job_attempts",
    TABLES,
    sa.Column("JobID", SERIAL, primary_key=True, autoincrement=False),
    sa.Column("Attempt", sa.Integer(), primary_key=True, autoincrement=False),
    sa.Column("UID", sa.String(36), nullable=False),
    sa.Column("Claim", sa.String(64), nullable=False),
    sa.Column("RunningClaim", sa.String(64)),
    sa.Column("PilotStamp", sa.String(32), nullable=False),
    sa.Column("Status", sa.String(32), nullable=False),
    sa.Column("MinorStatus", sa.String(128), nullable=False),
    sa.Column("MatchTime", sa.BigInteger(), nullable=False),
    sa.Column("RunningTime", sa.BigInteger()),
    sa.Column("EndTime", sa.BigInteger()),
    sa.Column("LastReportTime", sa.BigInteger()),
    sa.Column("LastHeartbeat", sa.Text()),
    sa.Column("LastSignTime", sa.BigInteger()),
    sa.Column("Slot", sa.Text()),
    sa.UniqueConstraint("UID"),
    sa.Index("attempts_by_pilot", "PilotStamp"),
)
sa.Table(
    "job_commands",
    TABLES,
    sa.Column("CommandID", SERIAL, primary_key=True),
    sa.Column("JobID", SERIAL, nullable=False),
    sa.Column("Attempt", sa.Integer(), nullable=False),
    sa.Column("Command", sa.String(32), nullable=False),
    sa.Column("OrderTime", sa.BigInteger(), nullable=False),
    sa.Column("AcknowledgeTime", sa.BigInteger()),
    sa.UniqueConstraint("JobID", "Attempt", "Command"),
    sqlite_autoincrement=True,
)
sa.Table(
    "job_descriptions",
    TABLES,
    sa.Column("JobID", SERIAL, primary_key=True, autoincrement=False),
    sa.Column("Description", sa.Text(), nullable=False),
)
sa.Table(
    "job_logging",
    TABLES,
    sa.Column("SequenceID", SERIAL, primary_key=True),
    sa.Column("JobID", SERIAL, nullable=False),
    sa.Column("Status", sa.String(32)),
    sa.Column("MinorStatus", sa.String(128)),
    sa.Column("ApplicationStatus", sa.String(255)),
    sa.Column("StatusTime", sa.BigInteger(), nullable=False),
    sa.Column("ArrivalTime", sa.BigInteger(), nullable=False),
    sa.Column("Source", sa.String(32), nullable=False),
    sa.Index("logging_by_job", "JobID", "StatusTime", "SequenceID"),
)
sa.Table(
    "job_parameters",
    TABLES,
    sa.Column("JobID", SERIAL, primary_key=True, autoincrement=False),
    sa.Column("Name", sa.String(255), primary_key=True),
    sa.Column("Value", sa.Text(), nullable=False),
    sa.Column("Time", sa.BigInteger(), nullable=False),
)
sa.Table(
    "job_to_pilot",
    TABLES,
    sa.Column("JobID", SERIAL, primary_key=True, autoincrement=False),
    sa.Column("Attempt", sa.Integer(), primary_key=True, autoincrement=False),
    sa.Column("PilotStamp", sa.String(32), nullable=False),
    sa.Column("StartTime", sa.BigInteger(), nullable=False),
    sa.Index("jobs_of_pilot", "PilotStamp"),
)
sa.Table(
    "jobs",
    TABLES,
    sa.Column("JobID", SERIAL, primary_key=True),
    sa.Column("JobType", sa.String(32), nullable=False),
    sa.Column("JobGroup", sa.String(32), nullable=False),
    sa.Column("Site", sa.String(100), nullable=False),
    sa.Column("JobName", sa.String(128), nullable=False),
    sa.Column("Owner", sa.String(64), nullable=False),
    sa.Column("OwnerGroup", sa.String(128), nullable=False),
    sa.Column("VO", sa.String(64), nullable=False),
    sa.Column("SubmissionTime", sa.BigInteger(), nullable=False),
    sa.Column("RescheduleTime", sa.BigInteger()),
    sa.Column("LastUpdateTime", sa.BigInteger()),
    sa.Column("StartExecTime", sa.BigInteger()),
    sa.Column("HeartBeatTime", sa.BigInteger()),
    sa.Column("EndExecTime", sa.BigInteger()),
    sa.Column("Status", sa.String(32), nullable=False),
    sa.Column("MinorStatus", sa.String(128), nullable=False),
    sa.Column("ApplicationStatus", sa.String(255), nullable=False),
    sa.Column("UserPriority", sa.Integer(), nullable=False),
    sa.Column("RescheduleCounter", sa.Integer(), nullable=False),
    sa.Column("VerifiedFlag", sa.Boolean(), nullable=False),
    sa.Column("AccountedFlag", sa.Boolean(), nullable=False),
    sa.Column("PreemptedCounter", sa.Integer(), nullable=False),
    sa.Column("LastStatusTime", sa.BigInteger(), nullable=False),
    sa.Column("SubmitStart", sa.BigInteger(), nullable=False),
    sa.Column("SubmitEnd", sa.BigInteger(), nullable=False),
    sa.Column("WaitingTime", sa.BigInteger()),
    sa.Column("SubmitTraceparent", sa.String(64), nullable=False),
    sa.Index("jobs_by_owner", "Owner", "OwnerGroup"),
    sa.Index("jobs_by_status", "Status", "UserPriority", "JobID"),
    sqlite_autoincrement=True,
)
sa.Table(
    "leases",
    TABLES,
    sa.Column("Name", sa.String(64), primary_key=True),
    sa.Column("Holder", sa.String(64), nullable=False),
    sa.Column("ExpiryTime", sa.BigInteger(), nullable=False),
)
sa.Table(
    "pilots",
    TABLES,
    sa.Column("PilotID", SERIAL, primary_key=True),
    sa.Column("PilotStamp", sa.String(32), nullable=False),
    sa.Column("VO", sa.String(128), nullable=False),
    sa.Column("GridType", sa.String(32), nullable=False),
    sa.Column("GridSite", sa.String(128), nullable=False),
    sa.Column("DestinationSite", sa.String(128), nullable=False),
    sa.Column("PilotJobReference", sa.String(255), nullable=False),
    sa.Column("Queue", sa.String(128), nullable=False),
    sa.Column("Status", sa.String(32), nullable=False),
    sa.Column("StatusReason", sa.String(255), nullable=False),
    sa.Column("BenchMark", sa.Float(), nullable=False),
    sa.Column("CurrentJobID", SERIAL, nullable=False),
    sa.Column("SubmissionTime", sa.BigInteger(), nullable=False),
    sa.Column("LastUpdateTime", sa.BigInteger(), nullable=False),
    sa.UniqueConstraint("PilotStamp"),
    sqlite_autoincrement=True,
)
sa.Table(
    "request_operations",
    TABLES,
    sa.Column("RequestID", SERIAL, primary_key=True),
    sa.Column("Position", sa.Integer(), primary_key=True),
    sa.Column("Type", sa.String(64), nullable=False),
    sa.Column("Status", sa.String(16), nullable=False),
    sa.Column("Error", sa.String(500), nullable=False),
    sa.Column("Document", sa.Text(), nullable=False),
    sa.Column("DoneTime", sa.BigInteger()),
)
sa.Table(
    "requests",
    TABLES,
    sa.Column("RequestID", SERIAL, primary_key=True),
    sa.Column("RequestName", sa.String(255), nullable=False),
    sa.Column("JobID", SERIAL, nullable=False),
    sa.Column("Attempt", sa.Integer(), nullable=False),
    sa.Column("Checksum", sa.String(64), nullable=False),
    sa.Column("Status", sa.String(16), nullable=False),
    sa.Column("Failures", sa.Integer(), nullable=False),
    sa.Column("Error", sa.String(500), nullable=False),
    sa.Column("CreationTime", sa.BigInteger(), nullable=False),
    sa.Column("LastUpdateTime", sa.BigInteger(), nullable=False),
    sa.Column("NotBefore", sa.BigInteger(), nullable=False),
    sa.Column("Claim", sa.String(64)),
    sa.Column("LeaseUntil", sa.BigInteger()),
    sa.UniqueConstraint("JobID", "Attempt", "RequestName"),
    sa.Index("requests_by_status", "Status", "NotBefore"),
    sqlite_autoincrement=True,
)
sa.Table(
    "sandbox_mapping",
    TABLES,
    sa.Column("SBId", SERIAL, nullable=False),
    sa.Column("JobID", SERIAL, nullable=False),
    sa.Column("Type", sa.String(16), nullable=False),
    sa.UniqueConstraint("SBId", "JobID", "Type"),
    sa.Index("ix_sandbox_mapping_JobID", "JobID"),
)
sa.Table(
    "sandboxes",
    TABLES,
    sa.Column("SBId", SERIAL, primary_key=True),
    sa.Column("PFN", sa.String(512), nullable=False),
    sa.Column("Owner", sa.String(64), nullable=False),
    sa.Column("OwnerGroup", sa.String(128), nullable=False),
    sa.Column("VO", sa.String(64), nullable=False),
    sa.Column("Checksum", sa.String(64), nullable=False),
    sa.Column("Bytes", sa.BigInteger(), nullable=False),
    sa.Column("Stored", sa.Boolean(), nullable=False),
    sa.Column("RegistrationTime", sa.BigInteger(), nullable=False),
    sa.UniqueConstraint("PFN"),
    sqlite_autoincrement=True,
)
sa.Table(
    "system_facts",
    TABLES,
    sa.Column("Name", sa.String(64), primary_key=True),
    sa.Column("Value", sa.String(255)),
)


def upgrade() -> None:
    """Make them all."""
    TABLES.create_all(op.get_bind())
