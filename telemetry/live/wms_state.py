"""What the WMS's metrics are made of, as values: what there is in its databases, and how its process fares. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

#: (OwnerGroup, JobType, Site): what the WMS keeps of jobs as columns; their task queues are finer.
Kind: TypeAlias = tuple[str, str, str]
#: All kinds that have no series of their own.
OTHER_KIND: Kind = ("other", "other", "other")


@dataclass(frozen=True, kw_only=True)
class WmsState:
    """What there is in the databases: jobs by status, waiting ones by kind, and what else waits."""

    jobs: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[Kind, int] = field(default_factory=dict)
    task_queues: int = 0
    longest_wait_seconds: float = 0.0
    requests: Mapping[str, int] = field(default_factory=dict)
    commands: int = 0
    sandboxes: int = 0
    sandbox_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class ProcessState:
    """How the process fares: calls under way by route, spans that wait for a sink, spans dropped by reason."""

    in_progress: Mapping[str, int] = field(default_factory=dict)
    spans_queued: int = 0
    spans_dropped: Mapping[str, int] = field(default_factory=dict)
