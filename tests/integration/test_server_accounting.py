"""The WMS's ledger: idempotent, ranked, durable."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest
from sqlalchemy import create_engine, select

from runner.server.db.accounting_db import RECORDS
from runner.server.tokens import Role
from telemetry.identity import attempt_uid
from telemetry.ledger.record import Record
from tests.support.ledger import matched, whole_life
from tests.support.tree import ROOT
from tests.support.wms import RunningWms, running_wms

_SITES = count(1)


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[RunningWms]:
    """One WMS for the module."""
    with running_wms(tmp_path_factory.mktemp("wms"), database=database) as running:
        yield running


@pytest.fixture
def job(wms: RunningWms) -> dict[str, Any]:
    """A job that was just matched: the answer of the match."""
    site = f"LCG.Site{next(_SITES)}.org"
    wms.submit(f'Executable = "/bin/true"; Site = "{site}";')
    match = wms.match(Site=site)
    assert match
    return match


def record_of(job: dict[str, Any], **changes: Any) -> dict[str, Any]:
    fact = matched(job["JobID"], job["Attempt"], uid=job["UID"], wms_id=job["WMSID"])
    record: Record = whole_life(fact).record().replace(**changes)
    return {name: value for name, value in record.items() if value is not None}


def insert(wms: RunningWms, *records: dict[str, Any], token: str | None = None) -> list[str]:
    answer = wms.call("POST", "/api/jobspan/accounting", {"Records": records}, token=token or wms.pilot_token)
    assert answer.status_code == 200, answer.text
    return [result["Outcome"] for result in answer.json()["Results"]]


def held(wms: RunningWms, job: dict[str, Any], token: str = "") -> dict[str, Any]:
    found: dict[str, Any] = wms.call("GET", f"/api/jobspan/accounting?job_id={job['JobID']}", token=token).json()
    return found


def test_a_record_is_counted_once_however_often_it_comes(wms: RunningWms, job: dict[str, Any]) -> None:
    """The first copy is inserted, the others are duplicates, and the owner sees one record."""
    record = record_of(job)
    assert insert(wms, record, record, token=job["JobToken"]) == ["inserted", "duplicate"]
    assert insert(wms, record) == ["duplicate"]
    found = held(wms, job)
    assert [each["UID"] for each in found["Records"]] == [job["UID"]]
    assert found["Records"][0]["CPUTime"] == record["CPUTime"]
    assert (found["Superseded"], found["Duplicates"]) == (0, 2)


def test_the_same_record_with_another_body_is_a_conflict(wms: RunningWms, job: dict[str, Any]) -> None:
    """What is there stays, and the sender is told."""
    assert insert(wms, record_of(job), record_of(job, OutputBytes=1)) == ["inserted", "conflict"]
    assert held(wms, job)["Records"][0]["OutputBytes"] != 1


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_best_witness_counts_in_any_order(wms: RunningWms, job: dict[str, Any], order: tuple[int, ...]) -> None:
    """The wrapper's record stands above the agent's, and that above an estimate, whichever comes first."""
    records = [record_of(job, RecordedBy=by) for by in ("wms", "agent", "wrapper")]
    assert insert(wms, *(records[number] for number in order)) == ["inserted"] * 3
    found = held(wms, job)
    assert [each["RecordedBy"] for each in found["Records"]] == ["wrapper"]
    assert found["Superseded"] == 2


def test_the_highest_revision_counts(wms: RunningWms, job: dict[str, Any]) -> None:
    """Of one witness the highest revision counts, also if an older one comes later."""
    insert(wms, record_of(job, Revision=2), record_of(job, Revision=1))
    assert [each["Revision"] for each in held(wms, job)["Records"]] == [2]


def test_concurrent_copies_are_inserted_once(wms: RunningWms, job: dict[str, Any]) -> None:
    """Of many deliveries at once exactly one is the insert."""
    record = record_of(job)
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: insert(wms, record)[0], range(24)))
    assert sorted(outcomes) == ["duplicate"] * 23 + ["inserted"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"UID": "11111111-1111-1111-1111-111111111111"}, "never handed out"),
        ({"Attempt": 2}, "never handed out"),
        ({"CPUTime": "many"}, "CPUTime"),
        ({"JobID": -1}, "never handed out"),
        ({"JobID": None}, "JobID"),
        ({"JobID": "1"}, "JobID"),
        ({"Unheard": 1}, "Unheard"),
    ],
)
def test_what_is_no_record_does_not_hold_up_the_others(
    wms: RunningWms, job: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    """A wrong record is a conflict with the reason; the one beside it is taken."""
    body = {"Records": [{**record_of(job), **changes}, record_of(job)]}
    results = wms.call("POST", "/api/jobspan/accounting", body, token=wms.pilot_token).json()["Results"]
    assert [each["Outcome"] for each in results] == ["conflict", "inserted"]
    assert words in results[0]["Detail"]


def test_a_job_token_sends_its_own_record_only(wms: RunningWms, job: dict[str, Any]) -> None:
    """A record with another UID is 403, and nothing of the call is kept."""
    body = {"Records": [record_of(job), {**record_of(job), "UID": "11111111-1111-1111-1111-111111111111"}]}
    assert wms.call("POST", "/api/jobspan/accounting", body, token=job["JobToken"]).status_code == 403
    assert held(wms, job)["Records"] == []


def test_people_see_their_own_records_and_administrators_all(wms: RunningWms, job: dict[str, Any]) -> None:
    """Records and witness of alice's job: alice and the administrator see them, bob sees nothing."""
    insert(wms, record_of(job))
    bob = wms.token_for("bob", Role.USER)
    for path, key in (("accounting", "Records"), ("witness", "Attempts")):
        found = [
            len(wms.call("GET", f"/api/jobspan/{path}?job_id={job['JobID']}", token=token).json()[key])
            for token in (wms.user_token, wms.admin_token, bob)
        ]
        assert found == [1, 1, 0]


def test_records_come_in_pages(wms: RunningWms, job: dict[str, Any]) -> None:
    """Pages have the size that was asked for, and end with an empty one."""
    insert(wms, record_of(job))
    first = wms.call("GET", "/api/jobspan/accounting?page=1&per_page=1").json()["Records"]
    beyond = wms.call("GET", "/api/jobspan/accounting?page=100000&per_page=100").json()["Records"]
    assert (len(first), beyond) == (1, [])


def test_records_are_on_the_disk_when_they_are_acknowledged(wms: RunningWms, job: dict[str, Any]) -> None:
    """Another process that opens the database after the answer finds the record."""
    insert(wms, record_of(job))
    engine = create_engine(wms.context.settings.database.url)
    with engine.connect() as connection:
        rows = connection.execute(select(RECORDS.c.Body).where(RECORDS.c["UID"] == job["UID"])).all()
    engine.dispose()
    assert [json.loads(body)["JobID"] for (body,) in rows] == [job["JobID"]]


#: Another process over the same database: argv is its folder and the address, stdin the records, each sent so often.
DELIVERER = """
import json, sys
from pathlib import Path
from runner.config import load
from runner.server.app import open_context
from runner.server.services.accounting import Accounting
from runner.server.settings import ServerSettings
from runner.server.tokens import Identity, Role
from telemetry.clock import SystemClock
overrides = {"WMS": {"Database": sys.argv[2]}}
settings = ServerSettings.from_config(load(folder=Path(sys.argv[1]), environment={}, overrides=overrides))
accounting = Accounting(open_context(settings, SystemClock()))
pilot = Identity("pilot", "local_pilot", "local", frozenset({Role.PILOT}))
records = json.loads(sys.stdin.readline())
print("ready", flush=True)
sys.stdin.readline()
for record in records:
    print(accounting.insert(pilot, [record])[0]["Outcome"], flush=True)
"""
TIMES = 40


def test_two_processes_that_deliver_at_once_insert_once(wms: RunningWms, job: dict[str, Any]) -> None:
    """Two more processes on one database and threads of this one, the same records in different orders."""
    records = [record_of(job, RecordedBy=by, Revision=n) for by in ("wms", "agent", "wrapper") for n in (1, 2)]
    orders = (records, records[::-1])
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", DELIVERER, str(wms.folder), wms.context.settings.database_url],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
                )
            )
            for _ in orders
        ]  # fmt: skip
        for process, order in zip(processes, orders, strict=True):
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps(order * TIMES) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
        with ThreadPoolExecutor(4) as pool:
            for process in processes:
                assert process.stdin
                process.stdin.write("go\n")
                process.stdin.flush()
            mine = [outcome for each in pool.map(lambda record: insert(wms, record), records * 4) for outcome in each]
        told = [process.communicate(timeout=300)[0].split() for process in processes]
    outcomes = [*mine, *told[0], *told[1]]
    assert outcomes.count("inserted") == len(records)
    assert outcomes.count("duplicate") == len(outcomes) - len(records) == 2 * TIMES * len(records) + 18
    found = held(wms, job)
    assert [(each["RecordedBy"], each["Revision"]) for each in found["Records"]] == [("wrapper", 2)]
    assert (found["Superseded"], found["Duplicates"], found["Conflicts"]) == (5, outcomes.count("duplicate"), [])


def test_a_conflict_is_kept_and_shown_once(wms: RunningWms, job: dict[str, Any]) -> None:
    """What was refused for another body under its name stands beside the ledger, once however often it came."""
    insert(wms, record_of(job), record_of(job, OutputBytes=1), record_of(job, OutputBytes=1))
    insert(wms, record_of(job, OutputBytes=2))
    found = held(wms, job)
    assert [each["OutputBytes"] for each in found["Conflicts"]] == [1, 2]
    assert len(found["Records"]) == 1
    assert held(wms, job, wms.token_for("bob", Role.USER))["Conflicts"] == []


def test_the_history_has_every_record_in_the_order_of_arrival(wms: RunningWms, job: dict[str, Any]) -> None:
    """Superseded ones too, each with its arrival and its copies; nobody else sees them."""
    insert(wms, record_of(job, RecordedBy="wrapper"), record_of(job, RecordedBy="agent"))
    insert(wms, record_of(job, RecordedBy="agent"))
    path = f"/api/jobspan/accounting/history?job_id={job['JobID']}"
    rows = wms.call("GET", path).json()["History"]
    shown = [(each["Record"]["RecordedBy"], each["IsCurrent"], each["Duplicates"]) for each in rows]
    assert shown == [("wrapper", True, 0), ("agent", False, 1)]
    assert wms.call("GET", path, token=wms.token_for("bob", Role.USER)).json()["History"] == []


def test_records_of_another_wms(wms: RunningWms, job: dict[str, Any]) -> None:
    """The accounting of a WMS that keeps none is kept for it: once, beside ours, and shown to administrators alone."""
    theirs = {"JobID": job["JobID"], "WMSID": str(uuid.uuid4()), "Attempt": 1}
    theirs["UID"] = attempt_uid(theirs["WMSID"], theirs["JobID"], theirs["Attempt"])
    record = record_of({**job, **theirs})
    assert insert(wms, record, record_of(job)) == ["inserted", "inserted"]
    assert insert(wms, record) == ["duplicate"]
    assert insert(wms, {**record, "CPUTime": 1.5}) == ["conflict"]
    assert {each["UID"] for each in held(wms, job)["Records"]} == {job["UID"]}
    assert {each["UID"] for each in held(wms, job, wms.admin_token)["Records"]} == {job["UID"], theirs["UID"]}
    assert wms.status(job["JobID"])[0] == "Matched"


@pytest.mark.parametrize("wms_id", ["no uuid", "11111111-1111-1111-1111-111111111111"])
def test_a_record_of_another_wms_has_the_uid_that_follows(wms: RunningWms, job: dict[str, Any], wms_id: str) -> None:
    """One whose name does not follow from its WMS is none."""
    assert insert(wms, {**record_of(job), "WMSID": wms_id, "UID": str(uuid.uuid4())}) == ["conflict"]


def test_a_job_token_does_not_speak_for_another_wms(wms: RunningWms, job: dict[str, Any]) -> None:
    """A payload that has stolen it cannot fill the ledger with jobs that never were."""
    theirs = {"JobID": job["JobID"], "WMSID": str(uuid.uuid4()), "Attempt": 1}
    theirs["UID"] = attempt_uid(theirs["WMSID"], theirs["JobID"], theirs["Attempt"])
    body = {"Records": [record_of({**job, **theirs})]}
    assert wms.call("POST", "/api/jobspan/accounting", body, token=job["JobToken"]).status_code == 403
