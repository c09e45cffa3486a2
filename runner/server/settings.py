"""What the embedded WMS needs to know, frozen."""

import re
import socket
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.config import Config, WmsConfig
from runner.errors import ConfigError
from runner.server.db.address import DatabaseAddress
from runner.server.sandboxes.bucket import Bucket
from runner.server.tokens import OF_JOB_TOKENS, Role

#: Largest JSON body. A submission is the largest: twenty descriptions of 1 MiB are not met in practice.
MAX_BODY_BYTES = 16 << 20
#: What a multipart body adds around a sandbox: boundaries, headers, form fields.
MULTIPART_OVERHEAD_BYTES = 64 << 10
#: Names of users and groups: in small letters, so that no database takes two for one.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Values of `[WMS]`, and where the server keeps its state."""

    folder: Path
    #: Where an agent beside the WMS writes what it tells of its jobs.
    telemetry: Path = Path()
    #: Where reports are left for the console.
    reports: Path = Path()
    #: Empty: SQLite in the folder.
    database_url: str = field(default="", repr=False)
    database_password_file: str = ""
    database_connections: int = 20
    parameters_url: str = field(default="", repr=False)
    #: Where sandboxes are; None: in the folder.
    bucket: Bucket | None = None
    vo: str = "local"
    owner: str = "user"
    owner_group: str = "local_user"
    #: The properties that a group gives; the first group is the default of a login.
    groups: Mapping[str, frozenset[Role]] = field(default_factory=lambda: read_groups(WmsConfig().groups))
    access_token_seconds: float = 1200.0
    refresh_token_seconds: float = 7 * 86400.0
    #: However often it is renewed, a login ends.
    session_seconds: float = 30 * 86400.0
    #: Of security.txt: an address or page to which weaknesses are reported.
    security_contact: str = "mailto:root@localhost"
    #: Names by which browsers may ask for the console; addresses are those of the connection.
    console_hosts: frozenset[str] = frozenset({"localhost"})
    max_rescheduling: int = 3
    max_sandbox_bytes: int = 100 << 20
    max_body_bytes: int = MAX_BODY_BYTES
    max_jobs_per_call: int = 1000
    max_wait_seconds: float = 60.0
    catalogs: tuple[str, ...] = ("FileCatalog",)
    storage_elements: tuple[str, ...] = ("SE-USER",)
    #: By storage element, the sites that it is near to; one that is not named is near to all of them.
    near_sites: Mapping[str, frozenset[str]] = field(default_factory=dict)
    #: A request is dead after so many failures in a row; the pause after the first, doubled after each further one.
    request_tries: int = 100
    request_retry_seconds: float = 10.0
    request_lease_seconds: float = 60.0
    job_token_seconds: float = 3600.0
    #: So long after its end a job token can still be exchanged for a fresh one, and for nothing else.
    job_token_renewal_seconds: float = 7 * 86400.0
    stalled_time_seconds: float = 600.0
    failed_time_seconds: float = 10800.0
    matched_time_seconds: float = 300.0
    rescheduled_time_seconds: float = 600.0
    login_token_seconds: float = 30 * 86400.0
    presigned_seconds: float = 300.0
    #: Of a group beside that of another: how many jobs each has with wrappers.
    shares: Mapping[str, float] = field(default_factory=dict)
    #: By SITE, SITE/TYPE, * or */TYPE: most jobs at a site, and seconds between two matches.
    running_limits: Mapping[str, float] = field(default_factory=dict)
    matching_delays: Mapping[str, float] = field(default_factory=dict)
    #: Optimizers beyond those that every job goes through, by their names as entry points.
    optimizers: tuple[str, ...] = ()
    max_parametric_jobs: int = 1000
    #: Of all sandboxes of one owner; 0: no limit. And how long what is kept, 0: for ever.
    sandbox_quota_bytes: int = 0
    sandbox_retention_seconds: float = 7 * 86400.0
    job_retention_seconds: float = 0.0
    pilot_log_retention_seconds: float = 30 * 86400.0
    cleaning_polling_seconds: float = 60.0
    #: Metrics that nobody has spoken of for so long are not listed for Prometheus any more.
    target_seconds: float = 300.0
    #: Calls under way have so long when the server is told to stop.
    shutdown_seconds: float = 10.0
    minimum_disk_bytes: int = 0

    @classmethod
    def from_config(cls, config: Config) -> "ServerSettings":
        """The settings that `[WMS]` of *config* asks for."""
        wms = config.wms
        return cls(
            folder=config.wms_folder,
            telemetry=config.telemetry_folder,
            reports=config.folder / "reports",
            database_url=wms.database,
            database_password_file=wms.database_password_file,
            database_connections=wms.database_connections,
            parameters_url=wms.parameters_url,
            bucket=Bucket.from_config(config),
            vo=wms.vo,
            owner=wms.owner or wms.login_name,
            owner_group=wms.owner_group,
            groups=read_groups(wms.groups),
            security_contact=wms.security_contact,
            console_hosts=frozenset(map(str.lower, ("localhost", wms.host, socket.gethostname(), *wms.console_hosts))),
            access_token_seconds=wms.access_token_seconds,
            refresh_token_seconds=wms.refresh_token_seconds,
            max_rescheduling=wms.max_rescheduling,
            stalled_time_seconds=wms.stalled_time_seconds,
            failed_time_seconds=max(wms.failed_time_seconds, wms.stalled_time_seconds),
            matched_time_seconds=wms.matched_time_seconds,
            rescheduled_time_seconds=wms.rescheduled_time_seconds,
            max_sandbox_bytes=wms.max_sandbox_bytes,
            catalogs=wms.catalogs,
            storage_elements=wms.storage_elements,
            near_sites=_near_sites(wms.site_storage, wms.storage_elements),
            request_tries=wms.request_tries,
            request_retry_seconds=wms.request_retry_seconds,
            shares=_numbers("Shares", wms.shares),
            running_limits=_numbers("RunningLimits", wms.running_limits),
            matching_delays=_numbers("MatchingDelays", wms.matching_delays),
            optimizers=wms.optimizers,
            max_parametric_jobs=wms.max_parametric_jobs,
            sandbox_quota_bytes=wms.sandbox_quota_bytes,
            sandbox_retention_seconds=wms.sandbox_retention_seconds,
            job_retention_seconds=wms.job_retention_seconds,
            pilot_log_retention_seconds=wms.pilot_log_retention_seconds,
            target_seconds=wms.target_seconds,
            shutdown_seconds=wms.shutdown_seconds,
            minimum_disk_bytes=wms.minimum_disk_bytes,
        )

    @property
    def stalled_polling_seconds(self) -> float:
        """Time between two looks at jobs of which nothing is heard: short beside what they look for."""
        shortest = min(self.stalled_time_seconds, self.matched_time_seconds, self.rescheduled_time_seconds)
        return min(30.0, shortest / 4)

    @property
    def database(self) -> DatabaseAddress:
        """Where all databases are: an SQLite file in the folder, if nothing else is said.

        Raises:
            ConfigError: what is said is no address of a database that is supported.
        """
        if not self.database_url:
            return DatabaseAddress.of_file(self.folder / "wms.sqlite")
        return DatabaseAddress.parse(self.database_url, password_file=self.database_password_file)

    @property
    def longest_token_seconds(self) -> float:
        """So long may a token count that was made just now, whichever it is."""
        job = self.job_token_seconds + self.job_token_renewal_seconds
        return max(self.login_token_seconds, self.refresh_token_seconds, job)

    @property
    def earlier_secret(self) -> Path:
        """The secret behind the tokens of earlier versions; not there if there were none."""
        return self.folder / "signing.key"

    @property
    def keys(self) -> Path:
        """The keys that sign tokens and presigned addresses."""
        return self.folder / "keys.json"

    @property
    def sandboxes(self) -> Path:
        """Where sandboxes lie, each under its number, unless a bucket has them."""
        return self.folder / "sandboxes"


def _numbers(option: str, items: Iterable[str]) -> dict[str, float]:
    """What a list of `NAME=number` says."""
    result = {}
    for item in items:
        name, _, number = item.rpartition("=")
        try:
            result[name.strip()] = float(number)
        except ValueError:
            raise ConfigError(f"[WMS] {option}: {item!r} must be NAME=number") from None
        if not name.strip() or not 0 <= result[name.strip()] < 1e12:
            raise ConfigError(f"[WMS] {option}: {item!r} must be NAME=number, with a number from 0 on")
    return result


def _near_sites(items: Iterable[str], known: Collection[str]) -> dict[str, frozenset[str]]:
    """What a list of `SITE=SE` says, by storage element."""
    result: defaultdict[str, set[str]] = defaultdict(set)
    for item in items:
        site, _, element = (part.strip() for part in item.partition("="))
        if not site or element not in known:
            raise ConfigError(f"[WMS] SiteStorage: {item!r} must be SITE=SE, with one of {', '.join(known)}")
        result[element].add(site)
    return {element: frozenset(sites) for element, sites in result.items()}


def read_groups(texts: Iterable[str]) -> dict[str, frozenset[Role]]:
    """The groups of `[WMS] Groups`, in this order.

    Raises:
        ConfigError: not "name=Property+Property", or a property that does not exist.
    """
    known = [role.value for role in Role if role not in OF_JOB_TOKENS]
    groups: dict[str, frozenset[Role]] = {}
    for text in texts:
        name, _, properties = text.partition("=")
        if not NAME.fullmatch(name) or name in groups or not set(properties.split("+")) <= set(known):
            raise ConfigError(
                f'[WMS] Groups: {text!r} is not "name=Property+Property" with a name of its own; '
                f"properties are {', '.join(known)}"
            )
        groups[name] = frozenset(map(Role, properties.split("+")))
    if not groups:
        raise ConfigError("[WMS] Groups: there must be one at least")
    return groups
