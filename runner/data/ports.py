"""What the data layer needs from outside: a file catalogue and storage elements. `runner.compose` brings both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Replica:
    """A file as the catalogue knows it: where it lies and what it must contain."""

    lfn: str
    size_bytes: int
    #: 8 hexadecimal digits.
    adler32: str
    #: Physical file name by storage element name.
    pfns: Mapping[str, str]


class FileCatalog(Protocol):
    """Logical names to replicas."""

    def lookup(self, lfns: Sequence[str]) -> dict[str, Replica]:
        """The replicas of those of *lfns* that the catalogue knows.

        Raises:
            UnavailableError, RefusedError
        """
        ...

    def register(self, replica: Replica, catalog: str) -> None:
        """Make *replica* known in *catalog*; the same replica twice is no error.

        Raises:
            RefusedError: the name is taken by other content, or catalogue or element are unknown.
            UnavailableError: no answer.
        """
        ...


class StorageElement(Protocol):
    """Where data files lie."""

    @property
    def name(self) -> str:
        """Its name, such as SE-USER."""
        ...

    def get(self, pfn: str, target: Path, *, link: bool) -> None:
        """Bring *pfn* to the new file *target*, as a copy or a link.

        Raises:
            UnavailableError: the element cannot be reached.
            NotFoundError: no such file.
        """
        ...

    def put(self, source: Path, lfn: str, *, replace: bool = True) -> str:
        """Store *source* under *lfn*, atomically; the pfn.

        Raises:
            UnavailableError: the element cannot be reached or is full.
            RefusedError: not to be replaced, and there is a file of that name with other content.
        """
        ...

    def check_place(self, pfn: str, lfn: str) -> None:
        """Hold *pfn* against where `put` stores *lfn*: what a request or a catalogue says of places is not trusted.

        Raises:
            NotFoundError: it is another place.
        """
        ...

    def remove(self, pfn: str) -> None:
        """Remove the file *pfn*; one that is not there is removed already.

        Raises:
            UnavailableError: the element cannot be reached.
            NotFoundError: *pfn* is none of this element's.
        """
        ...
