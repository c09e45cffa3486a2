"""The tables of the configuration file: every option with its name, its default and its meaning. Pure.

Option names are DIRAC's where DIRAC has the option; `jobspan config show` prints them all.
"""

from dataclasses import dataclass, field

from runner.options import Check, check, option


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
    dialect: str = option(
        "Dialect", "jobspan", "what answers at URL: our own WMS, or a DiracX server", choices=("jobspan", "diracx")
    )
    accounting_url: str = option(
        "AccountingURL", "", "with a DiracX server: a `jobspan wms` that keeps the accounting; empty: OTLP alone"
    )
    accounting_token_file: str = option("AccountingTokenFile", "", "file with the token of a JobAdministrator there")
    timeout_seconds: float = option("Timeout", 10.0, "deadline of one call to the WMS, seconds", minimum=0.1)
    host: str = option("Host", "127.0.0.1", "address on which the embedded WMS listens")
    port: int = option("Port", 0, "its port; 0: any free one, written to wms.url in the folder", minimum=0)
    vo: str = option("VO", "local", "virtual organisation of the embedded WMS's users")
    owner: str = option("Owner", "", "user of the embedded WMS's user token; empty: the login name")
    owner_group: str = option("OwnerGroup", "local_user", "group of that user")
    max_rescheduling: int = option("MaxRescheduling", 3, "how often a job is rescheduled at most", minimum=0)
    stalled_time_seconds: float = option(
        "StalledTime", 600.0, "a job not heard of for so long is Stalled, seconds (DIRAC: 4500)", minimum=0.1
    )
    failed_time_seconds: float = option(
        "FailedTime", 10800.0, "and for so long, Failed, seconds (DIRAC: 11700)", minimum=0.1
    )
    matched_time_seconds: float = option(
        "MatchedTime", 300.0, "a match not heard of for so long is taken back, seconds (DIRAC: 7200)", minimum=0.1
    )
    rescheduled_time_seconds: float = option(
        "RescheduledTime", 600.0, "a job that stays Rescheduled for so long is put back, seconds", minimum=0.1
    )
    max_sandbox_bytes: int = option("MaxSandboxSize", 100 << 20, "largest sandbox that is taken, bytes", minimum=1)
    catalogs: tuple[str, ...] = option(
        "Catalogs", ("FileCatalog",), "file catalogues that exist; the first is the master"
    )
    storage_elements: tuple[str, ...] = option(
        "StorageElements", ("SE-USER",), "storage elements that exist, each a folder of the embedded WMS's"
    )
    request_polling_time_seconds: float = option(
        "RequestPollingTime",
        10.0,
        "how often the embedded WMS looks for requests to execute, seconds; 0: never",
        minimum=0,
    )
    request_retry_seconds: float = option(
        "RequestRetryTime",
        10.0,
        "pause after a request's first failure, seconds; doubled by each, up to 1 h",
        minimum=0.01,
    )
    request_tries: int = option("RequestTries", 100, "failures in a row after which a request is given up", minimum=1)
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
    max_outbox_jobs: int = option(
        "MaxOutboxJobs", 1000, "with more ended jobs that wait for the WMS than this, no new job is taken", minimum=0
    )
    max_outbox_bytes: int = option(
        "MaxOutboxSize", 256 << 20, "the same for the size of their control folders, bytes", minimum=0
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
    failover_se: tuple[str, ...] = option("FailoverSE", (), "elements for output data whose own one is away")
    failover_folder: str = option("FailoverFolder", "", "shared folder for output data that no element takes now")
    failover_request_delay_minutes: float = option(
        "FailoverRequestDelay", 0.0, "a request is not executed before this time, minutes (DIRAC: 45)", minimum=0
    )
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
