"""Real components that a machine may lack: a test that needs one says so, and CI insists on it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from telemetry.measure.perf import TaskClock
from tests.support import diracx
from tests.support.tree import ROOT

#: Read at import, before the tests' environment is cleaned.
IN_CI = os.environ.get("JOBSPAN_CI") == "1"
#: Where `make servers` keeps what it has built.
KEPT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jobspan-components"


def cgroup2_folder() -> Path | None:
    """Our own group in the unified hierarchy; None when there is no such hierarchy."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    points = [fields[4] for fields in mounts if fields[fields.index("-") + 1] == "cgroup2"]
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    return Path(points[0] + own[0].rstrip("/")) if points and own else None


def cgroup1_folder(controller: str) -> Path | None:
    """Our own group in the hierarchy of a controller of version 1; None when there is no such hierarchy."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    points = [fields[4] for fields in mounts if fields[-3] == "cgroup" and controller in fields[-1].split(",")]
    own = [path for _, controllers, path in lines if controller in controllers.split(",")]
    return Path(points[0] + own[0].rstrip("/")) if points and own else None


def _cgroup() -> str:
    return _can_make_group(cgroup2_folder(), "v2")


def _cgroup1() -> str:
    return _can_make_group(cgroup1_folder("cpuacct"), "v1")


def _can_make_group(folder: Path | None, version: str) -> str:
    if folder is None:
        return f"no cgroup {version} hierarchy is mounted"
    probe = folder / f"jobspan-test-probe-{os.getpid()}"
    try:
        probe.mkdir()
    except OSError as error:
        return f"no control group can be made in {folder}: {error.strerror}"
    probe.rmdir()
    return ""


def _memory1() -> str:
    return _root() or _can_make_group(cgroup1_folder("memory"), "v1 memory")


def _perf() -> str:
    try:
        TaskClock.open().close()
    except OSError as error:
        return str(error.strerror)
    return ""


def faketime() -> str:
    """The library that shows a process another time; empty when the package is not installed."""
    return next((str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), "")


def _faketime() -> str:
    return "" if faketime() else "the package faketime is not installed"


def _root() -> str:
    return "" if os.geteuid() == 0 else "needs root"


def _program(name: str) -> Callable[[], str]:
    return lambda: "" if shutil.which(name) else f"{name} is not installed"


def _server(*names: str) -> Callable[[], str]:
    """Debian keeps the programs of servers out of PATH."""
    folders = ["/usr/sbin", "/usr/bin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]

    def missing() -> str:
        absent = [name for name in names if not (shutil.which(name) or shutil.which(name, path=":".join(folders)))]
        return f"{' and '.join(absent)} not installed" if absent else ""

    return missing


def _slurm() -> str:
    """A cluster of the tests' own, which gives its daemons a host name of their own."""
    programs = ("munged", "slurmctld", "slurmd", "slurmdbd", "sbatch", "sacct")
    return _root() or _server(*programs)() or COMPONENTS["mariadb"]() or _host_name()


def _host_name() -> str:
    tried = subprocess.run(["unshare", "--uts", "true"], capture_output=True, text=True, timeout=30, check=False)
    return tried.stderr.strip()


def _kept(pattern: str) -> Path | None:
    return max(KEPT.glob(pattern), default=None)


def s3_server() -> Path | None:
    """The program of the S3 server that `make servers` builds."""
    return _kept("versitygw-*/versitygw")


def search_server() -> Path | None:
    """The folder of the OpenSearch that `make servers` installs."""
    found = _kept("opensearch-*/classes/SearchServer.class")
    return found.parents[1] if found else None


def collector_program() -> Path | None:
    """The program of the OpenTelemetry Collector that `make servers` builds."""
    return _kept("otelcol-*/otelcol")


def _otelcol() -> str:
    return "" if collector_program() else "`make servers` builds an OpenTelemetry Collector"


def _s3() -> str:
    return "" if s3_server() else "`make servers` builds an S3 server"


def _opensearch() -> str:
    return ("" if search_server() else "`make servers` installs OpenSearch") or _program("java")()


def trace_viewer() -> Path | None:
    """The folder of the Trace Viewer (of chrome://tracing), as Go brings it for `go tool trace`; None without it."""
    if shutil.which("go") is None:
        return None
    asked = subprocess.run(["go", "env", "GOROOT"], capture_output=True, text=True, timeout=30, check=False)
    root = Path(asked.stdout.strip() or "/nowhere")
    places = (root / "src" / "internal" / "trace" / "traceviewer" / "static", root / "misc" / "trace")
    return next((place for place in places if (place / "trace_viewer_full.html").is_file()), None)


def _trace_viewer() -> str:
    return "" if trace_viewer() else "Go's sources, which have the Trace Viewer, are not installed"


def _alertmanager() -> str:
    has_templates = Path("/usr/share/prometheus/alertmanager").is_dir()
    return _program("prometheus-alertmanager")() or ("" if has_templates else "Alertmanager's templates are not there")


#: The environment that `make official` makes: DiracX's clients and schemathesis, with pins of their own.
OFFICIAL = ROOT / ".cache" / "official"


def _official() -> str:
    return "" if (OFFICIAL / "bin" / "dirac").exists() else "`make official` installs DiracX's own clients"


#: What may be required: a name, and a check that returns why it is absent, or nothing.
COMPONENTS: dict[str, Callable[[], str]] = {
    "cgroup": _cgroup,
    "cgroup1": _cgroup1,
    "memory1": _memory1,
    "perf": _perf,
    "root": _root,
    "faketime": _faketime,
    "promtool": _program("promtool"),
    "diracx": diracx.missing,
    "prometheus": _program("prometheus"),
    "alertmanager": _alertmanager,
    "amtool": _program("amtool"),
    "node-exporter": _program("prometheus-node-exporter"),
    "mariadb": _server("mariadbd", "mariadb-install-db"),
    "postgresql": _server("postgres", "initdb"),
    "slurm": _slurm,
    "official-clients": _official,
    "s3": _s3,
    "opensearch": _opensearch,
    "chromium": _program("chromium"),
    "otelcol": _otelcol,
    "trace-viewer": _trace_viewer,
    "systemd-analyze": _program("systemd-analyze"),
}


def require(component: str) -> None:
    """Go on only if *component* is there: else skip with the reason, or, in CI, fail with it."""
    reason = COMPONENTS[component]()
    if reason and IN_CI:
        pytest.fail(f"{component} must be there in CI: {reason}", pytrace=False)
    if reason:
        pytest.skip(reason)
