"""Job descriptions that were submitted to a DiracX server from this folder.

DiracX has no call that gives a description back, so whoever runs a job there must have it. And its
parser of descriptions (ClassAdLight) has traps: a square bracket in a text makes the whole server hang, a
semicolon cuts the text off, a quote makes the job unreadable. Such a description is refused here, in words.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner.errors import DescriptionError, NotFoundError
from runner.job.description import JobDescription, from_mapping
from runner.wms.tokens import write_secret

#: What a text of a description must not contain, as measured on DiracX 0.7.0.
UNREADABLE = frozenset(';[]"\n\r')


class Descriptions:
    """A file for each job, for its owner alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, job_id: int, description: JobDescription) -> None:
        """Remember what job *job_id* is to do."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_secret(self._path(job_id), json.dumps(description.to_mapping()), durable=True)

    def of(self, job_id: int) -> JobDescription:
        """What job *job_id* is to do.

        Raises:
            NotFoundError: it was not submitted from this folder.
        """
        try:
            return from_mapping(json.loads(self._path(job_id).read_text()), source=f"job {job_id}")
        except FileNotFoundError:
            raise NotFoundError(
                f"job {job_id} was not submitted from this folder, and DiracX gives no description back; "
                f"name its file: --job {job_id}=FILE"
            ) from None

    def known(self) -> list[int]:
        """The jobs that were submitted from this folder, or run in it."""
        return sorted(int(path.stem) for path in self._folder.glob("*.json") if path.stem.isdecimal())

    def _path(self, job_id: int) -> Path:
        return self._folder / f"{job_id}.json"


def check_readable(description: JobDescription) -> None:
    """Refuse what DiracX's own parser cannot read.

    Raises:
        DescriptionError: names the field.
    """
    for name, value in description.to_mapping().items():
        if name == "Platform":
            raise DescriptionError("DiracX 0.7 refuses every Platform; leave it out", field=name)
        for text in _texts(value):
            if found := sorted(UNREADABLE.intersection(text)):
                raise DescriptionError(f"DiracX cannot read a text with {found[0]!r} in it", field=name)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
