"""The fault suite, in its short form: what surrounds the jobs is bad, and one job or two live through it."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.campaigns import CAMPAIGNS
from tests.faults.naming import REPORT
from tests.faults.plan import Strike, Trial
from tests.faults.relay import CERTIFICATE, NetworkFault
from tests.faults.run import fire
from tests.faults.scenes import Flapping
from tests.faults.table import table

WRONG = (NetworkFault(f"{REPORT}[Running/Job Initialization]", 1, CERTIFICATE),)
#: Each while something else is written: the journal, what is unpacked, the outputs, the outbox.
FULL = (
    Strike("wrapper:StageStarted#3", "before", "fill"),
    Strike("wrapper:StageStarted#2", "after", "fill"),
    Strike("wrapper:PayloadStarted#1", "after", "fill"),
    Strike("wms-accounting.acks#1", "before", "fill"),
)
READ_ONLY = (
    Strike("agent:matched#1", "after", "readonly:jobs"),
    Strike("agent:shipped#1", "before", "readonly:telemetry"),
)


class FlappingAWhile(Flapping):
    most = 3


@pytest.mark.parametrize(
    ("name", "trials", "faults"),
    [
        ("certificates", [Trial("wrong certificate", "full", (), WRONG)], 1),
        ("flapping", [Trial("WMS flapping", "bare")], 1),
        ("twice", [Trial("two agents", "patient")], 2),
        pytest.param(
            "disk",
            [
                *(Trial("disk full", "full", (strike,)) for strike in FULL),
                *(Trial("read-only", "bare", (strike,)) for strike in READ_ONLY),
            ],
            6,
            marks=pytest.mark.root,
        ),
        pytest.param("hostile", [Trial("hostile payload", "forger")], 11, marks=pytest.mark.root),
    ],
)
def test_one_end_and_one_record_whatever_surrounds_the_job(
    tmp_path: Path, name: str, trials: list[Trial], faults: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A WMS with a wrong certificate, one that comes and goes, a second agent and a second execution, a disk that is
    full or read-only, a payload that attacks what it can reach: each was met, each job has one end, one record at each
    sink, and leaves no process."""
    (campaign,) = (each for each in CAMPAIGNS if each.name == name)
    if name == "flapping":
        campaign = replace(campaign, scene=FlappingAWhile)
    verdicts = fire(campaign, trials, tmp_path / "site")
    with capsys.disabled():
        print(table(verdicts))
    assert [f"{each.trial}: {problem}" for each in verdicts for problem in each.problems] == []
    assert sum(len(each.faults) for each in verdicts) >= faults
