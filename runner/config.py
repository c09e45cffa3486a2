"""The configuration: frozen values, read once from one TOML file and the environment.

This is the only module that reads the environment. What can be configured stands in `runner.tables`.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from runner.collector import with_environment
from runner.errors import ConfigError
from runner.options import Check, expression_problem, options_of, read_table, suggest, types_of
from runner.tables import (
    JobAgentConfig,
    JobWrapperConfig,
    ReconcileConfig,
    SiteConfig,
    TelemetryConfig,
    WmsConfig,
)

__all__ = [
    "Config", "HttpConfig", "JobAgentConfig", "JobWrapperConfig", "ReconcileConfig", "SiteConfig", "TelemetryConfig",
    "WmsConfig", "describe", "load", "payload_environment", "secrets_of",
]  # fmt: skip

T = TypeVar("T")

CONFIG_VARIABLE = "JOBSPAN_CONFIG"
FOLDER_VARIABLE = "JOBSPAN_FOLDER"
#: DIRAC's: payloads compute elsewhere, so that their CPU/wall ratio says nothing. A file of this name in the job's
#: folder means the same for one job.
IDLE_VARIABLE = "DISABLE_WATCHDOG_CPU_WALLCLOCK_CHECK"
#: Names of environment variables whose values are secret; the payload gets them only if its job names them.
SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|CREDENTIAL|AUTH|KEY", re.IGNORECASE)
SECRET_LEAST_LENGTH = 8
#: User and password in an address.
ADDRESS_USERINFO = re.compile(r"(?<=://).*@")
#: The same within any text.
USERINFO = re.compile(r"(?<=://)[^/\s@'\"<>]+@")
#: Of Linux.
LAST_SIGNAL = 64


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
    reconcile: ReconcileConfig = field(default_factory=ReconcileConfig)
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
        """OTLP/JSON lines of this node: traces.jsonl and logs.jsonl, and what its payloads have sent (payload-...)."""
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
    "Reconcile": ("reconcile", ReconcileConfig),
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
    values["wms"] = _with_fields(
        values["wms"],
        login_name=env.get("USER") or env.get("LOGNAME") or "user",
        s3_key_id=env.get("AWS_ACCESS_KEY_ID", ""),
        s3_secret_key=env.get("AWS_SECRET_ACCESS_KEY", ""),
        s3_session_token=env.get("AWS_SESSION_TOKEN", ""),
    )
    if env.get(IDLE_VARIABLE):
        values["job_wrapper"] = _with_fields(values["job_wrapper"], check_cpu_consumed=Check.OFF)
    values["telemetry"] = with_environment(values["telemetry"], env)
    absolute = source.absolute() if source else None  # processes that work elsewhere read it again
    return Config(folder=chosen, source=absolute, environment=env, http=_http(env), **values)


def describe(config: Config) -> Iterator[tuple[str, str, Any, Any, str]]:
    """Every option as (table, name, value, default, help); values of secrets are masked."""
    for table, (attribute, kind) in TABLES.items():
        values = getattr(config, attribute)
        for each in options_of(kind):
            value = getattr(values, each.name)
            if each.metadata["name"] == "OTLPHeaders":
                value = tuple(f"{item.partition('=')[0]}=***" for item in value)
            elif each.metadata["name"] in ("Database", "ParametersURL"):
                value = ADDRESS_USERINFO.sub("***@", value)
            elif isinstance(value, str):
                value = USERINFO.sub("***@", value)
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
            or name in ("TRACEPARENT", "TRACESTATE", "BAGGAGE", "NOTIFY_SOCKET")
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


def _http(env: Mapping[str, str]) -> HttpConfig:
    proxies = {}
    for scheme, variable in (("http", "http_proxy"), ("https", "https_proxy"), ("no_proxy", "no_proxy")):
        value = env.get(variable) or env.get(variable.upper())
        if value:
            proxies[scheme] = value
    return HttpConfig(proxies=proxies, ca_bundle=env.get("REQUESTS_CA_BUNDLE") or env.get("SSL_CERT_FILE") or "")
