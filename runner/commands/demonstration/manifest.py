"""`demo.toml`: which jobs there are, what each needs beforehand, and how each must end."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from runner.errors import ConfigError

T = TypeVar("T")
MANIFEST = "demo.toml"


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file that a script of the folder makes once, to be stored and registered under its LFN."""

    lfn: str
    script: str
    storage_element: str


@dataclass(frozen=True, kw_only=True)
class DemoJob:
    """A job and how it must end."""

    file: str
    what: str
    status: str
    minor_status: str
    #: Status and minor status of each attempt; empty: the one above.
    attempts: tuple[tuple[str, str], ...] = ()
    exit_code: int | None = None
    #: Lines on standard output, exactly.
    lines: int | None = None
    #: What the output sandbox must hold.
    files: tuple[str, ...] = ()
    #: A JSON file of the output sandbox whose `cpu_seconds` are a lower bound of the record's CPUTime.
    cpu_seconds_in: str = ""
    input_data_files: int = 0
    output_data_files: int = 0
    #: A script of the folder that makes a hostile input sandbox.
    sandbox_script: str = ""
    #: Kill it as soon as its payload runs.
    kill: bool = False
    show_trace: bool = False

    @property
    def expected_attempts(self) -> tuple[tuple[str, str], ...]:
        """Status and minor status of each attempt."""
        return self.attempts or ((self.status, self.minor_status),)


@dataclass(frozen=True)
class Manifest:
    """The whole demonstration."""

    folder: Path
    data: tuple[DataFile, ...]
    jobs: tuple[DemoJob, ...]


def read_manifest(folder: Path) -> Manifest:
    """Read `demo.toml` in *folder*.

    Raises:
        ConfigError: it is not there, or not what it should be.
    """
    path = folder / MANIFEST
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); name the folder with the demonstration's jobs by --jobs"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    data = tuple(_read(DataFile, each, path) for each in document.get("data", []))
    jobs = tuple(_read(DemoJob, each, path) for each in document.get("job", []))
    if not jobs:
        raise ConfigError(f"{path}: names no jobs; each is a [[job]]")
    return Manifest(folder, data, jobs)


def _read(kind: type[T], given: dict[str, Any], path: Path) -> T:
    unknown = set(given) - {each.name for each in fields(kind)}  # type: ignore[arg-type]
    try:
        if unknown:
            raise TypeError(f"unknown key {', '.join(sorted(unknown))}")
        return kind(**{name: _frozen(value) for name, value in given.items()})
    except TypeError as error:
        raise ConfigError(f"{path}: {kind.__name__} {given.get('file') or given.get('lfn')}: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value
