"""Sums over the accounting, and its export."""

import csv
import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select

from runner.config import load
from runner.server.db.accounting_db import RECORDS
from runner.server.db.accounting_type_db import JOB_TYPE
from runner.server.serve import migrate_database
from runner.server.services.accounting_report import AccountingReport
from runner.server.tokens import Role
from telemetry.identity import attempt_uid
from tests.support.ledger import matched, whole_life
from tests.support.wms import RunningWms, running_wms

LIFE = {"2026-01-01T10:10:00.000000Z": 10.0, "2026-01-01T10:50:00.000000Z": 20.0, "2026-01-01T12:30:00.000000Z": 40.0}


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[RunningWms]:
    """A WMS on each kind of database, with three records of alice's and one of bob's."""
    with running_wms(tmp_path_factory.mktemp("wms"), database=database) as running:
        for end, wall in LIFE.items():
            account(running, "LCG.One.org", end, wall)
        account(running, "LCG.Two.org", "2026-01-01T10:20:00.000000Z", 5.0, running.token_for("bob", Role.USER))
        yield running


def account(wms: RunningWms, site: str, end: str, wall: float, token: str = "") -> None:
    """A job that ran at *site* and has a record with that end, in two revisions of which the second counts."""
    wms.call("POST", "/api/jobs/jdl", [f'Executable = "/bin/true"; Site = "{site}"; JobType = "Merge";'], token=token)
    wms.settle()
    match = wms.match(Site=site)
    assert match
    fact = matched(match["JobID"], 1, uid=match["UID"], wms_id=match["WMSID"])
    record = whole_life(fact).record()
    for revision in (1, 2):
        values = {"Site": site, "EndTime": end, "WallClockTime": wall * revision, "ExecTime": wall * revision}
        body = dict(record.replace(Revision=revision, User="forged", FinalMinorStatus="=1+1", **values))
        answer = wms.call("POST", "/api/jobspan/accounting", {"Records": [body]}, token=wms.pilot_token).json()
        assert answer["Results"][0]["Outcome"] == "inserted", answer


def sums(wms: RunningWms, query: str, token: str = "") -> list[dict[str, Any]]:
    answer = wms.call("GET", f"/api/jobspan/accounting/summary?{query}", token=token or wms.admin_token)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["Rows"]
    return rows


def test_sums_by_site_count_each_attempt_once(wms: RunningWms) -> None:
    """Only the record that counts is summed up, by whatever key is asked for."""
    assert [(row["Site"], row["Jobs"], row["WallClockTime"]) for row in sums(wms, "group_by=Site")] == [
        ("LCG.One.org", 3, 140.0),
        ("LCG.Two.org", 1, 10.0),
    ]
    assert [(row["User"], row["Jobs"]) for row in sums(wms, "group_by=User")] == [("alice", 3), ("bob", 1)]


def test_sums_by_time_come_in_buckets(wms: RunningWms) -> None:
    """A record counts in the bucket in which its attempt ended; times before start and from end on do not."""
    rows = sums(wms, "group_by=JobType&bucket_seconds=3600&where=Site=LCG.One.org")
    assert [(row["Bucket"][:16], row["Jobs"]) for row in rows] == [("2026-01-01T10:00", 2), ("2026-01-01T12:00", 1)]
    within = sums(wms, "group_by=Site&start=2026-01-01T10:20:00Z&end=2026-01-01T12:30:00Z")
    assert [(row["Site"], row["Jobs"]) for row in within] == [("LCG.One.org", 1), ("LCG.Two.org", 1)]


def test_a_user_sees_the_own_sums(wms: RunningWms) -> None:
    """Whoever is no administrator gets sums and records of the own jobs only, whatever a node wrote into them."""
    assert [(row["Site"], row["Jobs"]) for row in sums(wms, "group_by=Site", wms.user_token)] == [("LCG.One.org", 3)]
    other = wms.token_for("forged", Role.USER)
    assert sums(wms, "group_by=Site", other) == []
    assert wms.call("GET", "/api/jobspan/accounting/export", token=other).json() == {"Rows": []}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("group_by=Nope", 400),
        ("where=Nope=1", 400),
        ("where=Site", 400),
        ("start=yesterday", 422),
        ("start=2026-01-01T00:00:00", 422),
        ("bucket_seconds=1", 422),
        ("format=xml", 422),
    ],
)
def test_impossible_questions_are_refused(wms: RunningWms, query: str, code: int) -> None:
    """An unknown key is 400 with the known ones, what is no time or number 422."""
    assert wms.call("GET", f"/api/jobspan/accounting/summary?{query}").status_code == code


def test_the_export_has_whole_records_in_both_forms(wms: RunningWms) -> None:
    """JSON and CSV hold the same records in the order of their ends; no text becomes a formula."""
    path = "/api/jobspan/accounting/export?where=Site=LCG.One.org"
    rows = wms.call("GET", path).json()["Rows"]
    assert [row["EndTime"] for row in rows] == list(LIFE)
    assert {row["Revision"] for row in rows} == {2}
    answer = wms.call("GET", f"{path}&format=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["UID"] for row in table] == [row["UID"] for row in rows]
    assert {row["FinalMinorStatus"] for row in table} == {"'=1+1"}
    second = wms.call("GET", f"{path}&page=2&per_page=2").json()["Rows"]
    assert [row["UID"] for row in second] == [rows[2]["UID"]]


def test_records_from_before_the_sums_are_counted(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Records of an earlier version get their columns when the server starts."""
    folder = tmp_path_factory.mktemp("before")
    with running_wms(folder) as wms:
        account(wms, "LCG.One.org", "2026-01-01T10:10:00.000000Z", 1.0)
        with wms.context.databases.write() as transaction:
            transaction.connection.exec_driver_sql("DELETE FROM accounting_type_job")
        assert sums(wms, "group_by=Site") == []
    with running_wms(folder) as wms:
        assert json.dumps([row["Jobs"] for row in sums(wms, "group_by=Site")]) == "[1]"


def test_history_and_witness_can_be_those_of_a_time(wms: RunningWms) -> None:
    """From the start on, before the end, superseded records too; a moment without a zone is refused."""
    path = "/api/jobspan/accounting/history?start=2026-01-01T10:20:00Z&end=2026-01-01T12:30:00Z"
    found = wms.call("GET", path, token=wms.admin_token).json()["History"]
    assert sorted((each["Record"]["Site"], each["Record"]["Revision"]) for each in found) == [
        *(("LCG.One.org", revision) for revision in (1, 2)),
        *(("LCG.Two.org", revision) for revision in (1, 2)),
    ]
    assert len(wms.call("GET", "/api/jobspan/witness", token=wms.admin_token).json()["Attempts"]) == 4
    later = "/api/jobspan/witness?start=2199-01-01T00:00:00Z"
    assert wms.call("GET", later, token=wms.admin_token).json() == {"Attempts": []}
    assert wms.call("GET", f"{path[:-1]}", token=wms.admin_token).status_code == 422


def account_foreign(wms: RunningWms) -> str:
    """A record of job 1 of another WMS, of zoe; its UID."""
    wms_id = str(uuid.uuid4())
    uid = attempt_uid(wms_id, 1, 1)
    record = whole_life(matched(1, 1, uid=uid, wms_id=wms_id)).record()
    body = dict(record.replace(User="zoe", VO="local", CPUTime=5000.0, EndTime="2026-01-01T09:00:00.000000Z"))
    answer = wms.call("POST", "/api/jobspan/accounting", {"Records": [body]}, token=wms.admin_token).json()
    assert answer["Results"][0]["Outcome"] == "inserted", answer
    return uid


@pytest.fixture(scope="module")
def foreign(wms: RunningWms) -> Iterator[str]:
    """The UID of a record of another WMS, of zoe, whose job has the number of a job of alice's; gone afterwards."""
    uid = account_foreign(wms)
    yield uid
    with wms.context.databases.write() as transaction:
        mine = select(RECORDS.c.RecordID).where(RECORDS.c["UID"] == uid)
        transaction.connection.execute(delete(JOB_TYPE).where(JOB_TYPE.c.RecordID.in_(mine)))
        transaction.connection.execute(delete(RECORDS).where(RECORDS.c["UID"] == uid))


def exported(wms: RunningWms, token: str, query: str = "") -> list[str]:
    rows = wms.call("GET", f"/api/jobspan/accounting/export?{query}", token=token).json()["Rows"]
    return [row["UID"] for row in rows]


def test_a_record_of_another_wms_is_that_of_the_user_it_names(wms: RunningWms, foreign: str) -> None:
    """Not of whoever has the job with that number here; administrators see it, and users of ours never do."""
    assert [(row["User"], row["Jobs"], row["CPUTime"]) for row in sums(wms, "group_by=User&where=User=zoe")] == [
        ("zoe", 1, 5000.0)
    ]
    assert [row["Jobs"] for row in sums(wms, "group_by=User&where=User=alice")] == [3]
    assert foreign in exported(wms, wms.admin_token)
    assert len(exported(wms, wms.user_token)) == 3
    assert foreign not in exported(wms, wms.user_token)
    zoe = wms.token_for("zoe", Role.USER)
    assert sums(wms, "group_by=User", zoe) == []
    assert exported(wms, zoe) == []


def test_what_a_caller_may_not_see_is_not_answered_with_what_he_may(wms: RunningWms) -> None:
    """Sums and records of another user, or of another VO, are none; those of the own name and VO are there."""
    assert sums(wms, "group_by=User&where=User=bob", wms.user_token) == []
    assert exported(wms, wms.user_token, "where=User=bob") == []
    assert sums(wms, "group_by=VO&where=VO=cms") == []
    assert exported(wms, wms.admin_token, "where=VO=cms") == []
    asked = "group_by=User&where=User=alice&where=VO=local"
    assert [(row["User"], row["Jobs"]) for row in sums(wms, asked, wms.user_token)] == [("alice", 3)]


def test_rows_of_foreign_records_are_made_anew_as_they_were(wms: RunningWms, foreign: str) -> None:
    """A server that starts makes the rows that are missing: again under the user that the record names."""
    with wms.context.databases.write() as transaction:
        mine = select(RECORDS.c.RecordID).where(RECORDS.c["UID"] == foreign)
        transaction.connection.execute(delete(JOB_TYPE).where(JOB_TYPE.c.RecordID.in_(mine)))
    assert AccountingReport(wms.context).fill() == 1
    assert [row["CPUTime"] for row in sums(wms, "group_by=User&where=User=zoe")] == [5000.0]


def test_rows_that_an_earlier_version_wrote_for_foreign_records_are_put_right(tmp_path: Path) -> None:
    """A migration corrects them, and leaves what is known of a job of ours that was removed since."""
    with running_wms(tmp_path) as wms:
        account(wms, "LCG.One.org", "2026-01-01T10:10:00.000000Z", 1.0)
        account_foreign(wms)
        with wms.context.databases.write() as transaction:
            transaction.remove_job(1)
            run = transaction.connection.exec_driver_sql
            run("UPDATE accounting_type_job SET \"User\" = 'alice'")
            run('ALTER TABLE accounting_type_job DROP COLUMN "WMSID"')
            run("UPDATE alembic_version SET version_num = '0007'")
    assert migrate_database(load(folder=tmp_path, environment={}))[0] == "0007"
    with running_wms(tmp_path) as wms:
        found = [(row["User"], row["Jobs"]) for row in sums(wms, "group_by=User")]
        assert found == [("alice", 1), ("zoe", 1)]
        assert len(exported(wms, wms.user_token)) == 1
