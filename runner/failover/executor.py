"""RequestExecutor: takes requests that are due, and does what they ask for (DIRAC's RequestExecutingAgent).

A claim makes a request ours until its lease ends; while an operation runs, the lease is renewed.
Whoever has lost the claim reports nothing, so that no operation is counted twice; one that ran and
could not be reported is done again, which changes nothing.
"""

import logging
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from runner.backoff import Backoff
from runner.errors import JobspanError, RefusedError, UnavailableError
from runner.failover.operations import Operations
from runner.failover.ports import RequestQueue
from runner.job.requests import ClaimedRequest, OperationOutcome, read_operation

DONE = "Done"
#: How often a report is tried; later the lease ends, and somebody does the operation again.
REPORT_TRIES = 4
#: So many requests are named in one call.
MOST_AT_ONCE = 1000
log = logging.getLogger("jobspan.requests")


@dataclass(frozen=True)
class Executed:
    """A request that was tried: its status now, and what stands in its way."""

    request_id: int
    name: str
    job_id: int
    status: str
    error: str


class RequestExecutor:
    """Executes requests. For one thread."""

    def __init__(
        self,
        queue: RequestQueue,
        operations: Operations,
        *,
        redact: Callable[[str], str],
        stop: threading.Event | None = None,
    ) -> None:
        """*redact* masks secrets in errors; *stop* ends everything after the present operation."""
        self._queue = queue
        self._operations = operations
        self._redact = redact
        self._stop = stop or threading.Event()

    def run(self, request_ids: Sequence[int] | None = None) -> list[Executed]:
        """Execute what is due, each request once; with *request_ids* those, due or not.

        Raises:
            UnavailableError: the WMS does not answer. RefusedError: this is not ours to do.
        """
        return self._run_due() if request_ids is None else self._run_named(request_ids)

    def _run_due(self) -> list[Executed]:
        """The queue gives what waits longest: one that comes again comes after all that were due, and is the last."""
        executed: list[Executed] = []
        tried: set[int] = set()
        while not self._stop.is_set():
            last = [each.request_id for each in executed[-MOST_AT_ONCE:]]
            request = self._queue.claim_request(None, last)
            if request is None:
                break
            executed.append(self._execute(request))
            if request.request_id in tried:
                break
            tried.add(request.request_id)
        return executed

    def _run_named(self, request_ids: Sequence[int]) -> list[Executed]:
        executed: list[Executed] = []
        left = list(dict.fromkeys(request_ids))
        while left and not self._stop.is_set():
            some = left[:MOST_AT_ONCE]
            request = self._queue.claim_request(some)
            done = some if request is None else [request.request_id]
            left = [each for each in left if each not in done]
            if request is not None:
                executed.append(self._execute(request))
        return executed

    def serve(self, polling_seconds: float) -> None:
        """Execute what is due after each pause of *polling_seconds*, until told to stop."""
        backoff = Backoff(first_seconds=polling_seconds, longest_seconds=max(60.0, polling_seconds))
        pause = polling_seconds
        while not self._stop.wait(pause):
            pause = polling_seconds
            try:
                self.run()
                backoff.succeeded()
            except JobspanError as error:
                pause = backoff.failed()
                if not self._stop.is_set():
                    log.warning("requests cannot be executed now: %s", self._redact(str(error)))

    def _execute(self, request: ClaimedRequest) -> Executed:
        status, error = "Waiting", ""
        for order, document in enumerate(request.operations, 1):
            if document.get("Status") == DONE:
                continue
            if self._stop.is_set():
                break
            with self._kept(request) as claim:
                outcome, error = self._try(request, order)
            if claim.lost:
                error = "another executor has taken it"
                break
            try:
                status = self._report(request, order, outcome, error)
            except (RefusedError, UnavailableError) as trouble:
                error = self._redact(str(trouble))
                break
            log.info("request %s: operation %d: %s %s", request.name, order, outcome, error)
            if outcome != DONE:
                break
        return Executed(request.request_id, request.name, request.job_id, status, error)

    def _try(self, request: ClaimedRequest, order: int) -> tuple[OperationOutcome, str]:
        """Do one operation; what came of it, in words without secrets."""
        try:
            operation = read_operation(request.operations[order - 1], f"operation {order}")
            self._operations.execute(request, operation)
        except (UnavailableError, OSError) as error:
            return "Retry", self._redact(str(error))
        except RefusedError as error:
            # Our own token may be renewed meanwhile; everything else that is refused stays so.
            return "Retry" if error.status_code == 401 else "Failed", self._redact(str(error))
        except JobspanError as error:
            return "Failed", self._redact(str(error))
        except Exception as error:  # noqa: BLE001 - one request that we cannot handle must not stop the others
            log.warning("request %s: operation %d: %s", request.name, order, self._redact(traceback.format_exc()))
            return "Retry", self._redact(f"{type(error).__name__}: {error}")
        return "Done", ""

    def _report(self, request: ClaimedRequest, order: int, outcome: OperationOutcome, error: str) -> str:
        backoff = Backoff()
        while True:
            try:
                return self._queue.report_operation(request, order, outcome, error)
            except UnavailableError as trouble:
                pause = backoff.failed(trouble.retry_after_seconds)
                if backoff.failures >= REPORT_TRIES or self._stop.wait(pause):
                    raise

    @contextmanager
    def _kept(self, request: ClaimedRequest) -> Iterator["_Claim"]:
        """Renew the lease while something is done under it."""
        claim = _Claim(self._queue, request)
        thread = threading.Thread(target=claim.keep, name="lease", daemon=True)
        thread.start()
        try:
            yield claim
        finally:
            claim.over.set()
            thread.join()


class _Claim:
    """Our claim on a request. `lost`: somebody else has it now."""

    def __init__(self, queue: RequestQueue, request: ClaimedRequest) -> None:
        self.over = threading.Event()
        self.lost = False
        self._queue = queue
        self._request = request

    def keep(self) -> None:
        """Renew it until `over`."""
        while not self.over.wait(self._request.lease_seconds / 3):
            try:
                self._queue.renew_request(self._request)
            except RefusedError:
                self.lost = True
                return
            except UnavailableError as error:
                log.warning("the lease of request %s is not renewed: %s", self._request.name, error)
