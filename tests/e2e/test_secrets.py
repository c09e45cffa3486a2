"""Secrets of the node and tokens of ours: nothing that a job leaves shows them (promise 8)."""

import os
from pathlib import Path

import pytest

from tests.support.site import running_site
from tests.support.waiting import eventually

CANARY = "canary-5f0d0e1b7c"
#: Where tokens and keys belong; everything else must be without them.
KEPT = ("tokens/", "wms/signing.key", "/control/job.token", "wms/wms.sqlite")


def test_no_secret_is_found_in_what_a_job_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of secret variables and tokens are in no journal, log, span, record, output or environment of a job."""
    monkeypatch.setenv("SITE_DB_PASSWORD", CANARY)
    monkeypatch.setenv("HARMLESS", f"http://user:{CANARY}-in-url@example.invalid/")
    with running_site(tmp_path / "site", JobWrapper={"CleanUpFlag": False}) as site:
        token = (site.config.tokens_folder / "pilot.token").read_text().strip()
        shown = site.submit(
            Executable="/bin/sh", Arguments=f"-c 'env; echo {CANARY} {token}'", Shell=False, OutputSandbox=["std.out"]
        )
        broken = site.submit(Executable=f"/nowhere/{CANARY}", OutputSandbox=["std.out"])
        site.wait(shown, "Done")
        site.wait(broken, "Failed")
        site.wait_record(broken)
        job_token = (site.wait_folder(shown) / "control" / "job.token").read_text().strip()
        traces = site.config.telemetry_folder / "traces.jsonl"
        eventually(lambda: traces.exists() and traces.read_text().count('"jobspan.job"') >= 2)
        peek = site.client.peek(shown).standard_output
        environment = (site.wait_folder(shown) / "work" / "std.out").read_text()

    assert "SITE_DB_PASSWORD" not in environment
    assert CANARY not in peek
    assert token not in peek
    assert _places(site.config.folder, CANARY) == {
        # What the job itself says and prints is its own.
        f"jobs/{shown}.1/control/Wrapper_{shown}.json",
        f"jobs/{broken}.1/control/Wrapper_{broken}.json",
        f"jobs/{shown}.1/work/std.out",
    }
    assert _places(site.config.folder, job_token) == set()
    assert _places(site.config.folder, token) == {
        f"jobs/{shown}.1/control/Wrapper_{shown}.json",
        f"jobs/{shown}.1/work/std.out",
    }


def _places(folder: Path, secret: str) -> set[str]:
    """The files below *folder* in which *secret* stands, except those where it belongs."""
    found = set()
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            inside = str(path.relative_to(folder))
            if (
                path.is_file()
                and not any(kept in f"/{inside}" for kept in KEPT)
                and secret.encode() in path.read_bytes()
            ):
                found.add(inside)
    return found
