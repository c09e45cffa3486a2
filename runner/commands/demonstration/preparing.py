"""Before the jobs run: data in storage and catalogue, hostile sandboxes in the store, all of them handed in."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from runner.commands.demonstration.manifest import DataFile, DemoJob, Manifest
from runner.commands.packing import JobFile, read_job, submit
from runner.config import Config
from runner.data.storage import FolderStorageElement
from runner.data.transfers import adler32_of
from runner.errors import ConfigError
from runner.wms.answers import CatalogFile
from runner.wms.client import WmsClient
from runner.wms.stores import WmsSandboxStore

#: Content of the file that hostile sandboxes try to overwrite.
CANARY = "still here\n"
#: Prefix of every name that a hostile sandbox tries to write.
ESCAPED = "escaped"
SCRIPT_SECONDS = 120


class Preparation:
    """One demonstration in one folder."""

    def __init__(self, manifest: Manifest, config: Config, tell: Callable[[str], None]) -> None:
        self._manifest = manifest
        self._config = config
        self._tell = tell

    @property
    def outside(self) -> Path:
        """The folder that hostile sandboxes aim at."""
        return self._config.folder / "outside"

    def make_data(self) -> dict[str, Path]:
        """The data files by LFN; each is made once and kept in the folder's cache."""
        return {data.lfn: self._cached(data) for data in self._manifest.data}

    def register(self, client: WmsClient, files: dict[str, Path]) -> None:
        """Store the data files and make them known in the catalogue; the second time nothing happens."""
        for data in self._manifest.data:
            path = files[data.lfn]
            size, checksum = path.stat().st_size, adler32_of(path)
            known = client.catalog_lookup([data.lfn]).get(data.lfn)
            if known and (known.size_bytes, known.adler32) == (size, checksum):
                continue
            element = FolderStorageElement(data.storage_element, self._config.folder / "storage" / data.storage_element)
            pfn = element.put(path, data.lfn)
            catalog = self._config.wms.catalogs[0]
            client.catalog_register(catalog, data.lfn, CatalogFile(size, checksum, {element.name: pfn}))

    def hand_in(self, client: WmsClient) -> list[int]:
        """Submit all jobs in one call; their numbers in the manifest's order."""
        jobs = [read_job(self._manifest.folder / job.file) for job in self._manifest.jobs]
        self._tell(f"submitting {len(jobs)} jobs")
        hostile = [
            self._with_hostile_sandbox(job, file, client) for job, file in zip(self._manifest.jobs, jobs, strict=True)
        ]
        return submit(hostile, client)

    def _with_hostile_sandbox(self, job: DemoJob, file: JobFile, client: WmsClient) -> JobFile:
        if not job.sandbox_script:
            return file
        self.outside.mkdir(exist_ok=True)
        (self.outside / "canary").write_text(CANARY)
        archive = self._config.folder / "cache" / "hostile.tar.gz"
        archive.parent.mkdir(exist_ok=True)
        self._script(job.sandbox_script, archive, self.outside)
        pfn = WmsSandboxStore(client).upload(archive)
        return replace(file, description=replace(file.description, input_sandbox=(pfn,)))

    def _cached(self, data: DataFile) -> Path:
        script = self._manifest.folder / data.script
        path = self._config.folder / "cache" / Path(data.lfn).name
        if path.is_file() and path.stat().st_mtime > script.stat().st_mtime:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        self._tell(f"making {data.lfn} (once)")
        self._script(data.script, part)
        part.rename(path)
        return path

    def _script(self, name: str, *arguments: Path) -> None:
        command = [sys.executable, "-I", str(self._manifest.folder / name), *map(str, arguments)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SCRIPT_SECONDS)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise ConfigError(f"{name} failed with exit code {done.returncode}: {last}")
