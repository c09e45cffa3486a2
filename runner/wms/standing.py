"""What the deliverer of a job knows: how the WMS has answered, how the attempt ends, which heartbeat waits."""

from collections.abc import Callable
from dataclasses import dataclass, field

from runner.job.status import JobStatus, MinorStatus
from runner.wms.answers import KeptStatus
from telemetry.entries import Entry

#: Two heartbeats with numbers within a second are HTTP 500 on DiracX.
HEARTBEAT_SPACING_NS = 1_100_000_000
#: How a job ends that somebody has killed.
KILLED = (JobStatus.KILLED, MinorStatus.RECEIVED_KILL_SIGNAL)


@dataclass(frozen=True)
class Naming:
    """The claim of this execution, and what keeps the token that the WMS gives for it."""

    claim: str
    adopt: Callable[[str], None]


@dataclass
class Standing:
    """What the answers so far say about the attempt."""

    #: Why the attempt is not ours any more; empty while it is.
    fenced: str = ""
    #: The WMS (or its Kill) has ended the job: no status is sent from now on.
    killed: bool = False
    #: What the attempt is for the WMS since then.
    end: tuple[str, str] = KILLED
    #: The WMS knows that its Kill was heard.
    kill_confirmed: bool = False
    #: How our Running fared: "accepted", "refused", or empty while it is not answered.
    running: str = ""
    kept: KeptStatus | None = None
    #: Whether all of a moment is reported in one call, as far as is known that the WMS has it.
    in_one: bool = False
    #: How this execution gets its name; None when it has it, or needs none.
    naming: Naming | None = None


@dataclass
class Ending:
    """What the journal says about the end of the attempt."""

    uid: str = ""
    wants_next: bool = False
    preempted: bool = False
    #: The last status that was said, and whether that was a Rescheduled which the WMS takes.
    before: str = JobStatus.MATCHED
    is_said: bool = False


@dataclass
class Heartbeat:
    """The newest one that waits, and when the last one with numbers was sent."""

    entry: Entry | None = None
    sent_boottime_ns: int = -HEARTBEAT_SPACING_NS
    #: What the payload has written so far, by stream.
    output_bytes: dict[str, int] = field(default_factory=dict)
