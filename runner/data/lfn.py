"""Logical file names: DIRAC's convention for the output data of a job. Pure.

``/<vo>/user/<o>/<owner>/<JobID//1000>/<JobID>/<file>``, or with OutputPath
``/<vo>/user/<o>/<owner>/<OutputPath>/<file>``; a name that the job gives as ``LFN:/...`` stays as
it is (DIRAC's JobWrapper).
"""

import re
from dataclasses import dataclass

from runner.errors import PermanentJobError

PREFIX = "LFN:"
_PLAIN = re.compile(r"(/[^/\0\n\ud800-\udfff]{1,255}){2,}")
_LONGEST = 255


@dataclass(frozen=True)
class Owner:
    """Whose files they are."""

    vo: str
    name: str

    @property
    def home(self) -> str:
        """The folder of the owner's files."""
        return f"/{self.vo}/user/{self.name[:1]}/{self.name}"


def output_lfn(owner: Owner, job_id: int, file: str, output_path: str = "") -> str:
    """The logical name of the output *file* (a name below the job's folder, or ``LFN:/...``).

    Raises:
        PermanentJobError: the result would be no valid logical name.
    """
    if is_lfn(file):
        return checked(strip(file))
    base = file.rpartition("/")[2]
    if not output_path:
        return checked(f"{owner.home}/{job_id // 1000}/{job_id}/{base}")
    if is_lfn(output_path) or output_path.startswith("/"):
        return checked(f"{strip(output_path).rstrip('/')}/{base}")
    return checked(f"{owner.home}/{output_path.strip('/')}/{base}")


def is_lfn(name: str) -> bool:
    """Whether *name* is marked as a logical name."""
    return name[: len(PREFIX)].upper() == PREFIX


def strip(name: str) -> str:
    """*name* without its ``LFN:``."""
    return name[len(PREFIX) :] if is_lfn(name) else name


def checked(lfn: str) -> str:
    """*lfn*, if it is an absolute, normal path of at least two steps.

    Raises:
        PermanentJobError: it is not.
    """
    steps = lfn.split("/")
    if not _PLAIN.fullmatch(lfn) or ".." in steps or "." in steps or len(lfn.encode()) > _LONGEST:
        raise PermanentJobError(f"{lfn!r} is not a logical file name", error_type="invalid_lfn")
    return lfn
