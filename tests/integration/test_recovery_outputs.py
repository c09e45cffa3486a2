"""Outputs of a dead wrapper's payload: packed by the wrapper's own rules, and uploaded as long as that may succeed."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from runner.agent.folders import JobFolder
from runner.agent.outputs import Outputs
from runner.config import JobWrapperConfig
from runner.wms.client import WmsClient
from runner.wms.tokens import TOKEN_FILE, FileToken
from telemetry.catalogue import MOVED_BYTES
from telemetry.clock import SystemClock
from telemetry.entries import Entry
from telemetry.facts import (
    AttemptEnded,
    DataMoved,
    Fact,
    Fenced,
    OperationFinished,
    ParametersSet,
    PayloadPlanned,
    PayloadStarted,
    StageStarted,
)
from tests.support.http_faults import Reply, faulty_server, nobody
from tests.support.journals import ListJournal, facts_of

LIMIT_BYTES = 20_000
BEGUN: tuple[Fact, ...] = (
    StageStarted(stage="execute", at_boottime_ns=1),
    PayloadPlanned(starter_pid=0),
    PayloadStarted(pid=0, start_boottime_ns=1, executable="payload"),
)
FAILED = AttemptEnded(status="Failed", minor_status="JobWrapper execution", recorded_by="agent")


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    """What a wrapper leaves that was killed while it packed: outputs, and half an archive."""
    made = JobFolder(tmp_path, 7, 1)
    made.control.mkdir()
    made.work.mkdir()
    (made.control / "job.token").write_text("a token\n")
    (made.control / "output_sandbox.tar.zst").write_bytes(b"half of an archive")
    job = {"JobID": 7, "Executable": "payload", "OutputSandbox": ["std.out", "small.txt"]}
    document = {"Job": job, "CE": {}, "Jobspan": {"Attempt": 1, "UID": "uid"}}
    (made.control / "Wrapper_7.json").write_text(json.dumps(document))
    (made.work / "std.out").write_bytes(os.urandom(100_000))
    (made.work / "small.txt").write_text("small")
    return made


def outputs(url: str) -> Outputs:
    options = JobWrapperConfig(output_sandbox_limit_bytes=LIMIT_BYTES)
    return Outputs(
        options, lambda job: WmsClient(url, FileToken(job.control / TOKEN_FILE), timeout_seconds=2.0), SystemClock()
    )


def entries(*facts: Fact) -> list[Entry]:
    journal = ListJournal(SystemClock(), "wrapper")
    for fact in facts:
        journal.append(fact)
    return list(journal.entries)


def saved(
    uploads: Outputs, folder: JobFolder, before: Sequence[Entry], seconds: float = 5.0
) -> tuple[bool, list[Entry]]:
    """What `save` says, and the facts that it adds."""
    journal = ListJournal(SystemClock(), "recovery")
    return uploads.save(folder, before, journal.append, seconds), list(journal.entries)


def test_the_limit_holds_and_a_wms_that_is_away_is_asked_again(folder: JobFolder) -> None:
    """A stream is cut to OutputSandboxLimit; half an archive of before is no obstacle; nothing is left behind in our
    folder; the upload is owed, except for an attempt that went back, which may not upload any more."""
    uploads, before = outputs(nobody()), entries(*BEGUN)
    done, told = saved(uploads, folder, before)
    assert not done
    packed, upload = facts_of(told, OperationFinished)
    assert (packed.name, packed.error_type, packed.stage) == ("pack", "", "execute")
    assert (upload.name, upload.error_type) == ("upload_output_sandbox", "unavailable")
    assert 0 < int(upload.attributes[MOVED_BYTES]) <= LIMIT_BYTES
    (parameters,) = facts_of(told, ParametersSet)
    assert 80_000 < int(parameters.parameters["OutputSandboxDroppedBytes"]) < 100_000
    assert sorted(path.name for path in folder.control.iterdir()) == ["Wrapper_7.json", "job.token"]
    again = AttemptEnded(status="Rescheduled", minor_status="x", recorded_by="agent")
    assert uploads.is_owed([*before, *told, *entries(FAILED)])
    assert not uploads.is_owed([*before, *told, *entries(again)])


def test_a_refusal_is_final(folder: JobFolder) -> None:
    """What the store has refused is not tried again: it would be refused for ever."""
    with faulty_server(lambda _: Reply(403, {"detail": "no"})) as (_, url):
        uploads, before = outputs(url), entries(*BEGUN)
        done, told = saved(uploads, folder, before)
    assert done
    assert facts_of(told, OperationFinished)[-1].error_type == "unauthorized"
    assert not uploads.is_owed([*before, *told, *entries(FAILED)])


def test_an_end_that_may_not_wait(folder: JobFolder) -> None:
    """Without time nothing is packed or sent, and the upload is owed."""
    with faulty_server(lambda _: Reply(500, {})) as (server, url):
        uploads, before = outputs(url), entries(*BEGUN)
        done, told = saved(uploads, folder, before, 0.0)
        assert server.seen == []
    assert not done
    assert uploads.is_owed([*before, *told, *entries(FAILED)])


@pytest.mark.parametrize(
    "facts",
    [BEGUN[:1], (*BEGUN, DataMoved(kind="output_sandbox", files=1, bytes=1)), (*BEGUN, Fenced(reason="gone on"))],
    ids=["no payload", "uploaded already", "fenced off"],
)
def test_nothing_to_upload(folder: JobFolder, facts: tuple[Fact, ...]) -> None:
    """Nothing is uploaded without a payload, nor twice, nor for an attempt without which the WMS has gone on."""
    assert saved(outputs(nobody()), folder, entries(*facts)) == (True, [])
