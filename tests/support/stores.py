"""Real servers beside the database: S3 for sandboxes, OpenSearch for parameters. `make servers` builds them."""

import contextlib
import http.client
import secrets
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from tests.support.components import require, s3_server, search_server
from tests.support.databases import spawn
from tests.support.ports import free_port
from tests.support.waiting import eventually

READY_SECONDS = 120.0


class StoreServer(ABC):
    """A server on loopback, in a temporary folder."""

    #: Of the component that must be there, and what is asked to see whether it serves.
    kind: str
    probe: str = ""

    def __init__(self) -> None:
        require(self.kind)
        self.folder = Path(tempfile.mkdtemp(prefix=f"jobspan-test-{self.kind}-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @abstractmethod
    def command(self) -> list[str]:
        """What runs it in the foreground."""

    def start(self) -> None:
        """Start it, also again, and wait until it answers."""
        log = self.folder / "log"
        self._process = process = spawn(self.command(), log)

        def answers() -> bool:
            assert process.poll() is None, log.read_text()[-2000:]
            return self.is_ready()

        eventually(answers, READY_SECONDS, self.kind)

    def is_ready(self) -> bool:
        """Whether it serves."""
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=READY_SECONDS)
            with contextlib.closing(connection):
                connection.request("GET", self.probe)
                return connection.getresponse().status == 200
        return False

    def stop(self) -> None:
        """End it; what it has stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(READY_SECONDS)
            self._process = None

    def close(self) -> None:
        """End it, and remove what it has."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class S3Server(StoreServer):
    """Versity's gateway: a bucket is a folder, an object is a file."""

    kind, probe = "s3", "/health"

    def __init__(self) -> None:
        self.key_id, self.secret_key = "AKIATESTS", secrets.token_hex(16)
        super().__init__()

    def command(self) -> list[str]:
        """With one account, that may do everything."""
        (self.folder / "buckets").mkdir(exist_ok=True)
        options = ["--quiet", "--health", "/health", "--port", f"127.0.0.1:{self.port}"]
        account = ["--access", self.key_id, "--secret", self.secret_key]
        return [str(s3_server()), *options, *account, "posix", str(self.folder / "buckets")]

    def bucket(self) -> Path:
        """A new bucket."""
        made = Path(tempfile.mkdtemp(prefix="bucket-", dir=self.folder / "buckets"))
        renamed = made.with_name(f"sandboxes-{secrets.token_hex(4)}")  # names of buckets are in small letters
        return made.rename(renamed)

    def options(self, bucket: Path | None = None) -> dict[str, Any]:
        """Of `[WMS]`, for sandboxes in that bucket, else in a new one."""
        credentials = self.folder / "credentials"
        credentials.write_text(
            f"[default]\naws_access_key_id = {self.key_id}\naws_secret_access_key = {self.secret_key}\n"
        )
        return {
            "SandboxBucket": (bucket or self.bucket()).name,
            "SandboxEndpoint": self.url,
            "SandboxCredentialsFile": str(credentials),
        }


class SearchServer(StoreServer):
    """OpenSearch, one node, with a small heap."""

    kind, probe = "opensearch", "/_cluster/health?wait_for_status=yellow&timeout=30s"

    def command(self) -> list[str]:
        """Its Java quick to start, rather than quick to run."""
        found = search_server()
        java = ["java", "-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
        return [*java, "-cp", f"{found}/classes:{found}/lib/*", "SearchServer", str(self.folder), str(self.port)]
