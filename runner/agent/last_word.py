"""How the WMS keeps the end of an attempt that the agent writes: asked before it is written, as the wrapper does."""

from dataclasses import replace
from pathlib import Path

from runner.agent.recovery import fenced, killed, words_of_wms
from runner.errors import FencedError
from runner.job.status import JobStatus, MinorStatus
from runner.locks import FileLock
from runner.wms.client import WmsClient
from runner.wms.delivery import Delivery
from runner.wms.reporter import DELIVER_LOCK
from runner.wms.tokens import TOKEN_FILE, JobTokenKeeper
from telemetry.clock import Clock
from telemetry.facts import AttemptEnded


def last_word(control: Path, client: WmsClient, job_id: int, clock: Clock, end: AttemptEnded) -> AttemptEnded:
    """Deliver all that the journal in *control* says, and ask for the next attempt if *end* is Rescheduled.

    The end as the WMS keeps it: a user may have killed the job, or the WMS may have gone on without this attempt.

    Raises:
        UnavailableError: the WMS does not answer. LockHeld: somebody delivers.
    """
    with FileLock.take(control / DELIVER_LOCK):
        delivery = Delivery(control, client, job_id=job_id, clock=clock)
        delivery.collect()
        return _kept(delivery, JobTokenKeeper(client, control / TOKEN_FILE, job_id, clock), end)


def _kept(delivery: Delivery, token: JobTokenKeeper, end: AttemptEnded) -> AttemptEnded:
    goes_back = end.status == JobStatus.RESCHEDULED
    said_before = delivery.is_reported
    try:
        token.keep()
        delivery.push(last=True)
    except FencedError as error:
        delivery.fence(str(error))
        # Said by a recovery before us, which may have got as far as the next attempt: then it was we who went on.
        return end if goes_back and said_before else fenced()
    if delivery.standing.killed:
        return killed(delivery.standing.end[1])
    if goes_back:
        return _next_attempt(delivery, end)
    status, minor_status = words_of_wms(end, delivery.standing, None) or (end.status, end.minor_status)
    return replace(end, status=status, minor_status=minor_status)


def _next_attempt(delivery: Delivery, end: AttemptEnded) -> AttemptEnded:
    try:
        refusal = delivery.reschedule(preempted=end.error_type == "preempted")
    except FencedError:  # by a call of ours whose answer was lost
        delivery.reschedule_was_lost()
        return end
    if refusal is None:
        kept = delivery.standing.kept
        if kept is not None and kept.status not in (None, "", JobStatus.RESCHEDULED):
            return replace(end, minor_status=MinorStatus.JOB_RESCHEDULED)  # the status was refused, as from Completing
        return end
    status, minor_status = refusal.status, refusal.minor_status
    if not (status and minor_status):  # DiracX refuses beyond the maximum only, and does not say what it keeps
        status, minor_status = JobStatus.FAILED, MinorStatus.MAXIMUM_OF_RESCHEDULINGS
    return replace(end, status=status, minor_status=minor_status)
