"""The databases themselves: versions and migrations, what they must all do alike, restarts, races, passwords."""

import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, select
from sqlalchemy.exc import IntegrityError

from runner.config import describe, load
from runner.errors import ConfigError
from runner.redaction import Redactor
from runner.server.db import connections
from runner.server.db.address import DatabaseAddress
from runner.server.db.engine import Databases, Transaction
from runner.server.db.job_db import JOBS
from runner.server.db.leases_db import LEASES
from runner.server.db.task_queue_db import TaskQueueDB
from runner.server.db.versions import BEGUN, known, run_steps
from runner.server.serve import migrate_database
from tests.support.databases import PASSWORD, DatabaseServers
from tests.support.migration import difference
from tests.support.tree import ROOT
from tests.support.waiting import MOST_SECONDS_VARIABLE, eventually
from tests.support.wms import RunningWms, running_wms

SERVERS = ("mariadb", "postgresql")
FIRST_RELEASE = ROOT / "tests" / "data" / "first_release.sql"
WAIT_SECONDS = 60.0
#: What must not happen has so long to happen; longer where it was made possible on purpose (`tests/mutants`).
CHANCE_SECONDS = 5.0 if MOST_SECONDS_VARIABLE in os.environ else 0.3


@pytest.fixture
def address(tmp_path: Path, fresh_database: str) -> DatabaseAddress:
    """An empty database of each kind."""
    return DatabaseAddress.parse(fresh_database) if fresh_database else DatabaseAddress.of_file(tmp_path / "x.sqlite")


@pytest.fixture
def databases(address: DatabaseAddress) -> Iterator[Databases]:
    """The databases of a WMS, new, on each kind."""
    opened = Databases(address)
    yield opened
    opened.close()


def job(databases: Databases, **attributes: Any) -> int:
    """A new job."""
    values = {"Owner": "alice", "OwnerGroup": "g", "VO": "v", "Status": "Waiting", "MinorStatus": "m"}
    times = dict.fromkeys(("SubmissionTime", "LastStatusTime", "SubmitStart", "SubmitEnd"), 1)
    with databases.write() as transaction:
        return transaction.jobs.add({**values, **times, **attributes})


# --- versions ---------------------------------------------------------------------------------


def test_the_migrations_make_what_the_modules_declare(address: DatabaseAddress) -> None:
    """All steps, on an empty database, lead to the tables of the modules: else `tests.support.migration` writes one."""
    engine = create_engine(address.url)
    with engine.connect() as connection:
        run_steps(connection)
        connection.commit()
        left = difference(connection).upgrade_ops.as_diffs()
    engine.dispose()
    assert left == []


def test_a_new_database_is_of_the_newest_version(address: DatabaseAddress) -> None:
    """It has the tables of the modules and the number of the last step, and opens again."""
    Databases(address).close()
    Databases(address).close()
    engine = create_engine(address.url)
    with engine.connect() as connection:
        left = difference(connection).upgrade_ops.as_diffs()
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    engine.dispose()
    assert (left, version) == ([], known()[-1])


def test_two_processes_may_make_one_database(database_servers: DatabaseServers, fresh_database: str) -> None:
    """Whoever comes second waits for the tables, and both have one WMSID."""
    if not fresh_database:
        pytest.skip("one process has an SQLite file")
    address = DatabaseAddress.parse(fresh_database)

    def open_and_ask() -> str:
        databases = Databases(address)

        def ask() -> str:
            with databases.write(durable=True) as transaction:
                return transaction.system.wms_id()

        try:
            return databases.repeated(ask)
        finally:
            databases.close()

    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(open_and_ask) for _ in range(4)]
        assert len({each.result(WAIT_SECONDS) for each in found}) == 1


def test_tables_that_were_half_made_are_completed(address: DatabaseAddress) -> None:
    """A first start that was killed while it made the tables is gone on with by the next."""
    Databases(address).close()
    engine = create_engine(address.url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{BEGUN}'")
        connection.exec_driver_sql("DROP TABLE pilots_logging")
    Databases(address).close()
    with engine.connect() as connection:
        left = difference(connection).upgrade_ops.as_diffs()
    engine.dispose()
    assert left == []


@pytest.mark.parametrize(("version", "said"), [("0001", "jobspan wms migrate"), ("9999", "newer than")])
def test_another_version_is_refused_in_words(address: DatabaseAddress, version: str, said: str) -> None:
    """Older tables and newer ones are left alone, and the refusal says what to do."""
    Databases(address).close()
    engine = create_engine(address.url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{version}'")
    engine.dispose()
    with pytest.raises(ConfigError, match=said):
        Databases(address)


def test_a_database_of_the_first_release_is_upgraded_without_loss(tmp_path: Path) -> None:
    """It is refused as it is; after the migration every row is there, and its jobs go on."""
    file = tmp_path / "wms" / "wms.sqlite"
    file.parent.mkdir()
    before = sqlite3.connect(file)
    before.executescript(FIRST_RELEASE.read_text())
    old = rows(before)
    before.close()
    config = load(folder=tmp_path, environment={})
    with pytest.raises(ConfigError, match=r"first release.*migrate"), running_wms(tmp_path):
        pass
    assert migrate_database(config) == ("none", known()[-1])
    assert migrate_database(config) == (known()[-1], known()[-1])
    after = sqlite3.connect(file)
    new = rows(after)
    after.close()
    new["jobs"] = [row[: len(old["jobs"][0])] for row in new["jobs"]]  # a column came to them
    assert {name: new[name] for name in old if name != "system_facts"} == {
        name: found for name, found in old.items() if name != "system_facts"
    }
    assert ("SchemaVersion", "2") in new["system_facts"]  # the first release refuses it from now on
    with running_wms(tmp_path) as wms:
        assert [wms.status(number)[0] for number in (1, 2, 3)] == ["Done", "Running", "Waiting"]
        assert (wms.match() or {})["JobID"] == 3
        assert wms.submit() == 4
        assert len(wms.call("GET", "/api/jobspan/accounting?job_id=1").json()["Records"]) == 1


def rows(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr) for name in names}


# --- what all must do alike -------------------------------------------------------------------


def test_texts_are_kept_and_compared_exactly(databases: Databases) -> None:
    """Upper and lower case, a space at the end, and characters of four bytes make a difference everywhere."""
    names = ["abc", "ABC", "abc ", "\U0001f600", "\u00e9", "e\u0301"]
    for name in names:
        job(databases, JobName=name)
    with databases.read() as transaction:
        query = select(JOBS.c.JobName)
        found = [transaction.connection.scalars(query.where(JOBS.c.JobName == name)).all() for name in names]
        ordered = transaction.connection.scalars(query.order_by(JOBS.c.JobName)).all()
    assert found == [[name] for name in names]
    assert ordered == sorted(names)


def test_long_texts_and_moments_come_back(databases: Databases) -> None:
    """A description of several MiB and times to the microsecond are what they were."""
    moment, text = 1_795_258_103_435_310_000, "x\u00e9" * (1 << 19)
    number = job(databases, LastUpdateTime=moment)
    with databases.write(durable=True) as transaction:
        transaction.jobs.set_description(number, {"Executable": text})
        transaction.parameters.set_job_parameters(number, {"A": text, "B": [1, {"c": None}]}, moment)
    with databases.read() as transaction:
        row = transaction.jobs.get(number)
        assert row is not None
        assert row["LastUpdateTime"] == moment
        assert transaction.jobs.description(number) == {"Executable": text}
        assert transaction.parameters.get_job_parameters(number) == {"A": text, "B": [1, {"c": None}]}


def test_a_view_is_of_one_moment(databases: Databases) -> None:
    """Within one look nothing changes, whatever others commit meanwhile; and nobody waits for it."""
    number = job(databases)
    with databases.read() as transaction:
        assert (transaction.jobs.get(number) or {})["MinorStatus"] == "m"
        with databases.write() as other:
            other.jobs.change(number, {"MinorStatus": "changed"})
        assert (transaction.jobs.get(number) or {})["MinorStatus"] == "m"


def test_queues_are_found_however_many_there_are(databases: Databases) -> None:
    """Those of one VO in which somebody waits, each with its most urgent job; or those of them that are named."""
    with databases.write() as transaction:
        queues = [transaction.task_queues.find_or_add(f"{each}", "v", each, "{}") for each in range(600)]
        other = transaction.task_queues.find_or_add("of another", "w", 0, "{}")
        asked = [(queue, number) for number, queue in enumerate([*queues[:-1], other], 1) if number % 3]
        jobs = [(queue, number % 7 - 3) for queue, number in asked] + [(queues[0], 9), (queues[0], 1)]
        fixed = {"Owner": "o", "OwnerGroup": "g", "VO": "v", "Status": "Waiting", "MinorStatus": "m"}
        fixed |= dict.fromkeys(("SubmissionTime", "LastStatusTime", "SubmitStart", "SubmitEnd"), 1)  # type: ignore[arg-type]
        rows = [{**fixed, "TaskQueueID": queue, "UserPriority": urgency} for queue, urgency in jobs]
        transaction.connection.execute(insert(JOBS), rows)
    expected = {queue: number % 7 - 3 for queue, number in asked if queue != other} | {queues[0]: 9}
    with databases.read() as transaction:
        assert dict(transaction.task_queues.filled("v")) == expected
        named = dict(transaction.task_queues.filled("v", queues[:100]))
        assert named == {queue: urgency for queue, urgency in expected.items() if queue in queues[:100]}
        assert transaction.task_queues.filled("nobody") == []
        assert sorted(transaction.task_queues.of_vo("v")) == queues
        firsts = transaction.task_queues.first_jobs(queues, 1000)
        assert [queue for queue, _ in firsts] == [*list(expected)[1:], queues[0]]  # whose most urgent job came late
        assert transaction.task_queues.first_jobs(queues, 5) == firsts[:5]
        urgent = [queue for queue, urgency in expected.items() if urgency == 3]
        known = transaction.task_queues.first_jobs(urgent, 1000, 3)
        assert known == [each for each in firsts if each[0] in urgent]


def test_pilots_write_their_log(databases: Databases) -> None:
    """Entries come back in the order of arrival, page by page, until they are too old."""
    lines = [(5, "last"), (1, "first"), (3, "\U0001f600" * 50_000)]
    entries = [
        {"PilotStamp": "stamp", "MessageTime": t, "ArrivalTime": 9, "Severity": "INFO", "Source": "s", "Message": m}
        for t, m in lines
    ]
    with databases.write() as transaction:
        transaction.pilot_logs.add(entries)
        transaction.pilot_logs.add([{**entries[0], "PilotStamp": "other"}])
    with databases.read() as transaction:
        found = transaction.pilot_logs.of_pilot("stamp")
        second = transaction.pilot_logs.of_pilot("stamp", 1, 1)
    assert [(row["MessageTime"], row["Message"]) for row in found] == lines
    assert [row["MessageTime"] for row in second] == [1]
    with databases.write() as transaction:
        assert transaction.pilot_logs.forget(9) == 0
        assert transaction.pilot_logs.forget(10) == 4


def test_usage_is_thinned_out(databases: Databases) -> None:
    """The older an attempt, the further apart its points are; one of the same moment or of the past is not kept."""
    second = 10**9
    with databases.write() as transaction:
        for number, moment in enumerate((1000, 1000, 1001, 999, 2000, 2006, 2007)):
            transaction.usage.add(7, 1, moment * second, {"CPUConsumed": 0.5 * number, "OutputBytes": 1 << 40})
        transaction.usage.add(7, 2, 5, {})
    with databases.read() as transaction:
        points = [(row["Attempt"], row["Time"], row["CPUConsumed"]) for row in transaction.usage.of_job(7)]
    kept = [(1, moment * second, cpu) for moment, cpu in ((1000, 0.0), (1001, 1.0), (2000, 2.0), (2007, 3.0))]
    assert points == [*kept, (2, 5, None)]


# --- races ------------------------------------------------------------------------------------


def test_queues_are_counted_when_they_come_and_go(databases: Databases) -> None:
    """The number that stands for all queues changes with each of them, and not when one is only found."""

    def generation(change: Callable[[TaskQueueDB], object]) -> int:
        with databases.write() as transaction:
            change(transaction.task_queues)
        with databases.read() as transaction:
            return transaction.task_queues.generation()

    steps = [
        generation(change)
        for change in (
            lambda queues: queues.find_or_add("one", "v", 0, "{}"),
            lambda queues: queues.find_or_add("one", "v", 0, "{}"),
            lambda queues: queues.find_or_add("two", "v", 0, "{}"),
            TaskQueueDB.remove_empty,
            TaskQueueDB.remove_empty,
            lambda queues: queues.find_or_add("one", "v", 0, "{}"),
        )
    ]
    assert [later != earlier for earlier, later in pairwise(steps)] == [False, True, True, False, True]
    assert sorted(steps) == steps


def test_a_queue_that_is_about_to_be_filled_stays(databases: Databases) -> None:
    """Whoever has found it puts his job there, although it was empty when the empty ones were looked for."""
    if not databases.is_shared:
        pytest.skip("SQLite has one writer at a time")
    with databases.write() as transaction:
        queue = transaction.task_queues.find_or_add("one", "v", 0, "{}")
    with databases.write() as transaction:
        assert transaction.task_queues.find_or_add("one", "v", 0, "{}") == queue
        with databases.write() as cleaning:
            assert cleaning.task_queues.remove_empty() == 0
        times = dict.fromkeys(("SubmissionTime", "LastStatusTime", "SubmitStart", "SubmitEnd"), 1)
        texts = {"Owner": "o", "OwnerGroup": "g", "VO": "v", "Status": "Waiting", "MinorStatus": "m"}
        transaction.jobs.add({**texts, **times, "TaskQueueID": queue})
    with databases.write() as cleaning:
        assert cleaning.task_queues.remove_empty() == 0
        assert cleaning.task_queues.strays() == []


def test_one_of_many_gets_the_lease(databases: Databases) -> None:
    """Of processes that ask at once for a periodic task one gets it, and another when it has not come back."""

    def take(holder: str, now_ns: int) -> bool:
        def ask() -> bool:
            with databases.write() as transaction:
                return transaction.leases.take("task", holder, now_ns, 100)

        return databases.repeated(ask)

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda number: take(str(number), 1000), range(8)))
    assert got.count(True) == 1
    winner = str(got.index(True))
    assert [take(winner, 1050), take("x", 1100), take("x", 1150), take(winner, 1160)] == [True, False, True, False]


def test_a_job_that_is_decided_about_is_nobody_elses(databases: Databases) -> None:
    """A second call that reads the job in order to change it sees what the first has made of it."""
    number = job(databases, UserPriority=0)
    begun, read = threading.Event(), threading.Event()

    def add_one() -> None:
        begun.set()
        with databases.write() as transaction:
            row = transaction.jobs.get(number)
            read.set()
            assert row is not None
            transaction.jobs.change(number, {"UserPriority": row["UserPriority"] + 1})

    with ThreadPoolExecutor(1) as pool:
        with databases.write() as transaction:
            row = transaction.jobs.get(number)
            second = pool.submit(add_one)
            assert begun.wait(WAIT_SECONDS)
            assert not read.wait(CHANCE_SECONDS)
            assert row is not None
            transaction.jobs.change(number, {"UserPriority": row["UserPriority"] + 1})
        second.result(WAIT_SECONDS)
    with databases.read() as transaction:
        assert (transaction.jobs.get(number) or {})["UserPriority"] == 2


def test_who_waits_in_a_ring_is_tried_again(databases: Databases) -> None:
    """Two calls that lock each other's job: the database ends one, it is made again, and both are done once."""
    if not databases.is_shared:
        pytest.skip("SQLite has one writer at a time")
    numbers = [job(databases, UserPriority=0), job(databases, UserPriority=0)]
    meeting = threading.Barrier(2)
    tries: list[int] = []

    def change(order: list[int], first_time: list[bool]) -> None:
        tries.append(1)
        with databases.write() as transaction:
            for number in order:
                row = transaction.jobs.get(number)
                assert row is not None
                transaction.jobs.change(number, {"UserPriority": row["UserPriority"] + 1})
                if first_time.pop():
                    meeting.wait(WAIT_SECONDS)
                first_time.append(False)

    with ThreadPoolExecutor(2) as pool:
        calls = [partial(change, order, [True]) for order in (numbers, numbers[::-1])]
        for done in [pool.submit(databases.repeated, each) for each in calls]:
            done.result(WAIT_SECONDS)
    with databases.read() as transaction:
        assert [(transaction.jobs.get(number) or {})["UserPriority"] for number in numbers] == [2, 2]
    assert len(tries) >= 3  # at the second try they may wait in a ring again


def test_what_was_committed_is_not_done_again(databases: Databases) -> None:
    """A call that has changed something before a deadlock ends it is not repeated: it would count twice."""
    if not databases.is_shared:
        pytest.skip("SQLite has one writer at a time")
    calls: list[int] = []

    def call() -> None:
        calls.append(job(databases, JobName="once"))
        with databases.write() as transaction:
            for _ in range(2):  # the second hurts the key, as if another process had been first
                transaction.connection.execute(insert(LEASES), {"Name": "task", "Holder": "x", "ExpiryTime": 1})

    with pytest.raises(IntegrityError):
        databases.repeated(call)
    assert len(calls) == 1


# --- servers ----------------------------------------------------------------------------------


def test_a_transaction_asks_its_server_for_nothing_else(
    database_servers: DatabaseServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statements and its end are all that goes to the server and back: with many clients the rest would add up."""
    monkeypatch.setattr(
        connections, "FRESH_SECONDS", 1000.0
    )  # no look comes so late that its connection is asked first
    databases = Databases(DatabaseAddress.parse(database_servers.server("mariadb").again()), 1)
    query = "SHOW SESSION STATUS WHERE Variable_name IN ('Questions', 'Com_admin_commands')"

    def asked(look: Callable[[], AbstractContextManager[Transaction]]) -> int:
        with look() as transaction:
            return sum(int(row[1]) for row in transaction.connection.exec_driver_sql(query))

    for look in (databases.write, databases.read):
        assert -asked(look) + asked(look) == 2, "the end of the first transaction, and this very question"
    databases.close()


def test_a_connection_that_has_ended_meanwhile_is_made_anew(
    databases: Databases, address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was idle is asked first, so that nobody notices; one that has just worked costs a call another try."""
    if not databases.is_shared:
        pytest.skip("a file has no connections")
    for fresh_seconds in (-1.0, 1000.0):
        monkeypatch.setattr(connections, "FRESH_SECONDS", fresh_seconds)
        number = job(databases)
        end_connection(address, databases)
        tries: list[int] = []

        def change(number: int = number, tries: list[int] = tries) -> None:
            tries.append(number)
            with databases.write() as transaction:
                transaction.jobs.change(number, {"MinorStatus": "changed"})

        databases.repeated(change)
        assert len(tries) == (1 if fresh_seconds < 0 else 2)
        with databases.read() as transaction:
            assert (transaction.jobs.get(number) or {})["MinorStatus"] == "changed"


def end_connection(address: DatabaseAddress, databases: Databases) -> None:
    """End the connection that the next change would use, as a server does that is started again."""
    whose, end, alive = {
        "postgresql": (
            "SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})",
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {}",
        ),
        "mariadb": (
            "SELECT CONNECTION_ID()", "KILL {}", "SELECT count(*) FROM information_schema.PROCESSLIST WHERE ID = {}",
        ),
    }[address.url.get_backend_name()]  # fmt: skip
    with databases.write() as transaction:
        number = transaction.connection.exec_driver_sql(whose).scalar()
    engine = create_engine(address.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(end.format(number))
        eventually(
            lambda: connection.exec_driver_sql(alive.format(number)).scalar() == 0,
            WAIT_SECONDS,
            "the connection to end",
        )
    engine.dispose()


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_may_be_started_again(tmp_path: Path, database_servers: DatabaseServers, kind: str) -> None:
    """While it is away calls are told to come again later; once it is back they succeed with the same WMS."""
    server = database_servers.server(kind)
    with running_wms(tmp_path, database=server.again()) as wms:
        number = wms.submit()
        server.stop()
        try:
            away = wms.call("POST", "/api/jobs/search", {})
        finally:
            server.start()
        assert (away.status_code, away.headers.get("Retry-After")) == (503, "1")
        assert wms.status(number)[0] == "Waiting"
        assert (wms.match() or {})["JobID"] == number


def test_a_password_is_shown_nowhere(
    tmp_path: Path, database_servers: DatabaseServers, caplog: pytest.LogCaptureFixture
) -> None:
    """It may stand in the address or in a file; configuration, errors, logs and whatever is masked do not have it."""
    server = database_servers.server("mariadb")
    url = server.again()
    (secret := tmp_path / "password").write_text(PASSWORD + "\n")
    bare = server.url(url.rpartition("/")[2], password=False)
    for options in ({"Database": url}, {"Database": bare, "DatabasePasswordFile": str(secret)}):
        with running_wms(tmp_path, overrides={"WMS": options}) as wms:
            assert wms.submit()
        config = load(folder=tmp_path, environment={}, overrides={"WMS": options})
        shown = {name: value for _, name, value, _, _ in describe(config)}
        assert shown["Database"] == "mariadb://***@" + url.rpartition("@")[2]
        encoded = url.partition("jobspan:")[2].partition("@")[0]
        known_as = encoded if options["Database"] == url else PASSWORD
        assert known_as not in Redactor.of(config)(f"it is {known_as}")
    wrong = url.replace("@127", "WRONG@127")
    with pytest.raises(ConfigError) as refused, running_wms(tmp_path, database=wrong):
        pass
    assert "cannot be used as a database" in str(refused.value)
    for text in (str(refused.value), repr(refused.value.__cause__), caplog.text):
        assert not any(each in text for each in (PASSWORD, "WRONG", url))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mariadb://", "names no database"),
        ("nonsense secret", "not an address"),
        ("oracle://h/x", "no support for oracle"),
        ("mysql+mysqldb://h/x", "pymysql"),
        ("postgresql://h:port/x", "not an address"),
    ],
)
def test_wrong_addresses_are_refused_in_words(text: str, said: str) -> None:
    """What is wrong with an address is said without showing it."""
    with pytest.raises(ConfigError, match=said) as refused:
        DatabaseAddress.parse(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "module", "extra"), [("mysql://h/x", "pymysql", "mysql"), ("postgres://h/x", "psycopg", "postgresql")]
)
def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch, text: str, module: str, extra: str) -> None:
    """Without its driver a database is refused with the extra that brings it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"pip install 'jobspan\[{extra}\]'"):
        DatabaseAddress.parse(text)


def test_a_postgresql_database_that_sorts_otherwise_is_refused(database_servers: DatabaseServers) -> None:
    """Collation and encoding are those of the other databases, or the refusal says how to make such a database."""
    server = database_servers.server("postgresql")
    server.execute(["DROP DATABASE IF EXISTS latin", "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'"])
    with pytest.raises(ConfigError, match="LC_COLLATE 'C'"):
        Databases(DatabaseAddress.parse(server.url("latin")))


def test_a_regular_expression_that_only_python_knows_is_refused(tmp_path: Path, fresh_database: str) -> None:
    """What one database cannot read is 422, never an error of the server."""
    with running_wms(tmp_path, database=fresh_database) as wms:
        wms.submit()
        for pattern in ("(?P<a>x)", "(?<=x)y", "\\Z"):
            assert search(wms, "regex", pattern) < 500
        for pattern in ("\\", "%\\", "a%", "\x00"):
            assert search(wms, "like", pattern) < 500


def search(wms: RunningWms, operator: str, value: str) -> int:
    body = {"search": [{"parameter": "JobName", "operator": operator, "value": value}]}
    return wms.call("POST", "/api/jobs/search", body).status_code
