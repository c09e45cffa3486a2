"""The description of a job: read from JDL, JSON or YAML, validated once, frozen from then on."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from runner.errors import DescriptionError
from runner.job.document import from_values, read_document
from runner.job.fields import ALIASES, FIELDS, Wrong, is_kept
from runner.job.located import DocumentError, Located, Tree


@dataclass(frozen=True, kw_only=True)
class JobDescription:
    """What a job is to run and what it needs. Field names in descriptions are DIRAC's, see `FIELDS`."""

    executable: str
    arguments: str = ""
    #: Run through `/bin/sh -c` instead of being split and executed directly.
    shell: bool = False
    #: Empty: the wrapper's DefaultOutputFile and DefaultErrorFile.
    std_output: str = ""
    std_error: str = ""
    #: Local names (before submission), ``SB:`` names of the sandbox store, ``LFN:/...``.
    input_sandbox: tuple[str, ...] = ()
    #: Names and globs below the job's folder.
    output_sandbox: tuple[str, ...] = ()
    #: Logical names, without ``LFN:``.
    input_data: tuple[str, ...] = ()
    #: Names and globs below the job's folder, or ``LFN:/...``.
    output_data: tuple[str, ...] = ()
    output_se: tuple[str, ...] = ()
    output_path: str = ""
    input_data_module: str = ""
    #: CPU work for each processor in normalised seconds; None: the WMS or the wrapper fills it in.
    cpu_time_seconds: float | None = None
    max_wall_clock_seconds: float | None = None
    number_of_processors: int = 1
    #: A job that can use more or fewer: it gets what the slot has, within these. None: NumberOfProcessors.
    min_processors: int | None = None
    max_processors: int | None = None
    #: All processors of a node, however many those are.
    whole_node: bool = False
    memory_mb: float | None = None
    disable_cpu_check: bool = False
    #: The graceful stop before the time is up: which processes, which signal, and when; None: as the node has it.
    stop_signal_regex: str | None = None
    stop_signal_number: int | None = None
    stop_signal_start_work: float | None = None
    stop_signal_finish_work: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Variables of the worker node that the payload keeps although their names look secret.
    keep_environment: tuple[str, ...] = ()
    job_name: str = ""
    job_group: str = ""
    job_type: str = "User"
    processing_type: str = ""
    #: Empty: anywhere.
    sites: tuple[str, ...] = ()
    banned_sites: tuple[str, ...] = ()
    #: Empty: any.
    computing_elements: tuple[str, ...] = ()
    platform: str = ""
    tags: tuple[str, ...] = ()
    priority: int | None = None
    #: DIRAC's other keys, handed on as text, tuples and mappings.
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def processors_range(self) -> tuple[int, int]:
        """How many processors the job needs at least, and can use at most."""
        least = self.number_of_processors if self.min_processors is None else self.min_processors
        return least, max(least, self.max_processors or self.number_of_processors)

    def to_mapping(self) -> dict[str, Any]:
        """The description under DIRAC's key names, without what has its default; JSON can hold it."""
        defaults = {each.name: each.default for each in fields(self)}
        result: dict[str, Any] = {}
        for name, rule in FIELDS.items():
            value = getattr(self, rule.attribute)
            if value != defaults[rule.attribute] and value != {}:
                result[name] = rule.write(value)
        return {**result, **{name: _listed(value) for name, value in self.extra.items()}}

    def to_jdl(self) -> str:
        """The description as JDL; parsing it gives an equal description."""
        from runner.job.jdl import write_jdl  # a description read from JSON or YAML may never need it

        return write_jdl(self.to_mapping())

    def with_job_id(self, job_id: int) -> "JobDescription":
        """With every ``%j`` replaced by the number of the job, as DIRAC does at submission."""
        return from_mapping(_replaced(self.to_mapping(), "%j", str(job_id)))


def parse(text: str, *, source: str = "") -> JobDescription:
    """Read a description in JDL, JSON or YAML, whichever *text* is. *source* names it in errors.

    Raises:
        DescriptionError: with line and field, as far as they are known.
    """
    try:
        tree = read_document(text)
    except DocumentError as error:
        raise DescriptionError(str(error), source=source, line=error.line, field=error.field) from error
    return _description(tree, source)


def from_mapping(mapping: Mapping[str, Any], *, source: str = "") -> JobDescription:
    """Validate a description given as a *mapping* under DIRAC's key names (a JSON body).

    Raises:
        DescriptionError: with the field.
    """
    try:
        tree = from_values(mapping)
    except DocumentError as error:
        raise DescriptionError(str(error), source=source, line=error.line, field=error.field) from error
    return _description(tree, source)


def _description(tree: Tree, source: str) -> JobDescription:
    values: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for given, located in tree.items():
        name = ALIASES.get(given, given)
        try:
            if name in FIELDS:
                _take(values, name, located)
            else:
                extra[name] = _extra(name, located)
        except Wrong as error:
            raise DescriptionError(str(error), source=source, line=located.line, field=given) from error
    if not values.get("executable"):
        raise DescriptionError("is required: the program that the job runs", source=source, field="Executable")
    most = values.get("max_processors")
    if most is not None and most < (values.get("min_processors") or values.get("number_of_processors") or 1):
        field_name = "MaxNumberOfProcessors"
        raise DescriptionError("is less than what the job asks for at least", source=source, field=field_name)
    return JobDescription(**values, extra=extra)


def _take(values: dict[str, Any], name: str, located: Located) -> None:
    rule = FIELDS[name]
    if rule.attribute in values:
        raise Wrong("is given twice, in two spellings")
    try:
        values[rule.attribute] = rule.read(located)
    except UnicodeDecodeError as error:
        raise Wrong("is not valid UTF-8 when unquoted") from error


def _extra(name: str, located: Located) -> Any:
    if not is_kept(name):
        near = difflib.get_close_matches(name, FIELDS, 1, 0.6)
        lower = {each.lower(): each for each in FIELDS}.get(name.lower())
        meant = lower or (near[0] if near else "")
        raise Wrong(f"is no field of a job description{f'; did you mean {meant}?' if meant else ''}")
    return _storable(located)


def _storable(located: Located) -> Any:
    value = located.value
    if isinstance(value, tuple):
        return tuple(_storable(each) for each in value)
    if isinstance(value, dict):
        return {name: _storable(each) for name, each in value.items()}
    return FIELDS["Arguments"].read(located)


def _listed(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_listed(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _listed(each) for name, each in value.items()}
    return value


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list):
        return [_replaced(each, old, new) for each in value]
    if isinstance(value, Mapping):
        return {name: _replaced(each, old, new) for name, each in value.items()}
    return value
