"""LFNs -> files in the job's folder: the module that `InputDataModule` names when nobody brings another.

Found through the entry points of the group `jobspan.input_data`; each is a function like `resolve`.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, TypeVar

from runner.data.lfn import checked
from runner.data.ports import FileCatalog, Replica, StorageElement
from runner.data.transfers import verify
from runner.errors import ChecksumError, NotFoundError, PermanentJobError, TransientJobError, UnavailableError
from telemetry.catalogue import MOVED_BYTES, MOVED_NAME, STORAGE_ELEMENT

GROUP = "jobspan.input_data"
OURS = "InputDataResolution"

T = TypeVar("T")
Attributes: TypeAlias = MutableMapping[str, str | int | float | bool]


class Slow(Protocol):
    """Runs something that may take long so that a Kill can interrupt it."""

    def __call__(self, work: Callable[[], T]) -> T:
        """The result of *work*."""
        ...


class Persist(Protocol):
    """Tries again, for a while, what fails with UnavailableError."""

    def __call__(self, work: Callable[[], T]) -> T:
        """The result of *work*."""
        ...


def once(work: Callable[[], T]) -> T:
    """Does not try again; implements `Persist`."""
    return work()


class Observe(Protocol):
    """Makes a sub-span of what happens inside; more attributes may be put into what it yields."""

    def __call__(self, name: str) -> AbstractContextManager[Attributes]:
        """The sub-span *name*."""
        ...


@dataclass(frozen=True, kw_only=True)
class InputDataRequest:
    """What is wanted, and by what means."""

    #: Logical names, without ``LFN:``.
    lfns: Sequence[str]
    #: The job's working directory: each file goes there under the last step of its name.
    folder: Path
    catalog: FileCatalog
    storage_elements: Mapping[str, StorageElement]
    policy: Literal["copy", "link"] = "copy"
    slow: Slow
    observe: Observe
    persist: Persist = once
    #: Called in long loops; raises when the job was told to stop.
    check: Callable[[], None] = lambda: None
    #: The other keys of the job's description, for modules that want them.
    description: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class InputFile:
    """A file that has arrived, with the right checksum."""

    lfn: str
    path: Path
    size_bytes: int
    storage_element: str


@dataclass(frozen=True, kw_only=True)
class InputDataResult:
    """What arrived. With `missing`, names that the catalogue does not know, the job cannot run."""

    files: tuple[InputFile, ...] = ()
    missing: tuple[str, ...] = ()


Resolve: TypeAlias = Callable[[InputDataRequest], InputDataResult]


def load(name: str) -> Resolve:
    """The module *name* (DIRAC's dotted names end in it, too).

    Raises:
        PermanentJobError: nobody brings it here.
    """
    short = name.rpartition(".")[2]
    if short == OURS:
        return resolve
    for each in entry_points(group=GROUP):
        if each.name in (name, short):
            module: Resolve = each.load()
            return module
    known = sorted(each.name for each in entry_points(group=GROUP))
    raise PermanentJobError(
        f"there is no InputDataModule {name!r} here; known are {', '.join(known)}", error_type="input_data_module"
    )


def resolve(request: InputDataRequest) -> InputDataResult:
    """Look the LFNs up, and bring each file from a storage element that is reachable here.

    Raises:
        PermanentJobError: a name is no LFN, two files have one name, a checksum is wrong everywhere.
        TransientJobError: a file is known, but no replica can be read now.
        UnavailableError, RefusedError: the catalogue's answer.
    """
    lfns = list(dict.fromkeys(checked(lfn) for lfn in request.lfns))
    _different_names(lfns)
    with request.observe("catalog_lookup"):
        known = look_up(request, lfns)
    missing = tuple(lfn for lfn in lfns if lfn not in known)
    if missing:
        return InputDataResult(missing=missing)
    return InputDataResult(files=tuple(fetch(request, known[lfn]) for lfn in lfns))


def look_up(request: InputDataRequest, lfns: Sequence[str]) -> dict[str, Replica]:
    """The replicas of those of *lfns* that the catalogue knows.

    Raises:
        UnavailableError, RefusedError: the catalogue's answer, also after a while.
    """
    return request.slow(lambda: request.persist(lambda: request.catalog.lookup(lfns)))


def fetch(request: InputDataRequest, replica: Replica) -> InputFile:
    """Bring one file from the first element that has it whole; if one of them is away, look again after a while.

    Raises:
        TransientJobError: no element could deliver it now. ChecksumError: what they delivered was wrong.
    """
    try:
        return request.persist(lambda: _from_any(request, replica))
    except (UnavailableError, NotFoundError) as error:
        message = f"no replica of {replica.lfn} can be read: {error}"
        raise TransientJobError(message, error_type="no_replica") from error


def _from_any(request: InputDataRequest, replica: Replica) -> InputFile:
    target = request.folder / replica.lfn.rpartition("/")[2]
    problems: list[UnavailableError | NotFoundError | ChecksumError] = []
    for element, pfn in _reachable(request, replica):
        try:
            _transfer(request, replica, element, pfn, target)
            return InputFile(replica.lfn, target, replica.size_bytes, element.name)
        except (UnavailableError, NotFoundError, ChecksumError) as error:
            target.unlink(missing_ok=True)
            problems.append(error)
    if problems and all(isinstance(error, ChecksumError) for error in problems):
        raise problems[0]
    why = "; ".join(map(str, problems))
    if any(isinstance(error, UnavailableError) for error in problems):
        raise UnavailableError(why)
    raise NotFoundError(why or f"it lies on {', '.join(replica.pfns) or 'no element'}, none of which is here")


def _transfer(request: InputDataRequest, replica: Replica, element: StorageElement, pfn: str, target: Path) -> None:
    with request.observe("transfer") as attributes:
        attributes.update({STORAGE_ELEMENT: element.name, MOVED_NAME: replica.lfn, MOVED_BYTES: replica.size_bytes})
        request.slow(partial(element.get, pfn, target, link=request.policy == "link"))
    with request.observe("checksum") as attributes:
        attributes.update({MOVED_NAME: replica.lfn, MOVED_BYTES: replica.size_bytes})
        verify(target, replica.size_bytes, replica.adler32, request.check)


def _reachable(request: InputDataRequest, replica: Replica) -> list[tuple[StorageElement, str]]:
    elements = request.storage_elements
    return [(elements[name], pfn) for name, pfn in replica.pfns.items() if name in elements]


def _different_names(lfns: list[str]) -> None:
    seen: dict[str, str] = {}
    for lfn in lfns:
        other = seen.setdefault(lfn.rpartition("/")[2], lfn)
        if other != lfn:
            raise PermanentJobError(f"{other} and {lfn} would be one file in the job's folder", error_type="input_data")
