"""Several processes of one WMS: `jobspan wms`, each with a folder of its own, on one database and with one key."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import eventually

START_SECONDS = 120.0


@dataclass(frozen=True)
class ServerProcess:
    """A WMS that listens."""

    url: str
    folder: Path

    def token(self, name: str) -> str:
        """The token of `user`, `pilot` or `admin`."""
        return (self.folder / "tokens" / f"{name}.token").read_text().strip()


@contextmanager
def server_process(folder: Path, database: str, options: str = "") -> Iterator[ServerProcess]:
    """`jobspan wms` on *folder* and *database*; *options* are lines of its table [WMS]."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobspan.toml").write_text(
        f'[WMS]\nOwner = "alice"\nRequestPollingTime = 0\nDatabase = "{database}"\n{options}'
    )
    command = [Path(sys.executable).with_name("jobspan"), "--folder", folder, "wms"]
    with (folder / "log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url = folder / "wms.url"
            eventually(lambda: url.exists() or process.poll() is not None, START_SECONDS, str(folder))
            assert process.poll() is None, (folder / "log").read_text()
            yield ServerProcess(url.read_text().strip(), folder)
        finally:
            process.terminate()
            process.wait(START_SECONDS)


@contextmanager
def twins(folder: Path, database: str, count: int = 2, options: str = "") -> Iterator[list[ServerProcess]]:
    """*count* processes of one WMS on *database*."""
    with ExitStack() as stack:
        servers = [stack.enter_context(server_process(folder / "1", database, options))]
        for number in range(2, count + 1):
            # What is not in the database is shared by the sites' means; here it is copied.
            shutil.copytree(
                folder / "1" / "wms", folder / str(number) / "wms", ignore=shutil.ignore_patterns("*.sqlite*")
            )
            servers.append(stack.enter_context(server_process(folder / str(number), database, options)))
        yield servers
