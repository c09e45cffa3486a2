"""The output sandbox of an attempt whose wrapper died before it could upload it: what there is, by the same rules.

The end of the attempt does not wait for it long: what cannot be uploaded at once is uploaded with the deliveries,
as often as it takes, unless the store has refused it.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.agent.folders import JobFolder
from runner.config import JobWrapperConfig
from runner.errors import JobspanError, UnavailableError
from runner.job.status import JobStatus
from runner.process.starter import payload_user
from runner.wms.client import WmsClient
from runner.wms.stores import WmsSandboxStore
from runner.wms.tokens import TOKEN_FILE, JobTokenKeeper
from runner.wrapper.arguments import WrapperArguments
from runner.wrapper.outcome import error_type_of
from runner.wrapper.output_sandbox import ARCHIVE, Cuts, collect, pack_within
from telemetry.bus import Emit
from telemetry.catalogue import MOVED_BYTES, MOVED_FILES, MOVED_NAME
from telemetry.clock import Clock
from telemetry.entries import Entry
from telemetry.facts import (
    AttemptEnded,
    DataMoved,
    Fenced,
    OperationFinished,
    ParametersSet,
    PayloadPlanned,
    PayloadStarted,
    Scalar,
    StageName,
    StageStarted,
)

PACK, UPLOAD = "pack", "upload_output_sandbox"
#: The end waits so long for packing, and as long for the transfer.
AT_ONCE_SECONDS = 1.5
LATER_SECONDS = 60.0
#: After these a further try may succeed.
_TRANSIENT = ("unavailable",)
log = logging.getLogger("jobspan.agent")


@dataclass(frozen=True)
class Outputs:
    """Uploads in a dead wrapper's place, under the job's own token."""

    options: JobWrapperConfig
    job_client: Callable[[JobFolder], WmsClient]
    clock: Clock

    def is_wanted(self, entries: Sequence[Entry]) -> bool:
        """Whether there was a payload, and nobody has uploaded what it left."""
        facts = [entry.fact for entry in entries]
        return any(isinstance(fact, PayloadPlanned) for fact in facts) and not any(
            isinstance(fact, Fenced) or (isinstance(fact, DataMoved) and fact.kind == "output_sandbox")
            for fact in facts
        )

    def is_owed(self, entries: Sequence[Entry]) -> bool:
        """Whether an end that the agent wrote could not wait for the upload, which may still succeed."""
        facts = [entry.fact for entry in entries]
        ends = [fact for fact in facts if isinstance(fact, AttemptEnded)]
        tries = [fact for fact in facts if isinstance(fact, OperationFinished) and fact.name in (PACK, UPLOAD)]
        is_ours = any(fact.recorded_by == "agent" and fact.status != JobStatus.RESCHEDULED for fact in ends)
        return is_ours and self.is_wanted(entries) and bool(tries) and tries[-1].error_type in _TRANSIENT

    def save(self, folder: JobFolder, entries: Sequence[Entry], emit: Emit, within_seconds: float) -> bool:
        """Upload what is wanted, and say in facts what came of it; False: later perhaps."""
        if not self.is_wanted(entries) or not folder.work.is_dir():
            return True
        attempt = _Saving(self, folder, entries, emit, within_seconds)
        try:
            attempt.run()
        except (JobspanError, OSError) as error:
            log.warning("job %s: its outputs are not uploaded: %s", folder.root.name, error)
            return error_type_of(error) not in _TRANSIENT
        finally:
            for left in (folder.control / ARCHIVE, *folder.control.glob("cut_*")):
                left.unlink(missing_ok=True)
        return True


class _Saving:
    """One try."""

    def __init__(
        self, outputs: Outputs, folder: JobFolder, entries: Sequence[Entry], emit: Emit, within_seconds: float
    ) -> None:
        self._outputs = outputs
        self._folder = folder
        self._entries = entries
        self._emit = emit
        self._seconds = within_seconds
        self._give_up_at = time.monotonic() + within_seconds

    def run(self) -> None:
        """Pack, upload, assign.

        Raises:
            JobspanError, OSError: what the facts say, too.
        """
        archive = self._folder.control / ARCHIVE
        archive.unlink(missing_ok=True)  # of a wrapper that died while it packed
        with self._operation(PACK) as attributes:
            files, size, dropped = self._pack(archive)
            attributes.update({MOVED_FILES: files, MOVED_BYTES: size})
        if not files:
            return
        with self._operation(UPLOAD) as attributes:
            attributes[MOVED_BYTES] = size
            pfn = self._upload(archive)
            attributes[MOVED_NAME] = pfn
        self._emit(DataMoved(kind="output_sandbox", files=files, bytes=size, dropped_bytes=dropped))
        self._emit(ParametersSet(parameters={"OutputSandbox": pfn}))

    def _pack(self, archive: Path) -> tuple[int, int, int]:
        """Files, bytes of the archive, and bytes that did not fit."""
        control, work, options = self._folder.control, self._folder.work, self._outputs.options
        described = WrapperArguments.read(control / f"Wrapper_{self._folder.job_id}.json").description
        streams = (
            described.std_output or options.default_output_file,
            described.std_error or options.default_error_file,
        )
        owner = self._owner()
        found = collect(work, described.output_sandbox, owner)
        cuts = Cuts(work, control, owner, self._check)
        selection, size = pack_within(found, archive, cuts, options.output_sandbox_limit_bytes, streams)
        started = any(isinstance(entry.fact, PayloadStarted) for entry in self._entries)
        dropped = sum(selection.dropped.values())
        parameters: dict[str, Scalar] = {}
        if selection.missing and started:
            parameters["OutputSandboxMissingFiles"] = selection.missing_files
        if selection.dropped:
            parameters["OutputSandboxDroppedBytes"] = dropped
        if parameters:
            self._emit(ParametersSet(parameters=parameters))
        return len(selection.items), size, dropped

    def _owner(self) -> int | None:
        """The uid under which the payload ran, if it was not ours.

        Raises:
            ConfigError: there is no such user any more, so that nobody knows whose files these are.
        """
        users = [entry.fact.user for entry in self._entries if isinstance(entry.fact, PayloadPlanned)]
        return payload_user(users[-1]).uid if users and users[-1] else None

    def _upload(self, archive: Path) -> str:
        token = self._folder.control / TOKEN_FILE
        client = self._outputs.job_client(self._folder)
        try:
            JobTokenKeeper(client, token, self._folder.job_id, self._outputs.clock).keep()
            store = WmsSandboxStore(client, job_id=self._folder.job_id, transfer_timeout_seconds=self._seconds)
            return store.upload_output(archive)
        finally:
            client.close()

    def _check(self) -> None:
        if time.monotonic() > self._give_up_at:
            raise UnavailableError("packing takes too long for now")

    @contextlib.contextmanager
    def _operation(self, name: str) -> Iterator[dict[str, Scalar]]:
        """As the wrapper tells of it: a part of the stage that its death left open."""
        start_ns = self._outputs.clock.boottime_ns()
        attributes: dict[str, Scalar] = {}
        error_type = ""
        try:
            yield attributes
        except (JobspanError, OSError) as error:
            error_type = error_type_of(error)
            raise
        finally:
            self._emit(
                OperationFinished(
                    name=name,
                    stage=self._stage(),
                    start_boottime_ns=start_ns,
                    end_boottime_ns=self._outputs.clock.boottime_ns(),
                    attributes=attributes,
                    error_type=error_type,
                )
            )

    def _stage(self) -> StageName:
        stages: list[StageName] = [entry.fact.stage for entry in self._entries if isinstance(entry.fact, StageStarted)]
        return stages[-1] if stages else "initialize"
