"""What holds for every test: a clean environment, honest randomness, and nothing left behind."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from tests.support.components import IN_CI, cgroup1_folder, cgroup2_folder, require
from tests.support.databases import KINDS, DatabaseServers
from tests.support.diracx import RunningDiracx, running_diracx
from tests.support.processes import kill, marked_by
from tests.support.stores import S3Server, SearchServer
from tests.support.waiting import eventually

#: No deadline for one example: the machine may be busy, and durations are tested elsewhere.
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100, print_blob=True)
settings.register_profile("here", deadline=None, max_examples=50)
#: That an example is found is enough: no time goes into the smallest one.
settings.register_profile(
    "mutant", deadline=None, derandomize=True, max_examples=100, phases=(Phase.explicit, Phase.generate, Phase.target)
)
settings.load_profile("ci" if IN_CI else "here")

#: In the environment of every process that a test starts, unless the test or the product cleans it away.
MARK = f"PYTEST_RUN_MARK={secrets.token_hex(8)}"
#: How long processes and control groups of a test that is through may take to go.
LEAVING_SECONDS = 20.0
GROUPS = pytest.StashKey[set[Path]]()
REMOVED_PREFIXES = ("OTEL_", "JOBSPAN_", "PYTHONDONTWRITE", "TRACE", "BAGGAGE", "REQUESTS_CA", "CURL_CA", "SSL_CERT")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked cgroup, cgroup1, perf, root or prometheus need that very thing."""
    for marker, component in (
        ("cgroup", "cgroup"),
        ("cgroup1", "cgroup1"),
        ("perf", "perf"),
        ("root", "root"),
        ("prometheus", "promtool"),
    ):
        if item.get_closest_marker(marker):
            require(component)


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No proxy, collector, configuration or home folder of the person who runs the tests has a say in them."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(REMOVED_PREFIXES) or name.lower().endswith("_proxy"):
            del os.environ[name]
    name, _, value = MARK.partition("=")
    os.environ.update({name: value, "HOME": str(tmp_path_factory.mktemp("home"))})
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module", autouse=True)
def no_process_left(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """When a module of tests is through, no process that it started lives on (daemons included)."""
    yield
    base = tmp_path_factory.getbasetemp()

    def gone() -> bool:
        return not marked_by(MARK.encode(), base)

    try:
        eventually(gone, LEAVING_SECONDS)
    except AssertionError:
        left = marked_by(MARK.encode(), base)
        for seen in left:
            kill(seen)
        if left:
            pytest.fail(
                f"processes were left behind: {[(seen.pid, seen.command[:120]) for seen in left]}", pytrace=False
            )


@pytest.fixture(scope="session")
def database_servers() -> Iterator[DatabaseServers]:
    """Real database servers, started when a test asks for one."""
    servers = DatabaseServers()
    yield servers
    servers.close()


@pytest.fixture(scope="module", params=KINDS)
def database(request: pytest.FixtureRequest, database_servers: DatabaseServers) -> str:
    """The address of an empty database of each kind for the module; empty for SQLite in the WMS's folder."""
    return database_servers.fresh(request.param)


@pytest.fixture(params=KINDS)
def fresh_database(request: pytest.FixtureRequest, database_servers: DatabaseServers) -> str:
    """The same for one test."""
    return database_servers.again(request.param)


@pytest.fixture
def patient_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe is answered when all has been looked at, however long a busy machine takes for it."""
    for module in ("services", "routes"):
        monkeypatch.setattr(f"runner.server.{module}.health.PATIENCE_SECONDS", 600.0)


@pytest.fixture(scope="session")
def s3(clean_environment: None) -> Iterator[S3Server]:
    """A real S3 server, one for all tests that only use it."""
    server = S3Server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def opensearch(clean_environment: None) -> Iterator[SearchServer]:
    """A real OpenSearch, one for all tests that need it: it takes seconds to start."""
    server = SearchServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def diracx(clean_environment: None) -> Iterator[RunningDiracx]:
    """A real DiracX server, one for all tests that need it: it takes ten seconds to start."""
    require("diracx")
    with tempfile.TemporaryDirectory(prefix="jobspan-diracx-") as folder, running_diracx(Path(folder)) as running:
        yield running


def pytest_sessionstart(session: pytest.Session) -> None:
    """Remember the control groups that were there before, for the end."""
    session.config.stash[GROUPS] = _groups()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """When all tests are through, no empty control group of ours is left that was not there before.

    Asked for where there is no other worker that may be in the middle of a test: after all of them.
    """
    if hasattr(session.config, "workerinput"):
        return
    suspects = _groups() - session.config.stash[GROUPS]

    def gone() -> bool:
        suspects.intersection_update(_groups())
        return not suspects

    try:
        eventually(gone, LEAVING_SECONDS)
    except AssertionError:
        for group in suspects:
            with contextlib.suppress(OSError):  # gone or used in the meantime
                group.rmdir()
        print(f"\nFAILED control groups were left behind: {sorted(map(str, suspects))}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _groups() -> set[Path]:
    """Control groups named after us without a process in them (those with one belong to a run that goes on)."""
    version_1 = (cgroup1_folder(controller) for controller in ("cpuacct", "memory", "pids", "freezer"))
    folders = {cgroup2_folder(), *version_1}
    # Others make and remove groups meanwhile: unlike rglob, a walk passes over what vanishes under it.
    walks = (each for folder in folders if folder for each in os.walk(folder))
    found = (Path(place, name) for place, names, _ in walks for name in names if name.startswith("jobspan"))
    return {each for each in found if _is_ours(each) and not _is_used(each)}


def _is_ours(group: Path) -> bool:
    """Another user's test run may go on beside ours."""
    try:
        return group.stat().st_uid == os.getuid()
    except OSError:
        return False


def _is_used(group: Path) -> bool:
    """Whether a process is in the group or below it."""
    try:
        return any(procs.read_text() for procs in group.rglob("cgroup.procs"))
    except OSError:
        return True
