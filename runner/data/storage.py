"""A storage element that is a folder: of this machine, or one that a site mounts everywhere."""

import contextlib
import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from runner.data.below import NotBelow, open_below, parts_of
from runner.data.lfn import checked
from runner.data.transfers import adler32_of, copy, is_disk_full
from runner.errors import NotFoundError, RefusedError, UnavailableError


class FolderStorageElement:
    """Keeps each file under its logical name. Physical names are file URLs. Implements `StorageElement`."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder.absolute()

    @property
    def name(self) -> str:
        """Its name, such as SE-USER."""
        return self._name

    def get(self, pfn: str, target: Path, *, link: bool) -> None:
        """Bring *pfn* to the new file *target*: a copy, or a symbolic link to the file here.

        Raises:
            UnavailableError: the folder is not there, or cannot be read.
            NotFoundError: no such file, or *pfn* is none of ours.
        """
        name = self._name_of(pfn)
        try:
            fd = open_below(self._folder, name)
        except (FileNotFoundError, NotADirectoryError, NotBelow) as error:
            if not self._folder.is_dir():
                raise UnavailableError(f"{self._name} is not there: no folder {self._folder}") from error
            raise NotFoundError(f"{self._name} has no file {pfn}") from error
        except OSError as error:
            raise UnavailableError(f"{self._name} cannot read {pfn}: {error.strerror}") from error
        with os.fdopen(fd, "rb", buffering=0) as source:
            if link:
                os.symlink(self._folder / name, target)
            else:
                copy(source, target)

    def put(self, source: Path, lfn: str, *, replace: bool = True) -> str:
        """Store *source* under *lfn*; it appears there whole, or not at all. The pfn.

        Raises:
            UnavailableError: the folder cannot be written, or is full.
            RefusedError: not to be replaced, and there is a file of that name with other content.
        """
        name = _place(lfn)
        target = self._folder / name
        if not replace and self._holds(name, source):
            return f"file://{quote(str(target))}"
        part = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with source.open("rb", buffering=0) as file:
                copy(file, part)
            part.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            why = "is full" if is_disk_full(error) else f"cannot take {lfn}: {error.strerror}"
            raise UnavailableError(f"{self._name} {why}") from error
        return f"file://{quote(str(target))}"

    def check_place(self, pfn: str, lfn: str) -> None:
        """Hold *pfn* against where `put` stores *lfn*.

        Raises:
            NotFoundError: it is another place.
        """
        if self._name_of(pfn) != _place(lfn):
            raise NotFoundError(f"{pfn} is not where {self._name} keeps {lfn}")

    def remove(self, pfn: str) -> None:
        """Remove the file *pfn*; one that is not there is removed already.

        Raises:
            UnavailableError: the folder is not there, or cannot be written.
            NotFoundError: *pfn* is none of ours.
        """
        name = self._name_of(pfn)
        try:
            os.close(open_below(self._folder, name))  # no link on the way
            (self._folder / name).unlink()
        except NotBelow as error:
            raise NotFoundError(f"{pfn} is no file of {self._name}") from error
        except (FileNotFoundError, NotADirectoryError) as error:
            if not self._folder.is_dir():
                raise UnavailableError(f"{self._name} is not there: no folder {self._folder}") from error
        except OSError as error:
            raise UnavailableError(f"{self._name} cannot remove {pfn}: {error.strerror}") from error

    def _holds(self, name: str, source: Path) -> bool:
        """Whether there is a file *name* already, with the content of *source*."""
        try:
            fd = open_below(self._folder, name)
        except OSError:  # not there, or the element is away, which writing will tell
            return False
        try:
            here = Path(f"/proc/self/fd/{fd}")
            same = os.fstat(fd).st_size == source.stat().st_size and adler32_of(here) == adler32_of(source)
        finally:
            os.close(fd)
        if not same:
            raise RefusedError(f"{self._name} has a file /{name} with other content")
        return True

    def _name_of(self, pfn: str) -> str:
        """The file of *pfn*, relative to the folder. What the catalogue says is not trusted."""
        inside = f"{self._folder}/"
        with contextlib.suppress(ValueError):  # no URL at all
            url = urlsplit(pfn)
            path = unquote(url.path)
            if url.scheme == "file" and not url.netloc and path.startswith(inside):
                return path[len(inside) :]
        raise NotFoundError(f"{pfn} is no file of {self._name}")


def _place(lfn: str) -> str:
    """Where *lfn* is kept, relative to the folder of an element."""
    return "/".join(parts_of(checked(lfn).lstrip("/")))


def open_elements(folder: Path, names: Iterable[str]) -> Mapping[str, FolderStorageElement]:
    """The storage elements *names*, each a folder of that name below *folder*."""
    return {name: FolderStorageElement(name, folder / name) for name in names}


def open_failover_folder(folder: str) -> FolderStorageElement | None:
    """Where output data waits for its storage element, if there is such a *folder*."""
    return FolderStorageElement("FailoverFolder", Path(folder).expanduser()) if folder else None
