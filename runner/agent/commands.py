"""Commands for the jobs of this agent: fetched in one call for all, passed to the wrappers, acknowledged."""

import logging
import threading
from collections.abc import Callable, Sequence

from runner.agent.folders import JobFolder
from runner.backoff import Backoff
from runner.errors import JobspanError, UnavailableError
from runner.job.status import MinorStatus
from runner.wms.answers import Command
from runner.wms.client import WmsClient
from runner.wrapper.control import send_command

#: One call waits this long: a job that starts meanwhile is asked for in the next one, well within 2 s.
WAIT_SECONDS = 1.0
#: A wrapper answers on its control socket at once, or not at all.
WRAPPER_SECONDS = 2.0
log = logging.getLogger("jobspan.agent")


class Commands:
    """A thread that waits at the WMS for commands as long as there are jobs."""

    def __init__(self, client: WmsClient, stamp: str, jobs: Callable[[], Sequence[JobFolder]]) -> None:
        """*jobs* gives those whose wrappers live."""
        self._client = client
        self._stamp = stamp
        self._jobs = jobs
        self._backoff = Backoff(longest_seconds=5.0)
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commands", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def jobs_changed(self) -> None:
        """There may be a job now."""
        self._changed.set()

    def stop(self) -> None:
        """End; a call that waits at the WMS is left alone, since no command is lost by that."""
        self._ended.set()
        self._changed.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            folders = self._jobs()
            if not folders:
                self._changed.wait()
                self._changed.clear()
                continue
            try:
                self._poll(folders)
                self._backoff.succeeded()
            except JobspanError as error:
                retry_after = error.retry_after_seconds if isinstance(error, UnavailableError) else None
                pause = self._backoff.failed(retry_after)
                if self._backoff.failures == 1:
                    log.warning("no commands can be fetched now: %s", error)
                self._ended.wait(pause)
            except Exception as error:  # noqa: BLE001 - the thread must live: a kill has to get through
                log.error("commands stumbled: %r", error)
                self._ended.wait(self._backoff.failed())

    def _poll(self, folders: Sequence[JobFolder]) -> None:
        by_attempt = {(folder.job_id, folder.attempt): folder for folder in folders}
        commands = self._client.commands(self._stamp, list(by_attempt), WAIT_SECONDS)
        done = [
            command.command_id
            for command in commands
            if (folder := by_attempt.get((command.job_id, command.attempt))) and self._pass_on(command, folder)
        ]
        if done:
            self._client.acknowledge_commands(done)
        elif commands:  # the wrapper does not listen yet; the WMS says it again at once
            self._ended.wait(self._backoff.failed())

    def _pass_on(self, command: Command, folder: JobFolder) -> bool:
        """Whether the command needs no repetition."""
        if command.command != "Kill":
            log.warning("job %d: unknown command %s", command.job_id, command.command[:40])
            return True
        try:
            kill = {"command": "Kill", "reason": command.reason or MinorStatus.RECEIVED_KILL_SIGNAL}
            accepted = send_command(folder.control, kill, WRAPPER_SECONDS)
        except OSError as error:  # it does not listen yet, or no more
            log.info("job %d: kill not delivered yet: %s", command.job_id, error)
            return False
        log.info("job %d: kill %s", command.job_id, "passed on" if accepted else "not accepted")
        return accepted
