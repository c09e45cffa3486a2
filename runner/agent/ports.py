"""What an agent needs from outside, declared where it is used; `runner.compose` brings the implementations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from runner.agent.folders import JobFolder
from runner.computing.inprocess import InProcessComputingElement
from runner.wms.client import WmsClient

#: Writes `Wrapper_<JobID>` and its arguments into a control folder: (control, job id, arguments) -> script.
WriteWrapper: TypeAlias = Callable[[Path, int, Mapping[str, Any]], Path]


class AgentObserver(Protocol):
    """Who follows the jobs of a node: metrics and the shipping of telemetry. Must not block for long."""

    def on_attempt_started(self, control: Path) -> None:
        """A journal begins in *control*."""
        ...

    def on_room(self, shortage: Mapping[str, str]) -> None:
        """What the agent is short of ("disk", "outbox"), and in words; while it is, it takes no new job."""
        ...

    def on_attempt_ended(self, control: Path) -> None:
        """The attempt has ended, and its journal says how. May be told again by a later agent."""
        ...

    def close(self) -> None:
        """The agent ends; ship what is left."""
        ...


class RecordDelivery(Protocol):
    """Brings the accounting record of an ended attempt to the WMS."""

    @property
    def retry_after_seconds(self) -> float | None:
        """What the WMS asked for when it did not take the last one."""
        ...

    def deliver(self, control: Path, client: WmsClient) -> bool:
        """Send what is due; True when nothing is left to send. Only for the holder of the job's `deliver.lock`."""
        ...


@dataclass(frozen=True, kw_only=True)
class AgentParts:
    """All that an agent is put together from. `client` has its own rights, `job_client` makes one for an attempt."""

    client: WmsClient
    job_client: Callable[[JobFolder], WmsClient]
    computing_element: InProcessComputingElement
    observer: AgentObserver
    records: RecordDelivery
    write_wrapper: WriteWrapper
    #: Where the metrics of this node are served, for Prometheus to find by the WMS; None: it is not told.
    metrics_port: int | None = None
