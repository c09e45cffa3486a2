"""Submission: descriptions from files, local input files into a sandbox, both to the WMS."""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runner.errors import DescriptionError, RefusedError
from runner.job.description import JobDescription, parse
from runner.wms.client import WmsClient
from runner.wms.stores import WmsSandboxStore

STANDARD_INPUT = Path("-")


@dataclass(frozen=True)
class JobFile:
    """A description and the folder to which the names in its input sandbox are relative."""

    path: Path
    description: JobDescription
    folder: Path


def read_job(path: Path) -> JobFile:
    """Read the description in *path*; ``-`` is standard input.

    Raises:
        DescriptionError: unreadable or wrong; with file, line and field.
    """
    source = "standard input" if path == STANDARD_INPUT else str(path)
    try:
        text = sys.stdin.read() if path == STANDARD_INPUT else path.read_text()
    except OSError as error:
        raise DescriptionError(f"cannot be read ({error.strerror}); name an existing file", source=source) from error
    except UnicodeDecodeError as error:
        raise DescriptionError("is not UTF-8 text", source=source) from error
    description = parse(text, source=source)
    folder = Path.cwd() if path == STANDARD_INPUT else path.absolute().parent
    for name in local_files(description):
        if not (folder / name).is_file():
            raise DescriptionError(f"there is no file {folder / name}", source=source, field="InputSandbox")
    return JobFile(path, description, folder)


def local_files(description: JobDescription) -> list[str]:
    """The names in its input sandbox that are files on this machine."""
    return [name for name in description.input_sandbox if not name.startswith(("SB:", "LFN:"))]


def upload_inputs(job: JobFile, client: WmsClient) -> JobDescription:
    """Store the local input files as one sandbox; the description with the sandbox in their place.

    Raises:
        RefusedError, UnavailableError: the store.
    """
    from runner.data.archives import pack

    names = local_files(job.description)
    if not names:
        return job.description
    with tempfile.TemporaryDirectory(prefix="jobspan-submit-") as temporary:
        archive = Path(temporary) / "input.tar.zst"
        pack([(name, _opener(job.folder / name)) for name in names], archive)
        pfn = WmsSandboxStore(client).upload(archive)
    others = tuple(name for name in job.description.input_sandbox if name not in names)
    return replace(job.description, input_sandbox=(pfn, *others))


def submit(jobs: Sequence[JobFile], client: WmsClient) -> list[int]:
    """Hand in *jobs*, with their input files; their numbers in the same order.

    Raises:
        RefusedError, UnavailableError: the WMS; nothing was submitted then.
    """
    jdls = [upload_inputs(job, client).to_jdl() for job in jobs]
    try:
        return [job.job_id for job in client.submit(jdls)]
    except RefusedError as error:
        if error.status_code == 400:
            raise DescriptionError(f"the WMS does not take it: {error}", source=_names(jobs)) from error
        raise


def _opener(path: Path) -> Callable[[], int]:
    return lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _names(jobs: Sequence[JobFile]) -> str:
    return ", ".join(str(job.path) for job in jobs)
