"""The stage `process_job_outputs`: whatever became of the job, its owner gets what it has written.

It runs for every attempt that has a working directory; output data only for a job without a problem.
A job that was told to stop gets a short, bounded upload: KillGracePeriod seconds.
"""

from runner.wrapper.attempt import Attempt
from runner.wrapper.output_data import upload_output_data
from runner.wrapper.output_sandbox import upload_output_sandbox


def process_job_outputs(attempt: Attempt) -> None:
    """Upload output sandbox and output data.

    Raises:
        UnavailableError, TransientJobError: something could not be stored now.
        RefusedError, PermanentJobError: it never can.
        Cancelled: the job was told to stop, and the patience is over.
    """
    description = attempt.parts.arguments.description
    patient = attempt.interruptible.patient(attempt.options.kill_grace_seconds)
    if description.output_sandbox:
        upload_output_sandbox(attempt, patient)
    if description.output_data and attempt.problem is None:
        upload_output_data(attempt, patient)
