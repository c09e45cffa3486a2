"""The configuration: frozen values, read once from one TOML file and the environment.

This is the only module that reads the environment. Option names are DIRAC's where DIRAC has the
option; each option states its meaning here, and `jobspan config show` prints them all.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from runner.errors import ConfigError
from runner.options import Check, check, expression_problem, option, options_of, read_table, suggest, types_of

T = TypeVar("T")

CONFIG_VARIABLE = "JOBSPAN_CONFIG"
FOLDER_VARIABLE = "JOBSPAN_FOLDER"
#: DIRAC's: payloads compute elsewhere, so that their CPU/wall ratio says nothing. A file of this name in the job's
#: folder means the same for one job.
IDLE_VARIABLE = "DISABLE_WATCHDOG_CPU_WALLCLOCK_CHECK"
#: Names of environment variables whose values are secret; the payload gets them only if its job names them.
SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|CREDENTIAL|AUTH|KEY", re.IGNORECASE)
SECRET_LEAST_LENGTH = 8
#: Of Linux.
LAST_SIGNAL = 64


@dataclass(frozen=True, kw_only=True)
class SiteConfig:
    """`[Site]`: where this is."""

    name: str = option("Site", "jobspan.local", "name of the site, as jobs ask for it and records carry it")
    computing_element: str = option("GridCE", "localhost", "name of the computing element")
    queue: str = option("CEQueue", "local", "name of its queue")
    platform: str = option("Platform", "", "platform that the node offers to the matcher")
    tags: tuple[str, ...] = option("Tag", (), "tags that the node offers to the matcher")
    cpu_normalization_factor: float = option(
        "CPUNormalizationFactor",
        1.0,
        "CPU power of one processor of the node; NormCPUTime = CPUTime x this",
        minimum=0.001,
    )
    cpu_time_left: float = option(
        "CPUTimeLeft",
        0.0,
        "CPU work left to an agent when it starts (seconds x CPUNormalizationFactor); 0: ask the batch system's files",
        minimum=0,
    )
    benchmark_name: str = option("BenchmarkName", "", "benchmark behind the factor, such as hepscore23")
    benchmark_source: str = option("BenchmarkSource", "", "where the factor comes from")


@dataclass(frozen=True, kw_only=True)
class WmsConfig:
    """`[WMS]`: how to reach the workload management system, and how the embedded one serves."""

    url: str = option("URL", "", "address of the WMS; empty: the one that `jobspan wms` wrote into the folder")
    token_file: str = option("TokenFile", "", "file with the user's token; empty: tokens/user.token in the folder")
    pilot_token_file: str = option(
        "PilotTokenFile", "", "file with the agent's token; empty: tokens/pilot.token in the folder"
    )
    timeout_seconds: float = option("Timeout", 10.0, "deadline of one call to the WMS, seconds", minimum=0.1)
    host: str = option("Host", "127.0.0.1", "address on which the embedded WMS listens")
    port: int = option("Port", 0, "its port; 0: any free one, written to wms.url in the folder", minimum=0)
    vo: str = option("VO", "local", "virtual organisation of the embedded WMS's users")
    owner: str = option("Owner", "", "user of the embedded WMS's user token; empty: the login name")
    owner_group: str = option("OwnerGroup", "local_user", "group of that user")
    max_rescheduling: int = option("MaxRescheduling", 3, "how often a job is rescheduled at most", minimum=0)
    max_sandbox_bytes: int = option("MaxSandboxSize", 100 << 20, "largest sandbox that is taken, bytes", minimum=1)
    catalogs: tuple[str, ...] = option(
        "Catalogs", ("FileCatalog",), "file catalogues that exist; the first is the master"
    )
    storage_elements: tuple[str, ...] = option(
        "StorageElements", ("SE-USER",), "storage elements that exist, each a folder of the embedded WMS's"
    )
    login_name: str = field(default="user", metadata={"derived": True})


@dataclass(frozen=True, kw_only=True)
class JobAgentConfig:
    """`[JobAgent]`: how work is taken."""

    slots: int = option("Slots", 1, "processors for jobs; a job fills as many as it asks for", minimum=1)
    polling_time_seconds: float = option(
        "PollingTime",
        1.0,
        "longest wait of one match call, seconds; an agent that is told to stop waits for it (DIRAC: 20)",
        minimum=0.05,
    )
    filling_mode: bool = option("FillingModeFlag", True, "keep asking while slots are free; off: one job, then stop")
    stop_after_failed_matches: int = option(
        "StopAfterFailedMatches",
        0,
        "stop after so many match calls in a row without a job; 0: never (DIRAC: 10)",
        minimum=0,
    )
    metrics_host: str = option("MetricsHost", "127.0.0.1", "address of /metrics; beyond loopback it needs a token file")
    metrics_port: int = option(
        "MetricsPort", 0, "its port; 0: any free one, written to metrics.url in the folder", minimum=0
    )
    metrics_token_file: str = option("MetricsTokenFile", "", "file with the bearer token that scrapers must show")
    peek_rate: float = option(
        "PeekRate", 4.0, "looks at one job's output through the agent a second at most, by one caller", minimum=0.1
    )
    warm_start: bool = option("WarmStart", True, "fork wrappers from a preloaded process; off: a new interpreter each")
    minimum_disk_bytes: int = option(
        "MinDiskSpace", 64 << 20, "with less free disk than this, bytes, the agent takes no new job", minimum=0
    )
    job_retention_seconds: float = option(
        "JobRetention", 7 * 86400.0, "how long control folders of ended and delivered jobs are kept, seconds", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class JobWrapperConfig:
    """`[JobWrapper]`: how a job is run. DIRAC's names; where our default differs, the README says why."""

    buffer_limit_bytes: int = option(
        "BufferLimit", 10485760, "most bytes of a stream held in memory for the peek; never kills", minimum=1024
    )
    clean_up: bool = option("CleanUpFlag", True, "remove the job's working directory at the end")
    default_catalog: tuple[str, ...] = option("DefaultCatalog", (), "catalogues for output data; empty: the master")
    default_cpu_time_seconds: float = option(
        "DefaultCPUTime", 600.0, "CPU work of a job for which the WMS filled in none, normalised seconds", minimum=1
    )
    default_error_file: str = option("DefaultErrorFile", "std.err", "standard error of a job that names none")
    default_output_file: str = option("DefaultOutputFile", "std.out", "standard output of a job that names none")
    disk_se: tuple[str, ...] = option("DiskSE", (), "not supported: there is one kind of storage element")
    tape_se: tuple[str, ...] = option("TapeSE", (), "not supported: there is one kind of storage element")
    master_catalog_only: bool = option(
        "MasterCatalogOnlyFlag", True, "register output data in the first catalogue only; off: in all of DefaultCatalog"
    )
    max_job_peek_lines: int = option("MaxJobPeekLines", 20, "last lines of output that peek shows", minimum=0)
    output_sandbox_limit_bytes: int = option(
        "OutputSandboxLimit", 10485760, "largest output sandbox, compressed bytes", minimum=1024
    )
    retry_upload: bool = option("RetryUpload", False, "try a failed upload of output data again, up to 3 times")
    input_data_module: str = option(
        "InputDataModule", "InputDataResolution", "entry point (jobspan.input_data) for jobs that name none"
    )
    coordinator: str = option(
        "JobExecutionCoordinator", "default", "entry point (jobspan.job_execution_coordinator) of the community's own"
    )
    input_data_policy: str = option(
        "InputDataPolicy", "copy", "how input files reach the job", choices=("copy", "link")
    )
    output_file_limit_bytes: int = option(
        "OutputFileLimit", 2 << 30, "largest stdout or stderr on disk, bytes; OutputFileAction keeps it", minimum=1024
    )
    output_file_action: str = option(
        "OutputFileAction", "truncate", "beyond OutputFileLimit: truncate drops the middle of the file, kill the job",
        choices=("truncate", "kill"),
    )  # fmt: skip
    polling_time_seconds: float = option(
        "PollingTime", 1.0, "watchdog: time between looks at the limits, seconds (DIRAC: 10)", minimum=0.01
    )
    checking_time_seconds: float = option(
        "CheckingTime", 60.0, "watchdog: time between heartbeats, seconds (DIRAC: 1800)", minimum=0.05
    )
    min_checking_time_seconds: float = option(
        "MinCheckingTime", 1.0, "watchdog: CheckingTime is at least this, seconds (DIRAC: 1200)", minimum=0.05
    )
    kill_grace_seconds: float = option("KillGracePeriod", 10.0, "between TERM and KILL, seconds (DIRAC: 60)", minimum=0)
    orphan_grace_seconds: float = option(
        "OrphanGracePeriod", 10.0, "the same for what is left when the payload's top process has ended", minimum=0
    )
    max_wall_clock_seconds: float = option(
        "MaxWallClockTime", 259200.0, "wall clock of a job at most, seconds", minimum=1
    )
    min_disk_space_mb: float = option("MinDiskSpace", 10.0, "least free disk for a job to go on, MB", minimum=0)
    job_cpu_limit_margin_percent: float = option(
        "JobCPULimitMargin", 20.0, "tolerance above the CPU limit, percent", minimum=0
    )
    min_cpu_wall_clock_ratio_percent: float = option(
        "MinCPUWallClockRatio", 5.0, "a CPU/wall ratio below this is a stall, percent", minimum=0
    )
    cpu_sample_time_seconds: float = option("CPUSampleTime", 1800.0, "window of that ratio, seconds", minimum=1)
    stop_margin_seconds: float = option(
        "StopMargin", 300.0, "time before the end of the batch job in which a job must have ended, seconds", minimum=0
    )
    load_average_limit: float = option("LoadAverageLimit", 1000.0, "load average of the node at most", minimum=0)
    stalled_output_seconds: float = option(
        "StalledOutputTime", 3600.0, "a payload that writes nothing for so long hangs, seconds", minimum=1
    )
    max_processes: int = option("MaxProcesses", 4096, "processes of a payload at once at most", minimum=1)
    check_wall_clock: Check = check("CheckWallClockFlag", Check.KILL, "off, warn or kill: MaxWallClockTime")
    check_disk_space: Check = check("CheckDiskSpaceFlag", Check.KILL, "off, warn or kill: MinDiskSpace")
    check_load_average: Check = check(
        "CheckLoadAvgFlag", Check.WARN, "off, warn or kill: LoadAverageLimit; true means warn", true=Check.WARN
    )
    check_cpu_consumed: Check = check("CheckCPUConsumedFlag", Check.KILL, "off, warn or kill: MinCPUWallClockRatio")
    check_cpu_limit: Check = check("CheckCPULimitFlag", Check.KILL, "off, warn or kill: the CPU limit (DIRAC: off)")
    check_memory_limit: Check = check(
        "CheckMemoryLimitFlag", Check.OFF, "off, warn or kill: the memory that the job asked for, by RSS"
    )
    check_time_left: Check = check(
        "CheckTimeLeftFlag", Check.KILL, "off, warn or kill: the end of the batch job, less StopMargin"
    )
    check_stalled_output: Check = check("CheckStalledOutputFlag", Check.OFF, "off, warn or kill: StalledOutputTime")
    check_process_count: Check = check("CheckProcessCountFlag", Check.KILL, "off, warn or kill: MaxProcesses")
    check_output_size: Check = check("CheckOutputSizeFlag", Check.KILL, "off, warn or kill: OutputFileLimit")
    job_peek: bool = option("JobPeekFlag", True, "show the last lines of output in heartbeats")
    stop_signal_regex: str = option(
        "StopSigRegex", "", "processes whose command line or name has this are told to stop before the time is up"
    )
    stop_signal_number: int = option("StopSigNumber", 2, "the signal that tells them", minimum=1)
    stop_signal_start_work: float = option(
        "StopSigStartWork", 0.0, "CPU work (seconds x CPUNormalizationFactor) before which none is sent; 0: FinishWork",
        minimum=0,
    )  # fmt: skip
    stop_signal_finish_work: float = option(
        "StopSigFinishWork", 0.0, "CPU work that they need to finish: with so much wall clock left it is sent",
        minimum=0,
    )  # fmt: skip
    cpu_method: str = option(
        "CPUMethod", "auto", "how CPU is measured: cgroup2, cgroup1, wait4; auto: the first granted; or perf, sampled",
        choices=("auto", "cgroup2", "cgroup1", "wait4", "perf", "sampled"),
    )  # fmt: skip
    pss_time_seconds: float = option(
        "PSSTime", 0.0, "between looks at proportional memory, seconds; dear for large payloads; 0: none", minimum=0
    )
    payload_user: str = option(
        "PayloadUser", "", "user under which payloads run, when the wrapper is root; empty: ours"
    )


@dataclass(frozen=True, kw_only=True)
class TelemetryConfig:
    """`[Telemetry]`, and the standard OTEL_EXPORTER_OTLP_* variables, which win."""

    otlp_endpoint: str = option("OTLPEndpoint", "", "collector to which spans and records are sent; empty: files only")
    otlp_headers: tuple[str, ...] = option(
        "OTLPHeaders", (), 'additional headers, each "name=value"; values are secret'
    )
    otlp_timeout_seconds: float = option(
        "OTLPTimeout", 10.0, "deadline of one call to the collector, seconds", minimum=0.1
    )
    otlp_certificate: str = option("OTLPCertificate", "", "file with the certificate authorities of the collector")
    service_name: str = option("ServiceName", "jobspan", "service.name of everything that is sent")


@dataclass(frozen=True, kw_only=True)
class HttpConfig:
    """How HTTP leaves this machine; from the environment, because `requests` sessions do not read it."""

    proxies: Mapping[str, str] = field(default_factory=dict)
    ca_bundle: str = ""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything, with the folder in which all of it lives."""

    folder: Path
    source: Path | None = None
    site: SiteConfig = field(default_factory=SiteConfig)
    wms: WmsConfig = field(default_factory=WmsConfig)
    job_agent: JobAgentConfig = field(default_factory=JobAgentConfig)
    job_wrapper: JobWrapperConfig = field(default_factory=JobWrapperConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    http: HttpConfig = field(default_factory=HttpConfig)
    #: A copy of the environment at the start: what payloads inherit, less our secrets and OTEL_*.
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def wms_folder(self) -> Path:
        """State of the embedded WMS."""
        return self.folder / "wms"

    @property
    def jobs_folder(self) -> Path:
        """A folder for each attempt that ran on this node."""
        return self.folder / "jobs"

    @property
    def telemetry_folder(self) -> Path:
        """OTLP/JSON lines of this node: traces.jsonl and logs.jsonl."""
        return self.folder / "telemetry"

    @property
    def tokens_folder(self) -> Path:
        """Where the embedded WMS puts the tokens of its users."""
        return self.folder / "tokens"


#: Tables of the file and the values that they fill.
TABLES: dict[str, tuple[str, type[Any]]] = {
    "Site": ("site", SiteConfig),
    "WMS": ("wms", WmsConfig),
    "JobAgent": ("job_agent", JobAgentConfig),
    "JobWrapper": ("job_wrapper", JobWrapperConfig),
    "Telemetry": ("telemetry", TelemetryConfig),
}
for _, _kind in TABLES.values():  # once, when this is imported
    types_of(_kind)


def load(
    path: Path | None = None,
    folder: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> Config:
    """Read the configuration.

    The file is *path*, else `$JOBSPAN_CONFIG`, else `jobspan.toml` in the folder, else none. The
    folder is *folder*, else `$JOBSPAN_FOLDER`, else `~/.jobspan`. *overrides* (table -> option ->
    value) come from command lines and win over the file.

    Raises:
        ConfigError: unreadable, not TOML, an unknown option or an impossible value.
    """
    env = dict(os.environ if environment is None else environment)
    chosen = folder or Path(env.get(FOLDER_VARIABLE) or Path(env.get("HOME", "/")) / ".jobspan")
    chosen = chosen.expanduser().absolute()
    source = path or (Path(env[CONFIG_VARIABLE]) if env.get(CONFIG_VARIABLE) else None)
    if source is None and (chosen / "jobspan.toml").is_file():
        source = chosen / "jobspan.toml"
    document = _read_document(source) if source else {}
    for table, options in (overrides or {}).items():
        document[table] = {**document.get(table, {}), **options}
    values = _tables(document, str(source or "configuration"))
    values["wms"] = _with_fields(values["wms"], login_name=env.get("USER") or env.get("LOGNAME") or "user")
    if env.get(IDLE_VARIABLE):
        values["job_wrapper"] = _with_fields(values["job_wrapper"], check_cpu_consumed=Check.OFF)
    values["telemetry"] = _otel(values["telemetry"], env)
    return Config(folder=chosen, source=source, environment=env, http=_http(env), **values)


def describe(config: Config) -> Iterator[tuple[str, str, Any, Any, str]]:
    """Every option as (table, name, value, default, help); values of secrets are masked."""
    for table, (attribute, kind) in TABLES.items():
        values = getattr(config, attribute)
        for each in options_of(kind):
            value = getattr(values, each.name)
            if each.metadata["name"] == "OTLPHeaders":
                value = tuple(f"{item.partition('=')[0]}=***" for item in value)
            yield table, each.metadata["name"], value, each.default, each.metadata["help"]


def payload_environment(environment: Mapping[str, str], kept: frozenset[str] = frozenset()) -> dict[str, str]:
    """What of the agent's *environment* a payload inherits: nothing secret, none of our OTEL_* and JOBSPAN_*.

    *kept* are the names that the job itself asks for.
    """
    return {
        name: value
        for name, value in environment.items()
        if name in kept
        or not (
            name.startswith(("OTEL_", "JOBSPAN_"))
            or name in ("TRACEPARENT", "TRACESTATE", "BAGGAGE")
            or (SECRET_NAME.search(name) and len(value) >= SECRET_LEAST_LENGTH)
        )
    }


def secrets_of(environment: Mapping[str, str]) -> frozenset[str]:
    """The values of *environment* that must appear nowhere."""
    return frozenset(
        value for name, value in environment.items() if SECRET_NAME.search(name) and len(value) >= SECRET_LEAST_LENGTH
    )


def _read_document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name another with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def _tables(document: Mapping[str, Any], source: str) -> dict[str, Any]:
    for name in document:
        if name not in TABLES:
            raise ConfigError(f"{source}: unknown table [{name}]{suggest(name, TABLES)}")
    result = {}
    for name, (attribute, kind) in TABLES.items():
        given = document.get(name, {})
        if not isinstance(given, Mapping):
            raise ConfigError(f"{source}: [{name}] must be a table")
        result[attribute] = read_table(kind, given, f"{source}: [{name}]")
    _check_wrapper(result["job_wrapper"], source)
    return result


def _check_wrapper(wrapper: JobWrapperConfig, source: str) -> None:
    """What one option alone does not tell."""
    if problem := expression_problem(wrapper.stop_signal_regex):
        raise ConfigError(f"{source}: [JobWrapper] StopSigRegex {problem}")
    if wrapper.stop_signal_number > LAST_SIGNAL:
        raise ConfigError(f"{source}: [JobWrapper] StopSigNumber must be from 1 to {LAST_SIGNAL}")
    for value, option_name in ((wrapper.disk_se, "DiskSE"), (wrapper.tape_se, "TapeSE")):
        if value:
            raise ConfigError(
                f"{source}: [JobWrapper] {option_name} needs several kinds of storage elements; there is one: remove it"
            )


def _with_fields(values: T, **changes: Any) -> T:
    present = {each.name: getattr(values, each.name) for each in fields(values)}  # type: ignore[arg-type]
    return type(values)(**{**present, **changes})


def _otel(values: TelemetryConfig, env: Mapping[str, str]) -> TelemetryConfig:
    changes: dict[str, Any] = {}
    if env.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        changes["otlp_endpoint"] = env["OTEL_EXPORTER_OTLP_ENDPOINT"]
    if env.get("OTEL_EXPORTER_OTLP_HEADERS"):
        changes["otlp_headers"] = tuple(item.strip() for item in env["OTEL_EXPORTER_OTLP_HEADERS"].split(","))
    if env.get("OTEL_EXPORTER_OTLP_CERTIFICATE"):
        changes["otlp_certificate"] = env["OTEL_EXPORTER_OTLP_CERTIFICATE"]
    if env.get("OTEL_SERVICE_NAME"):
        changes["service_name"] = env["OTEL_SERVICE_NAME"]
    if env.get("OTEL_EXPORTER_OTLP_TIMEOUT"):  # milliseconds by the specification, whatever the SDK does
        try:
            changes["otlp_timeout_seconds"] = max(0.1, float(env["OTEL_EXPORTER_OTLP_TIMEOUT"]) / 1000)
        except ValueError as error:
            raise ConfigError("OTEL_EXPORTER_OTLP_TIMEOUT must be a number of milliseconds") from error
    return _with_fields(values, **changes)


def _http(env: Mapping[str, str]) -> HttpConfig:
    proxies = {}
    for scheme, variable in (("http", "http_proxy"), ("https", "https_proxy"), ("no_proxy", "no_proxy")):
        value = env.get(variable) or env.get(variable.upper())
        if value:
            proxies[scheme] = value
    return HttpConfig(proxies=proxies, ca_bundle=env.get("REQUESTS_CA_BUNDLE") or env.get("SSL_CERT_FILE") or "")
