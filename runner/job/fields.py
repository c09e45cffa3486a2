"""What each field of a job description means: its name, its attribute, how it is read and written.

Names and meanings are DIRAC's (the JDL keys its JobWrapper reads). `Shell`, `KeepEnvironment` and
`MaxWallClockTime` are ours. DiracX hands descriptions back normalised (a list of one becomes a
scalar, an empty list "", quoted numbers lose their quotes), so all readers take both shapes.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from runner.job.located import Located
from runner.options import expression_problem

GIB_IN_MB = 1024


class Wrong(ValueError):
    """A value that its field cannot have."""


@dataclass(frozen=True)
class Rule:
    """One field: the *attribute* of `JobDescription` it fills, its reader and its writer."""

    attribute: str
    read: Callable[[Located], Any]
    write: Callable[[Any], Any]


def text(located: Located) -> str:
    """Text that can be stored and passed to a process: no NUL, valid Unicode."""
    value = located.value
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0].value
    if not isinstance(value, str):
        raise Wrong("must be text, not a list or section")
    if "\0" in value:
        raise Wrong("must not contain a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Wrong("is not valid Unicode text") from error
    return value


def texts(located: Located) -> tuple[str, ...]:
    """A list of texts; a scalar is a list of one, and "" an empty list."""
    value = located.value
    if isinstance(value, tuple):
        return tuple(text(each) for each in value)
    single = text(located)
    return (single,) if single else ()


def name_at_most(length: int) -> Callable[[Located], str]:
    """A reader of one line of text of at most *length* characters (the width of DIRAC's columns)."""

    def read(located: Located) -> str:
        value = text(located)
        if len(value) > length:
            raise Wrong(f"has {len(value)} characters, at most {length} are allowed")
        if "\n" in value:
            raise Wrong("must be one line")
        return value

    return read


def number(minimum: float, maximum: float) -> Callable[[Located], float]:
    """A reader of a number within bounds, quoted or not."""

    def read(located: Located) -> float:
        value = text(located)
        try:
            result = float(value)
        except ValueError as error:
            raise Wrong(f"must be a number, not {value[:40]!r}") from error
        if not math.isfinite(result) or not minimum <= result <= maximum:
            raise Wrong(f"must be from {minimum:g} to {maximum:.15g}, not {value[:40]}")
        return result

    return read


def whole(minimum: int, maximum: int) -> Callable[[Located], int]:
    """A reader of a whole number within bounds, quoted or not."""
    read_number = number(minimum, maximum)

    def read(located: Located) -> int:
        value = read_number(located)
        if value != int(value):
            raise Wrong(f"must be a whole number, not {value:g}")
        return int(value)

    return read


def truth(located: Located) -> bool:
    """True or False; also yes, no, 1, 0, in any case."""
    value = text(located).lower()
    if value in ("true", "yes", "1"):
        return True
    if value in ("false", "no", "0", ""):
        return False
    raise Wrong(f"must be True or False, not {value[:40]!r}")


def check_relative(name: str) -> str:
    """*name* if it stays below the folder it is resolved in; names with a leading / or .. do not."""
    if not name or name.endswith("/") or "\n" in name:
        raise Wrong(f"{name!r} is not the name of a file")
    if name.startswith("/"):
        raise Wrong(f"{name!r} must be relative to the job's folder, without a leading /")
    if ".." in name.split("/"):
        raise Wrong(f"{name!r} must not leave the job's folder with ..")
    if len(name.encode()) > 4096:
        raise Wrong("a name has more than 4096 bytes")
    return name


def check_lfn(name: str) -> str:
    """*name* without its LFN: prefix; logical names are absolute and have no empty, . or .. parts."""
    lfn = name[4:] if name[:4].upper() == "LFN:" else name
    if not lfn.startswith("/") or "\n" in lfn:
        raise Wrong(f"{name!r} is not a logical file name; write it as /vo/path/file")
    if any(part in ("", ".", "..") for part in lfn[1:].split("/")):
        raise Wrong(f"{name!r} has an empty part, . or ..; write the logical name in full")
    return lfn


def is_lfn(name: str) -> bool:
    """Whether *name* of a sandbox or of output data names a file of the catalogue."""
    return name[:4].upper() == "LFN:"


def file_name(located: Located) -> str:
    """The name of a file in the job's folder."""
    value = text(located)
    return check_relative(value) if value else ""


def file_names(located: Located) -> tuple[str, ...]:
    """Names of files in the job's folder; globs are allowed."""
    return tuple(check_relative(each) for each in texts(located))


def lfns(located: Located) -> tuple[str, ...]:
    """Logical file names, with or without LFN:."""
    return tuple(check_lfn(each) for each in texts(located))


def input_sandbox(located: Located) -> tuple[str, ...]:
    """Local files (before submission), sandboxes in the store (SB:), files of the catalogue (LFN:)."""
    return tuple(_input_file(each) for each in texts(located))


def _input_file(name: str) -> str:
    if name.startswith("SB:"):
        return name
    return f"LFN:{check_lfn(name)}" if is_lfn(name) else check_relative(name)


def output_data(located: Located) -> tuple[str, ...]:
    """Files of the job's folder (globs), or the full logical name that one is to have."""
    return tuple(f"LFN:{check_lfn(each)}" if is_lfn(each) else check_relative(each) for each in texts(located))


def output_path(located: Located) -> str:
    """A relative path below the owner's own; DIRAC's users write it with a leading / as well."""
    value = text(located).strip("/")
    return check_relative(value) if value else ""


def environment(located: Located) -> dict[str, str]:
    """DIRAC's list of ``NAME=value`` with URL-quoted values; a section of fields is taken as it is."""
    if isinstance(located.value, dict):
        pairs = [(name, text(value)) for name, value in located.value.items()]
    else:
        pairs = [_assignment(each) for each in texts(located)]
    for name, _ in pairs:
        _variable(name)
    return dict(pairs)


def _assignment(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals:
        raise Wrong(f"{item[:40]!r} must be NAME=value")
    value = unquote(value, errors="strict")
    if "\0" in value:
        raise Wrong("must not contain a NUL character")
    return name.strip(), value


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise Wrong(f"{name[:40]!r} is not the name of an environment variable")
    return name


def variable_names(located: Located) -> tuple[str, ...]:
    """Names of environment variables."""
    return tuple(_variable(each) for each in texts(located))


def memory(located: Located) -> float:
    """DIRAC's Memory is in GB (2^30 bytes); ours is in MB."""
    return number(0.001, 1e6)(located) * GIB_IN_MB


def expression(located: Located) -> str:
    """A regular expression."""
    value = text(located)
    if problem := expression_problem(value):
        raise Wrong(problem)
    return value


def _same(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _lfn_list(value: tuple[str, ...]) -> list[str]:
    return [f"LFN:{lfn}" for lfn in value]


def _assignments(value: Mapping[str, str]) -> list[str]:
    return [f"{name}={quote(each, safe='')}" for name, each in value.items()]


FIELDS: dict[str, Rule] = {
    "Executable": Rule("executable", name_at_most(4096), _same),
    "Arguments": Rule("arguments", text, _same),
    "Shell": Rule("shell", truth, _same),
    "StdOutput": Rule("std_output", file_name, _same),
    "StdError": Rule("std_error", file_name, _same),
    "InputSandbox": Rule("input_sandbox", input_sandbox, _same),
    "OutputSandbox": Rule("output_sandbox", file_names, _same),
    "InputData": Rule("input_data", lfns, _lfn_list),
    "OutputData": Rule("output_data", output_data, _same),
    "OutputSE": Rule("output_se", texts, _same),
    "OutputPath": Rule("output_path", output_path, _same),
    "InputDataModule": Rule("input_data_module", name_at_most(255), _same),
    "CPUTime": Rule("cpu_time_seconds", number(1, 1e9), _number),
    "MaxWallClockTime": Rule("max_wall_clock_seconds", number(1, 1e9), _number),
    "NumberOfProcessors": Rule("number_of_processors", whole(1, 4096), _same),
    "MinNumberOfProcessors": Rule("min_processors", whole(1, 4096), _same),
    "MaxNumberOfProcessors": Rule("max_processors", whole(1, 4096), _same),
    "WholeNode": Rule("whole_node", truth, _same),
    "Memory": Rule("memory_mb", memory, lambda value: _number(value / GIB_IN_MB)),
    "StopSigRegex": Rule("stop_signal_regex", expression, _same),
    "StopSigNumber": Rule("stop_signal_number", whole(1, 64), _same),
    "StopSigStartWork": Rule("stop_signal_start_work", number(0, 1e12), _number),
    "StopSigFinishWork": Rule("stop_signal_finish_work", number(0, 1e12), _number),
    "DisableCPUCheck": Rule("disable_cpu_check", truth, _same),
    "ExecutionEnvironment": Rule("environment", environment, _assignments),
    "KeepEnvironment": Rule("keep_environment", variable_names, _same),
    "JobName": Rule("job_name", name_at_most(128), _same),
    "JobGroup": Rule("job_group", name_at_most(32), _same),
    "JobType": Rule("job_type", name_at_most(32), _same),
    "ProcessingType": Rule("processing_type", name_at_most(32), _same),
    "Site": Rule("sites", texts, _same),
    "BannedSites": Rule("banned_sites", texts, _same),
    "GridCE": Rule("computing_elements", texts, _same),
    "Platform": Rule("platform", name_at_most(255), _same),
    "Tags": Rule("tags", texts, _same),
    "Priority": Rule("priority", whole(0, 1000), _same),
}

#: Other spellings that DIRAC's clients write.
ALIASES = {"Tag": "Tags"}

#: DIRAC's keys that change nothing here; they are kept and handed on.
KEPT = frozenset({
    "AncestorDepth", "Checksum", "CPUScalingFactor", "DebugLFNs", "DIRACSetup", "DIRACVersion", "ExtraOptions",
    "InputDataPolicy", "InputDataType", "JobConfigArgs", "JobExecDir", "JobID", "JobMode",
    "JobRequirements", "LogFilePath", "LogLevel", "LogTargetPath", "MaxRAM",
    "MinRAM", "Origin", "OutputDataDirectory", "OutputMode", "Owner", "OwnerDN",
    "OwnerGroup", "OwnerName", "Parameter", "ParameterNumber", "PayloadResults", "Rank", "Requirements", "RunNumber",
    "Setup", "SoftwareDistModule", "SoftwarePackages", "Status", "StopSigFinishSeconds", "StopSigStartSeconds",
    "SubmitPool", "SubmitPools", "SystemConfig", "Type", "UserPriority",
    "VirtualOrganization", "VO", "WorkingDirectory",
})  # fmt: skip

#: What makes a description stand for many jobs (`runner.job.parametric`); each also with a name after a dot.
PARAMETRIC = frozenset({"Parameters", "ParameterStart", "ParameterStep", "ParameterFactor"})


def is_kept(name: str) -> bool:
    """Whether *name* is a DIRAC key that is handed on as it is."""
    return name in KEPT or name.partition(".")[0] in PARAMETRIC or name.startswith("Parameter.")
