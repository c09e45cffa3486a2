"""Sub-spans: parts of a stage that deserve one, as facts; and which stage it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from runner.wrapper.outcome import error_type_of
from telemetry.bus import Emit
from telemetry.clock import Clock
from telemetry.facts import OperationFinished, Scalar, StageName


class Progress:
    """Which stage runs now. Shared with whoever makes sub-spans of calls that stages cause elsewhere (HTTP)."""

    def __init__(self) -> None:
        self.stage: StageName = "initialize"
        #: The end of finalize is written: what comes now belongs to no stage.
        self.over = False


class Operations:
    """Makes a fact of everything that runs inside `with operations(name) as attributes`."""

    def __init__(self, emit: Emit, clock: Clock, progress: Progress) -> None:
        self._emit = emit
        self._clock = clock
        self._progress = progress

    @contextmanager
    def __call__(self, name: str) -> Iterator[dict[str, Scalar]]:
        """Time what happens inside as the operation *name* of the present stage; a failure is part of the fact."""
        stage, start_ns = self._progress.stage, self._clock.boottime_ns()
        attributes: dict[str, Scalar] = {}
        error_type = message = ""
        try:
            yield attributes
        except BaseException as error:
            error_type, message = error_type_of(error), str(error)
            raise
        finally:
            self._emit(
                OperationFinished(
                    name=name,
                    stage=stage,
                    start_boottime_ns=start_ns,
                    end_boottime_ns=self._clock.boottime_ns(),
                    attributes=attributes,
                    error_type=error_type,
                    message=message,
                )
            )
