"""The commands of those who run jobs, sites and pilots, against a real WMS."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner import cli
from tests.support.wms import RunningWms, running_wms

Jobspan = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWms]:
    """One WMS for all tests here."""
    with running_wms(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture
def jobspan(wms: RunningWms, capsys: pytest.CaptureFixture[str]) -> Jobspan:
    """Runs a command; its exit code, and what it wrote."""

    def run(*arguments: str | int) -> tuple[int, str]:
        code = cli.main(["--folder", str(wms.folder), *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def document(result: tuple[int, str]) -> Any:
    return json.loads(result[1])


def test_why_says_what_stands_against_a_job(wms: RunningWms, jobspan: Jobspan) -> None:
    """Exit code 1 and the demand when no agent could run it, 0 when it only waits, 4 when there is no such job."""
    job_id = wms.submit('Executable = "/bin/true"; Tags = "GPU";')
    wms.match(Site="LCG.Nowhere.org")
    code, text = jobspan("why", job_id)
    assert code == 1
    assert "tags that are not offered: GPU" in text
    assert document(jobspan("why", job_id, "--json"))["Unmet"]
    assert jobspan("why", wms.submit())[0] == 0
    assert jobspan("why", 99_999)[0] == 4


def test_delete_puts_jobs_away(wms: RunningWms, jobspan: Jobspan) -> None:
    """Deleted, then removed for good; what is refused is said, with exit code 4."""
    job_id = wms.submit()
    assert jobspan("delete", job_id) == (0, f"job {job_id}  deleted\n")
    assert jobspan("delete", job_id)[0] == 4
    assert document(jobspan("delete", job_id, "--remove", "--json")) == [
        {"job_id": job_id, "removed": True, "reason": ""}
    ]


def test_sites_are_banned_and_allowed(jobspan: Jobspan) -> None:
    """The list shows what was said, the history who has said it; a site has to be named."""
    assert jobspan("sites", "ban", "LCG.A.org", "--comment", "down")[0] == 0
    (site,) = document(jobspan("sites", "list", "--json"))
    assert (site["Site"], site["Status"], site["Comment"]) == ("LCG.A.org", "Banned", "down")
    assert jobspan("sites", "allow", "LCG.A.org")[0] == 0
    assert [each["Status"] for each in document(jobspan("sites", "history", "LCG.A.org", "--json"))] == [
        "Banned",
        "Active",
    ]
    assert "LCG.A.org" in jobspan("sites", "list")[1]
    assert jobspan("sites", "ban")[0] == 2


def test_pilots_are_shown_heard_and_ended(wms: RunningWms, jobspan: Jobspan) -> None:
    """The list has the pilot, its log what it said, and kill reaches it; an unknown one is exit code 4."""
    wms.call("POST", "/api/pilots/", {"pilot_stamp": "cli-pilot", "vo": "local"}, token=wms.pilot_token)
    said = {"Messages": [{"Message": "hello"}]}
    wms.call("POST", "/api/jobspan/pilots/cli-pilot/log", said, token=wms.pilot_token)
    assert "cli-pilot" in jobspan("pilots", "list")[1]
    assert "hello" in jobspan("pilots", "logs", "cli-pilot")[1]
    assert jobspan("pilots", "kill", "cli-pilot") == (0, "pilot cli-pilot  told to stop\n")
    assert jobspan("pilots", "kill", "nobody")[0] == 4
    assert jobspan("pilots", "logs")[0] == 2


def test_submit_makes_the_jobs_of_a_parametric_description(jobspan: Jobspan, tmp_path: Path) -> None:
    """One file, as many jobs as it has values, with the input files of all of them."""
    (tmp_path / "in-a").write_text("a")
    (tmp_path / "in-b").write_text("b")
    (tmp_path / "p.yaml").write_text('Executable: /bin/cat\nInputSandbox: ["in-%s"]\nParameters: [a, b]\n')
    made = document(jobspan("submit", tmp_path / "p.yaml", "--json"))
    assert len({each["job_id"] for each in made}) == 2
    (tmp_path / "in-b").unlink()
    code, text = jobspan("submit", tmp_path / "p.yaml")
    assert code == 2
    assert "in-b" in text
