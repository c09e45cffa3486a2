"""Removing a job for good: from every table that knows it, but for the ledger, which forgets nothing."""

from sqlalchemy import Connection, delete

from runner.server.db.elastic_job_parameters_db import PARAMETERS
from runner.server.db.job_attempts_db import ATTEMPTS
from runner.server.db.job_commands_db import COMMANDS
from runner.server.db.job_db import DESCRIPTIONS, JOBS
from runner.server.db.job_logging_db import LOGGING
from runner.server.db.job_usage_db import USAGE
from runner.server.db.pilot_agents_db import JOB_TO_PILOT
from runner.server.db.sandbox_metadata_db import MAPPING

TABLES = (LOGGING, PARAMETERS, COMMANDS, JOB_TO_PILOT, MAPPING, USAGE, ATTEMPTS, DESCRIPTIONS, JOBS)


def remove_job(connection: Connection, job_id: int) -> None:
    """Forget the job *job_id*."""
    for table in TABLES:
        connection.execute(delete(table).where(table.c.JobID == job_id))
