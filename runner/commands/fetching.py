"""Output sandboxes: from the store into a new folder."""

import tempfile
from pathlib import Path

from runner.data.archives import unpack
from runner.errors import ConfigError, NotFoundError
from runner.wms.client import WmsClient
from runner.wms.stores import WmsSandboxStore


def fetch_output(client: WmsClient, job_id: int, target: Path) -> list[str]:
    """Unpack the newest output sandbox of *job_id* into the new folder *target*; the names of its files.

    Raises:
        ConfigError: *target* exists. NotFoundError: there is no output sandbox. UnavailableError, RefusedError.
        HostileArchiveError: the archive breaks our rules; nothing is left of it.
    """
    if target.exists():
        raise ConfigError(f"{target} exists; name a new folder with --to")
    target.parent.mkdir(parents=True, exist_ok=True)
    store = WmsSandboxStore(client, job_id=job_id)
    stored = store.outputs()
    if not stored:
        raise NotFoundError(f"job {job_id} has no output sandbox (yet); `jobspan status {job_id}` shows where it is")
    with tempfile.TemporaryDirectory(prefix=".jobspan-output-", dir=target.parent) as temporary:
        archive = Path(temporary) / Path(stored[-1]).name.partition(":")[2]
        store.download(stored[-1], archive)
        files = Path(temporary) / "files"
        files.mkdir()
        unpack(archive, files, staging=Path(temporary))
        files.rename(target)
    return sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
