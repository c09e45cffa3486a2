"""SandboxStore: presigned round trips, and everything that must not work."""

import hashlib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from runner.job.status import MinorStatus
from runner.server.tokens import Role
from tests.support.wms import RunningWms, running_wms

CONTENT = b"not really an archive, but the store does not look inside"


class SteppingClock:
    """The machine's time, plus what a test adds to it."""

    boot_id = "boot"
    ahead_seconds = 0

    def utc_ns(self) -> int:
        return int((datetime.now(UTC).timestamp() + self.ahead_seconds) * 1e9)

    def boottime_ns(self) -> int:
        return self.utc_ns()


CLOCK = SteppingClock()


#: For tests of what only the folder has: addresses of our own, with permits of our own.
in_folder = pytest.mark.parametrize("wms", ["folder"], indirect=True)


@pytest.fixture(scope="module", params=["folder", "s3"])
def wms(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWms]:
    """One WMS for the module, with sandboxes in its folder; and one with a bucket of a real S3 server."""
    where = request.getfixturevalue("s3").options() if request.param == "s3" else {}
    overrides = {"WMS": {"MaxSandboxSize": 300_000, **where}}
    with running_wms(tmp_path_factory.mktemp("wms"), clock=CLOCK, overrides=overrides) as running:
        yield running


def info(content: bytes, **changes: Any) -> dict[str, Any]:
    checksum = hashlib.sha256(content).hexdigest()
    return {"checksum_algorithm": "sha256", "checksum": checksum, "size": len(content), "format": "tar.bz2", **changes}


def initiate(wms: RunningWms, content: bytes, token: str = "", **changes: Any) -> dict[str, Any]:
    answer = wms.call("POST", "/api/jobs/sandbox", info(content, **changes), token=token)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def send(target: dict[str, Any], content: bytes) -> requests.Response:
    return requests.post(target["url"], data=target["fields"], files={"file": ("file", content)}, timeout=60)


def stored(wms: RunningWms, content: bytes, token: str = "") -> str:
    target = initiate(wms, content, token)
    if target["url"]:
        assert send(target, content).status_code == 204
    return str(target["pfn"])


def address(wms: RunningWms, pfn: str, token: str = "") -> requests.Response:
    return wms.call("GET", "/api/jobs/sandbox", token=token, params={"pfn": pfn})


@pytest.mark.parametrize("kind", ["tar.bz2", "tar.gz", "tar.zst"])
def test_what_was_uploaded_comes_back(wms: RunningWms, kind: str) -> None:
    """The round trip of every format, without any token on the presigned addresses."""
    content = CONTENT + kind.encode()
    target = initiate(wms, content, format=kind)
    checksum = hashlib.sha256(content).hexdigest()
    assert target["pfn"] == f"SB:SandboxSE|/S3/sandboxes/local/local_user/alice/sha256:{checksum}.{kind}"
    assert send(target, content).status_code == 204
    answer = address(wms, target["pfn"]).json()
    assert answer["expires_in"] == 300
    assert requests.get(answer["url"], timeout=60).content == content
    again = initiate(wms, content, format=kind)
    assert again == {"pfn": target["pfn"], "url": None, "fields": {}}


@pytest.mark.parametrize(
    "sent",
    [b"", CONTENT[:-1], CONTENT + b"x", CONTENT[:-1] + b"X", b"x" * 290_000],
    ids=["empty", "short", "long", "other", "huge"],
)
def test_other_content_than_announced_is_refused(wms: RunningWms, sent: bytes) -> None:
    """Size and checksum are verified; nothing of a wrong upload is kept."""
    target = initiate(wms, CONTENT + b"announced")
    answer = send(target, sent)
    assert answer.status_code in (400, 413)
    assert address(wms, target["pfn"]).status_code == 404
    folder = wms.context.contents.folder
    assert not (folder and [path for path in folder.iterdir() if path.name.startswith(".")])


def test_too_large_sandboxes_are_refused_beforehand(wms: RunningWms) -> None:
    """More than MaxSandboxSize gets no address."""
    answer = wms.call("POST", "/api/jobs/sandbox", info(b"x", size=300_001))
    assert answer.status_code == 400
    assert "at most 300000" in answer.json()["detail"]


@in_folder
def test_an_endless_upload_is_refused_unread(wms: RunningWms) -> None:
    """A body far beyond what was announced, or of no announced length, is not taken in."""
    target = initiate(wms, CONTENT + b"endless")
    assert send(target, b"x" * 200_000).status_code == 413
    chunks = requests.post(target["url"], data=iter([b"x" * 1000] * 3), timeout=60)
    assert chunks.status_code == 411


@in_folder
@pytest.mark.parametrize("length", ["99999999999", "0" * 30 + "99999999999", "0" * 5000 + "1"])
def test_a_body_that_is_announced_as_too_large_is_not_read(wms: RunningWms, length: str) -> None:
    """However the number is written: zeros before it do not hide it."""
    where = urlsplit(wms.url)
    with socket.create_connection((where.hostname or "", where.port or 0), 60) as connection:
        connection.sendall(f"POST /api/jobs/search HTTP/1.1\r\nHost: wms\r\nContent-Length: {length}\r\n\r\n".encode())
        assert connection.recv(1 << 16).split(b" ")[1] == b"413"


@in_folder
def test_addresses_expire(wms: RunningWms) -> None:
    """After five minutes neither upload nor download is possible with an old address."""
    content = CONTENT + b"expiring"
    target = initiate(wms, content)
    pfn = stored(wms, CONTENT)
    download = address(wms, pfn).json()["url"]
    CLOCK.ahead_seconds += 301
    assert send(target, content).status_code == 403
    assert requests.get(download, timeout=60).status_code == 403
    assert requests.get(address(wms, pfn).json()["url"], timeout=60).content == CONTENT


def tampered(url: str, permit: str) -> str:
    parts = urlsplit(url)
    return parts._replace(query=urlencode({"permit": permit})).geturl()


@in_folder
def test_forged_addresses_are_refused(wms: RunningWms) -> None:
    """Changing the permission, using that of another purpose, or a token instead of it does not work."""
    target, pfn = initiate(wms, CONTENT + b"forged"), stored(wms, CONTENT)
    down = address(wms, pfn).json()["url"]
    permit = parse_qs(urlsplit(target["url"]).query)["permit"][0]
    for wrong in (permit[:-2], "", wms.user_token, f"{permit}/../x"):
        assert send({**target, "url": tampered(target["url"], wrong)}, CONTENT + b"forged").status_code == 403
        assert requests.get(tampered(down, wrong), timeout=60).status_code == 403
    assert requests.get(target["url"], timeout=60).status_code == 403
    assert send({**target, "url": down}, CONTENT).status_code == 403


@pytest.mark.parametrize(
    "pfn",
    [
        "SB:SandboxSE|/S3/../../../etc/passwd",
        "SB:SandboxSE|/S3/sandboxes/local/local_user/alice/../../../../wms.sqlite",
        "/S3/sandboxes/local/local_user/alice/sha256:%2e%2e",
        "/etc/passwd",
        "SB:Other|/S3/x",
        "",
        "x" * 600,
    ],
)
def test_names_lead_nowhere_but_into_the_store(wms: RunningWms, pfn: str) -> None:
    """Tricks with paths find nothing: no part of a name is ever a path on the disk."""
    assert address(wms, pfn).status_code in (403, 404, 422)


@pytest.mark.parametrize(
    "changes",
    [{"checksum": "../../etc/passwd"}, {"checksum": "0" * 63}, {"format": "tar.bz2/../x"}, {"size": 0}, {"size": -1}],
)
def test_impossible_announcements_are_refused(wms: RunningWms, changes: dict[str, Any]) -> None:
    """Checksum, format and size must have their form."""
    assert wms.call("POST", "/api/jobs/sandbox", info(b"x", **changes)).status_code == 422


def test_sandboxes_of_others_are_closed(wms: RunningWms) -> None:
    """Another user can neither read nor submit with a sandbox, an administrator can read it."""
    pfn, bob = stored(wms, CONTENT), wms.token_for("bob", Role.USER)
    assert address(wms, pfn, bob).status_code == 403
    text = f'Executable = "/bin/true"; InputSandbox = "{pfn}";'
    assert wms.call("POST", "/api/jobs/jdl", [text], token=bob).status_code == 400
    assert address(wms, pfn, wms.admin_token).status_code == 200


def test_a_jobs_sandboxes(wms: RunningWms) -> None:
    """A job token reads its input, uploads and assigns its output; twice is refused, and so is what is not stored."""
    pfn = stored(wms, CONTENT)
    job_id = wms.submit(f'Executable = "/bin/true"; InputSandbox = "{pfn}"; Site = "LCG.Box.org";')
    token = (wms.match(Site="LCG.Box.org") or {})["JobToken"]
    assert requests.get(address(wms, pfn, token).json()["url"], timeout=60).content == CONTENT
    secret = stored(wms, CONTENT + b"of another job")
    assert address(wms, secret, token).status_code == 403
    output = stored(wms, CONTENT + b"output", token)
    path = f"/api/jobs/{job_id}/sandbox"
    assert wms.call("PATCH", f"{path}/output", output, token=token).status_code == 200
    again = wms.call("PATCH", f"{path}/output", output, token=token)
    assert (again.status_code, again.json()["detail"]) == (400, "Sandbox already assigned")
    missing = wms.call("PATCH", f"{path}/output", output.replace("sha256:", "sha256:0"), token=token)
    assert (missing.status_code, missing.json()["detail"]) == (400, "Sandbox not found")
    plain = [name.removeprefix("SB:SandboxSE|") for name in (pfn, output)]
    assert wms.call("GET", path).json() == {"Input": [plain[0]], "Output": [plain[1]]}
    assert wms.call("GET", f"{path}/output").json() == [plain[1]]
    assert wms.call("DELETE", path).status_code == 200
    assert wms.call("GET", path).json() == {"Input": [], "Output": []}


def test_the_sandboxes_of_several_jobs_are_forgotten_in_one_call(wms: RunningWms) -> None:
    """Those of the jobs that the call names, and of no other; their content stays."""
    pfn = stored(wms, CONTENT + b"shared")
    job_ids = [wms.submit(f'Executable = "/bin/true"; InputSandbox = "{pfn}"; Site = "LCG.None.org";') for _ in "abc"]

    def counts() -> list[int]:
        return [len(wms.call("GET", f"/api/jobs/{job_id}/sandbox/input").json()) for job_id in job_ids]

    assert counts() == [1, 1, 1]
    assert wms.call("POST", "/api/jobs/sandbox/unassign", {"job_ids": job_ids[:2]}).status_code == 204
    assert counts() == [0, 0, 1]
    assert requests.get(address(wms, pfn).json()["url"], timeout=60).content == CONTENT + b"shared"


def test_a_job_whose_sandbox_has_gone_fails(wms: RunningWms) -> None:
    """JobSanity looks at the next attempt, too: what was forgotten and has expired since is missed before any match."""
    pfn = stored(wms, CONTENT + b"passing")
    job_id = wms.submit(f'Executable = "/bin/true"; InputSandbox = "{pfn}"; Site = "LCG.Gone.org";')
    token = (wms.match(Site="LCG.Gone.org") or {})["JobToken"]
    wms.report(job_id, {"Status": "Failed"}, token=token)
    assert wms.call("DELETE", f"/api/jobs/{job_id}/sandbox").status_code == 200
    with wms.context.databases.write() as transaction:
        row = transaction.sandboxes.get(pfn.partition("|")[2])
        assert row is not None
        assert transaction.sandboxes.remove_unassigned(row["SBId"], wms.context.now_ns() + 1)
    answer = wms.call("POST", "/api/jobs/reschedule", {"job_ids": [job_id]})
    assert answer.status_code == 200, answer.text
    wms.settle()
    assert wms.status(job_id) == ("Failed", MinorStatus.FAILED_DOWNLOADING_INPUT_SANDBOX)
    assert wms.job(job_id)["ApplicationStatus"] == f"{pfn} is not stored here"
    assert wms.logging_info(job_id)[-1]["Source"] == "JobSanity"
    assert wms.match(Site="LCG.Gone.org") is None


def test_the_name_of_an_output_sandbox_may_come_bare(wms: RunningWms) -> None:
    """DiracX's own client sends the name without the quotes of JSON."""
    job_id = wms.submit('Executable = "/bin/true"; Site = "LCG.Nowhere.org";')
    pfn = stored(wms, CONTENT + b"bare")
    assert wms.call("PATCH", f"/api/jobs/{job_id}/sandbox/output", data=pfn).status_code == 200
    assert len(wms.call("GET", f"/api/jobs/{job_id}/sandbox/output").json()) == 1
