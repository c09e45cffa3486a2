"""The tables of the configuration file: every option with its name, its default and its meaning. Pure.

Option names are DIRAC's where DIRAC has the option; `jobspan config show` prints them all.
"""

from collections.abc import Mapping
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
    required_tags: tuple[str, ...] = option("RequiredTag", (), "the node takes only jobs that ask for all these tags")
    max_ram_mb: float = option("MaxRAM", 0.0, "memory that a job may ask for, MB; 0: the node does not say", minimum=0)
    apel_level: str = option(
        "APELLevel", "off", "what this site publishes in APEL: off, payload (our exports) or batch (its batch system)",
        choices=("off", "payload", "batch"),
    )  # fmt: skip
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
    ca_file: str = option("CAFile", "", "file with the certificate authorities of the WMS; empty: those of the system")
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
    database: str = option(
        "Database",
        "",
        "the embedded WMS's database: mariadb://user@host/name, mysql:// or postgresql://; empty: SQLite in the folder",
    )
    database_password_file: str = option(
        "DatabasePasswordFile", "", "file with the database's password, which then is not in the address"
    )
    database_connections: int = option(
        "DatabaseConnections",
        20,
        "connections to a database server at most, for looking and for changes each",
        minimum=1,
    )
    parameters_url: str = option(
        "ParametersURL", "", "OpenSearch server that keeps the job parameters; empty: the database does"
    )
    sandbox_bucket: str = option(
        "SandboxBucket", "", "S3 bucket that keeps the sandboxes; empty: a folder of the embedded WMS does"
    )
    sandbox_endpoint: str = option(
        "SandboxEndpoint", "", "address of its S3 server, as worker nodes reach it too; empty: Amazon's"
    )
    sandbox_region: str = option("SandboxRegion", "us-east-1", "its region")
    sandbox_credentials_file: str = option(
        "SandboxCredentialsFile", "", "file with its credentials, as AWS has it; empty: AWS_ACCESS_KEY_ID and so on"
    )
    tls_cert: str = option("TLSCert", "", "certificate (chain) of the embedded WMS, PEM; empty: no TLS")
    tls_key: str = option("TLSKey", "", "its private key, PEM; empty: in the same file")
    plain_http: bool = option(
        "PlainHTTPFlag",
        False,
        "serve other addresses than loopback without TLS: tokens go over the network in the clear",
    )
    vo: str = option("VO", "local", "virtual organisation of the embedded WMS's users")
    owner: str = option("Owner", "", "user of the embedded WMS's user token; empty: the login name")
    owner_group: str = option("OwnerGroup", "local_user", "group of that user")
    groups: tuple[str, ...] = option(
        "Groups",
        ("local_user=NormalUser", "local_admin=NormalUser+JobAdministrator", "local_pilot=GenericPilot"),
        'groups of users, each "name=Property+Property"; the first is the default of a login',
    )
    access_token_seconds: float = option(
        "AccessTokenTime", 1200.0, "life of a token of a login, seconds; it is renewed by itself", minimum=60
    )
    refresh_token_seconds: float = option(
        "RefreshTokenTime", 7 * 86400.0, "a login that is not used for so long is over, seconds", minimum=60
    )
    security_contact: str = option(
        "SecurityContact", "mailto:root@localhost", "whom security.txt names: mailto: or https: address"
    )
    console_hosts: tuple[str, ...] = option(
        "ConsoleHosts",
        (),
        "names under which browsers reach the web console, beside Host, this machine's name and localhost",
    )
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
    sandbox_quota_bytes: int = option(
        "SandboxQuota", 0, "most that one user may have stored in sandboxes, bytes; 0: no limit", minimum=0
    )
    sandbox_retention_seconds: float = option(
        "SandboxRetention",
        604800.0,
        "a sandbox that belongs to no job is removed after so long, seconds; 0: never",
        minimum=0,
    )
    job_retention_seconds: float = option(
        "JobRetention",
        0.0,
        "a job that is over and accounted for is removed after so long, seconds; 0: never (DIRAC: 7 days)",
        minimum=0,
    )
    pilot_log_retention_seconds: float = option(
        "PilotLogRetention", 2592000.0, "logs of pilots are removed after so long, seconds; 0: never", minimum=0
    )
    shares: tuple[str, ...] = option(
        "Shares", (), "of the slots that several groups want, as GROUP=number; a group that is not named has 1"
    )
    running_limits: tuple[str, ...] = option(
        "RunningLimits", (), "most jobs at a site, as SITE=number or SITE/JOBTYPE=number; * stands for each site"
    )
    matching_delays: tuple[str, ...] = option(
        "MatchingDelays", (), "least time between two matches, as SITE=seconds or SITE/JOBTYPE=seconds; * as above"
    )
    optimizers: tuple[str, ...] = option(
        "Optimizers", (), "steps before JobScheduling, by their names in the entry points jobspan.optimizer"
    )
    max_parametric_jobs: int = option(
        "MaxParametricJobs", 1000, "most jobs that one parametric description makes (DIRAC: 20)", minimum=1
    )
    shutdown_seconds: float = option(
        "ShutdownTime", 10.0, "calls under way have so long when the embedded WMS is told to stop, seconds", minimum=0.1
    )
    minimum_disk_bytes: int = option(
        "MinDiskSpace", 64 << 20, "with less free disk than this, bytes, the embedded WMS is not ready", minimum=0
    )
    metrics_host: str = option("MetricsHost", "127.0.0.1", "address of its /metrics; beyond loopback with a token file")
    metrics_port: int = option(
        "MetricsPort", 0, "their port; 0: any free one, written to wms-metrics.url in the folder", minimum=0
    )
    metrics_token_file: str = option("MetricsTokenFile", "", "file with the bearer token that scrapers must show")
    target_seconds: float = option(
        "TargetTime", 300.0, "an agent that says no more where its metrics are leaves /sd after so long, seconds",
        minimum=1,
    )  # fmt: skip
    trace_rate: float = option(
        "TraceRate", 100.0, "spans of calls a second at most, others are dropped and counted; 0: none", minimum=0
    )
    trace_file_bytes: int = option(
        "TraceFileSize", 64 << 20, "largest telemetry/wms-traces.jsonl, bytes; one older is kept; 0: no file", minimum=0
    )
    login_name: str = field(default="user", metadata={"derived": True})
    #: Of the S3 server, from the environment.
    s3_key_id: str = field(default="", repr=False, metadata={"derived": True})
    s3_secret_key: str = field(default="", repr=False, metadata={"derived": True})
    s3_session_token: str = field(default="", repr=False, metadata={"derived": True})


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
    owners: tuple[str, ...] = option("Owner", (), "take jobs of these users only")
    owner_groups: tuple[str, ...] = option("OwnerGroup", (), "take jobs of these groups only")
    job_types: tuple[str, ...] = option("JobType", (), "take jobs of these types only")
    metrics_host: str = option("MetricsHost", "127.0.0.1", "address of /metrics; beyond loopback it needs a token file")
    metrics_port: int = option(
        "MetricsPort", 0, "its port; 0: any free one, written to metrics.url in the folder", minimum=0
    )
    metrics_token_file: str = option("MetricsTokenFile", "", "file with the bearer token that scrapers must show")
    max_job_gauges: int = option(
        "MaxJobGauges", 1000, "living jobs that have gauges of their own in /metrics at most; 0: none", minimum=0
    )
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
        "OutputFileLimit", 2 << 30, "largest stdout or stderr on disk, bytes; see OutputFileAction", minimum=1024
    )
    output_file_action: str = option(
        "OutputFileAction", "truncate", "beyond OutputFileLimit: truncate (drop the file's middle), kill, warn or off",
        choices=("truncate", "kill", "warn", "off"),
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
    own_metrics: bool = option(
        "MetricsFlag", True, "a wrapper without an agent has /metrics of its own, at MetricsHost of [JobAgent]"
    )
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


#: How bodies to a collector are packed.
COMPRESSIONS = ("gzip", "deflate", "none")


@dataclass(frozen=True, kw_only=True)
class SignalConfig:
    """Where one signal (traces, logs) is sent and how, when file and environment have said all."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    token_file: str = ""
    timeout_seconds: float = 10.0
    compression: str = "gzip"
    certificate: str = ""
    client_certificate: str = ""
    client_key: str = ""


@dataclass(frozen=True, kw_only=True)
class TelemetryConfig:
    """`[Telemetry]`, and the standard OTEL_EXPORTER_OTLP_* variables, which win."""

    user_names: str = option(
        "UserNames", "hashed", "users in what leaves the site (OTLP, exports): hashed, with a key, or plain",
        choices=("hashed", "plain"),
    )  # fmt: skip
    user_hash_key_file: str = option(
        "UserHashKeyFile", "", "file with that key, one for a whole site; empty: user-hash.key in the folder, made once"
    )
    otlp_endpoint: str = option("OTLPEndpoint", "", "collector to which spans and records are sent; empty: files only")
    otlp_headers: tuple[str, ...] = option(
        "OTLPHeaders", (), 'additional headers, each "name=value", percent-encoded; values are secret'
    )
    otlp_token_file: str = option(
        "OTLPTokenFile", "", "file with a bearer token for the collector, read again when it answers 401"
    )
    otlp_timeout_seconds: float = option(
        "OTLPTimeout", 10.0, "deadline of one call to the collector, seconds", minimum=0.1
    )
    otlp_compression: str = option(
        "OTLPCompression", "gzip", "how bodies are packed: gzip, deflate or none", choices=COMPRESSIONS
    )
    otlp_certificate: str = option("OTLPCertificate", "", "file with the certificate authorities of the collector")
    otlp_client_certificate: str = option("OTLPClientCertificate", "", "file with the certificate that we show to it")
    otlp_client_key: str = option("OTLPClientKey", "", "file with the key of that; empty: it is in the same file")
    service_name: str = option("ServiceName", "jobspan", "service.name of everything that is sent")
    resource_attributes: tuple[str, ...] = option(
        "ResourceAttributes", (), 'what else is said of this node, each "name=value", percent-encoded'
    )
    #: What follows from these and the environment; None: that signal is not sent.
    traces: SignalConfig | None = None
    logs: SignalConfig | None = None
    resource: Mapping[str, str] = field(default_factory=dict)

    @property
    def sends(self) -> bool:
        """Whether anything goes to a collector."""
        return bool(self.traces or self.logs)


@dataclass(frozen=True, kw_only=True)
class ReconcileConfig:
    """`[Reconcile]`: how far two sources may be apart in `jobspan reconcile --source`, and what it may use."""

    wall_seconds: float = option("WallTolerance", 120.0, "wall clocks may differ by this, seconds", minimum=0)
    wall_fraction: float = option("WallFraction", 0.02, "or by this share of the larger, if that is more", minimum=0)
    cpu_seconds: float = option("CPUTolerance", 60.0, "CPU may differ by this, seconds", minimum=0)
    cpu_fraction: float = option("CPUFraction", 0.05, "or by this share of the larger, if that is more", minimum=0)
    benchmark_fraction: float = option("BenchmarkFraction", 0.01, "scores may differ by this share", minimum=0)
    skew_seconds: float = option(
        "SkewTolerance", 5.0, "ends of equally long attempts may differ by this, seconds", minimum=1
    )
    late_seconds: float = option(
        "LateAfter", 86400.0, "a record that arrives longer after the end is late, seconds", minimum=0
    )
    future_seconds: float = option(
        "FutureTolerance", 86400.0, "no attempt ends later than this after now, seconds", minimum=0
    )
    most_cpu_seconds: float = option("MostCPU", 1e8, "no attempt has more CPU than this, seconds", minimum=1)
    fuzzy_seconds: float = option(
        "FuzzyTolerance",
        120.0,
        "records without a key are one, if starts and ends are no further apart, seconds",
        minimum=1,
    )
    pilot_fraction: float = option(
        "PilotFraction", 0.05, "payloads may have this share more than their pilot", minimum=0
    )
    overhead_fraction: float = option(
        "OverheadFraction", 0.05, "share of a pilot's CPU that may be nobody's", minimum=0
    )
    idle_fraction: float = option("IdleFraction", 0.2, "share of a pilot's core time that may be nobody's", minimum=0)
    systematic_pairs: int = option("SystematicPairs", 5, "so many differences of one class, and", minimum=2)
    systematic_fraction: float = option(
        "SystematicFraction", 0.5, "this share of a site's, host's or pilot's attempts, have one cause", minimum=0
    )
    allowed_core_hours: float = option(
        "AllowedCoreHours", 0.0, "exit code 1 above so many core hours in question", minimum=0
    )
    allowed_differences: int = option("AllowedDifferences", 0, "and above so many differences", minimum=0)
    memory_mb: int = option(
        "ReconcileMemory", 800, "memory of the engine, MB; what is beyond goes to a disk", minimum=100
    )
    threads: int = option("ReconcileThreads", 2, "threads of the engine", minimum=1)
    spill_folder: str = option("SpillFolder", "", "where that disk is; empty: reconcile in the folder")
