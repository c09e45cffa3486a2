"""How a wrapper process comes into being. It is always a child of ours, so that wait4 tells its end."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from runner.errors import UnavailableError


class Spawner(Protocol):
    """Starts `Wrapper_<JobID>` scripts."""

    def spawn(self, script: Path, log: Path) -> int:
        """Run *script* as a process of its own session, its output appended to *log*; the pid of our new child.

        Raises:
            UnavailableError: no process can be made now.
        """
        ...

    def pids(self) -> frozenset[int]:
        """Children of ours that serve the spawner itself and are no wrappers."""
        ...

    def close(self) -> None:
        """No more wrappers. Those that run are not touched."""
        ...


class InterpreterSpawner:
    """A new interpreter for each wrapper: `python -I Wrapper_<JobID>`. Costs its imports every time."""

    def spawn(self, script: Path, log: Path) -> int:
        """See `Spawner.spawn`."""
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=script.parent,
                start_new_session=True,
            )
        except OSError as error:
            raise UnavailableError(f"no wrapper can be started: {error.strerror}") from error
        finally:
            os.close(output)
        # Its end is awaited through a pidfd by the computing element; Popen must neither wait nor complain.
        process.returncode = 0
        return process.pid

    def pids(self) -> frozenset[int]:
        """None."""
        return frozenset()

    def close(self) -> None:
        """Nothing to end."""
