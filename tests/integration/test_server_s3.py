"""Sandboxes in a bucket of a real S3 server: what its addresses allow, and what is said when it does not work."""

import base64
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from runner.config import describe, load
from runner.errors import ConfigError
from runner.server.sandboxes.bucket import Bucket
from runner.server.sandboxes.contents import Sandbox
from runner.server.sandboxes.s3 import S3Contents
from runner.server.services.job_cleaning_agent import Cleaned, JobCleaningAgent
from telemetry.clock import SystemClock
from tests.support.stores import S3Server
from tests.support.waiting import eventually
from tests.support.wms import RunningWms, running_wms

CONTENT = b"what a sandbox holds"
DEADLINE_SECONDS = 60.0


@pytest.fixture
def own(clean_environment: None) -> Iterator[S3Server]:
    """An S3 server of the test's own, to do with as it likes."""
    server = S3Server()
    yield server
    server.close()


def contents(s3: S3Server, folder: Path, *, seconds: float = 300.0, **changes: Any) -> S3Contents:
    """What keeps contents there."""
    config = load(folder=folder, environment={}, overrides={"WMS": {**s3.options(), **changes}})
    bucket = Bucket.from_config(config)
    assert bucket is not None
    return S3Contents(bucket, "wms", seconds)


def sandbox(content: bytes, number: int = 1) -> Sandbox:
    return Sandbox(number, len(content), hashlib.sha256(content).hexdigest())


def bring(url: str, fields: Mapping[str, str], content: bytes) -> requests.Response:
    return requests.post(url, data=fields, files={"file": ("file", content)}, timeout=DEADLINE_SECONDS)


def announce(wms: RunningWms, content: bytes) -> requests.Response:
    info = {"checksum_algorithm": "sha256", "checksum": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return wms.call("POST", "/api/jobs/sandbox", {**info, "format": "tar.zst"})


def test_an_upload_is_bound_to_its_content(s3: S3Server, tmp_path: Path) -> None:
    """Signature, policy and form fields stand for one content under one name: whatever is changed is refused."""
    store = contents(s3, tmp_path)
    address = store.upload(sandbox(CONTENT))
    assert {"x-amz-checksum-algorithm", "x-amz-checksum-sha256", "key", "policy"} < set(address.fields)
    conditions = json.loads(base64.b64decode(address.fields["policy"]))["conditions"]
    assert ["content-length-range", len(CONTENT), len(CONTENT)] in conditions
    other = store.upload(sandbox(b"another"))
    for changes in (
        {"key": "wms/2/elsewhere"},
        {"x-amz-checksum-sha256": other.fields["x-amz-checksum-sha256"]},
        {"policy": other.fields["policy"]},
    ):
        assert bring(address.url, {**address.fields, **changes}, CONTENT).status_code == 403
    assert store.stored_bytes(sandbox(CONTENT)) is None
    assert bring(address.url, address.fields, CONTENT).status_code == 204
    assert store.stored_bytes(sandbox(CONTENT)) == len(CONTENT)
    url = store.download(sandbox(CONTENT)).url
    assert requests.get(url, timeout=DEADLINE_SECONDS).content == CONTENT
    assert requests.get(url.replace("/1/", "/2/"), timeout=DEADLINE_SECONDS).status_code == 403
    assert requests.put(url, data=b"x", timeout=DEADLINE_SECONDS).status_code == 403


def test_addresses_of_the_server_expire(s3: S3Server, tmp_path: Path) -> None:
    """After their time neither upload nor download is possible."""
    lasting, short = contents(s3, tmp_path), contents(s3, tmp_path, seconds=1.0)
    (brought := lasting.upload(sandbox(CONTENT))) and bring(brought.url, brought.fields, CONTENT)
    up, down = short.upload(sandbox(b"late")), short.download(sandbox(CONTENT)).url
    eventually(
        lambda: requests.get(down, timeout=DEADLINE_SECONDS).status_code == 403,
        DEADLINE_SECONDS,
        "the address to expire",
    )
    eventually(lambda: bring(up.url, up.fields, b"late").status_code == 403, DEADLINE_SECONDS, "the same of the upload")


def test_what_is_removed_is_gone(s3: S3Server, tmp_path: Path) -> None:
    """Removing is repeatable, and concerns one sandbox only, even where another has the same content."""
    store = contents(s3, tmp_path)
    first, second = sandbox(CONTENT, 1), sandbox(CONTENT, 2)
    for each in (first, second):
        address = store.upload(each)
        assert bring(address.url, address.fields, CONTENT).status_code == 204
    for _ in range(2):
        store.remove([first])
    assert (store.stored_bytes(first), store.stored_bytes(second)) == (None, len(CONTENT))


def checks(wms: RunningWms) -> str:
    """What readiness says of the sandboxes."""
    return str(wms.call("GET", "/readyz", token=None).json()["Checks"]["sandboxes"])


def reaches(wms: RunningWms, words: str) -> None:
    eventually(lambda: checks(wms) == words, DEADLINE_SECONDS, words)


def test_a_server_that_goes_away_and_comes_back(own: S3Server, tmp_path: Path, patient_probes: None) -> None:
    """Calls that need it are told to come again, readiness names it, cleaning is made up for; nothing is lost."""
    bucket = own.bucket()
    options = {"WMS": {**own.options(bucket), "SandboxRetention": 1e-9}}
    with running_wms(tmp_path, clock=SystemClock(), overrides=options) as wms:  # only we clean
        target, left = announce(wms, CONTENT).json(), announce(wms, b"left").json()
        for each, content in ((target, CONTENT), (left, b"left")):
            assert bring(each["url"], each["fields"], content).status_code == 204
        assert announce(wms, b"left").json()["url"] is None
        own.stop()
        reaches(wms, "the S3 server does not answer")
        away = announce(wms, CONTENT)
        assert (away.status_code, away.headers["Retry-After"]) == (503, "1")
        text = f'Executable = "/bin/true"; InputSandbox = "{target["pfn"]}";'
        assert wms.call("POST", "/api/jobs/jdl", [text]).status_code == 503
        assert wms.call("POST", "/api/jobs/jdl", ['Executable = "/bin/true";']).status_code == 201
        assert announce(wms, b"new").status_code == 200
        with wms.context.databases.write() as transaction:
            row = transaction.sandboxes.get(left["pfn"].partition("|")[2])
            assert row is not None
            assert transaction.sandboxes.remove_unassigned(row["SBId"], wms.context.now_ns() + 1)
        own.start()
        reaches(wms, "ok")
        assert wms.call("POST", "/api/jobs/jdl", [text]).status_code == 201
        wms.settle()
        assert JobCleaningAgent(wms.context).look() is not None
        assert [path.read_bytes() for path in bucket.rglob("*") if path.is_file()] == [CONTENT]


def test_an_object_that_cannot_be_removed_keeps_no_other(s3: S3Server, tmp_path: Path) -> None:
    """While the server is there and fails for one object alone, all others are cleaned; that one is tried again."""
    bucket = s3.bucket()
    options = {"WMS": {**s3.options(bucket), "SandboxRetention": 1e-9}}
    with running_wms(tmp_path, clock=SystemClock(), overrides=options) as wms:  # only we clean
        for content in (b"first", b"second"):
            target = announce(wms, content).json()
            assert bring(target["url"], target["fields"], content).status_code == 204
            assert announce(wms, content).json()["url"] is None
        first = bucket / wms.context.wms_id / "1"
        kept = first.rename(tmp_path / "kept")
        first.symlink_to("1")  # a link to itself: no path goes through it
        agent = JobCleaningAgent(wms.context)
        assert agent.look() == Cleaned(sandboxes=2)
        assert [path.read_bytes() for path in bucket.rglob("*") if path.is_file()] == []
        first.unlink()
        kept.rename(first)
        assert [path.read_bytes() for path in bucket.rglob("*") if path.is_file()] == [b"first"]
        assert agent.look() == Cleaned()
        assert [path.read_bytes() for path in bucket.rglob("*") if path.is_file()] == []


def test_a_server_that_refuses_us_is_named(own: S3Server, tmp_path: Path, patient_probes: None) -> None:
    """Other credentials, or no bucket any more: readiness says which it is, and not where."""
    bucket = own.bucket()
    with running_wms(tmp_path, overrides={"WMS": own.options(bucket)}) as wms:
        assert checks(wms) == "ok"
        own.stop()
        own.secret_key = "another-secret"
        own.start()
        reaches(wms, "the S3 server refuses the credentials")
        assert own.url not in wms.call("GET", "/readyz", token=None).text
    with running_wms(tmp_path, overrides={"WMS": own.options(bucket)}) as wms:
        bucket.rmdir()
        reaches(wms, "the bucket is not there")


def test_a_server_that_is_away_at_the_start_may_come_later(own: S3Server, tmp_path: Path, patient_probes: None) -> None:
    """The WMS starts without it, and says what it lacks until it is there."""
    options = own.options()
    own.stop()
    with running_wms(tmp_path, overrides={"WMS": options}) as wms:
        assert checks(wms) == "the S3 server does not answer"
        own.start()
        reaches(wms, "ok")


def test_what_can_never_work_is_said_at_the_start(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket that does not exist, credentials that are refused or missing, an address that is none, no botocore."""
    empty, wrong = tmp_path / "empty", tmp_path / "wrong"
    empty.write_text("nonsense s3cr3t\n")
    wrong.write_text("[default]\naws_access_key_id = AKIATESTS\naws_secret_access_key = wrong-wrong-wrong\n")
    for changes, words in (
        ({"SandboxBucket": "no-such-bucket"}, "the bucket is not there: bucket no-such-bucket"),
        ({"SandboxCredentialsFile": str(wrong)}, "refuses the credentials"),
        ({"SandboxCredentialsFile": str(empty)}, "not a file of credentials$"),
        ({"SandboxCredentialsFile": str(tmp_path / "none")}, "cannot be read"),
        ({"SandboxCredentialsFile": ""}, "needs credentials: name a file"),
        ({"SandboxEndpoint": "nowhere"}, "SandboxBucket: Invalid endpoint"),
    ):
        with pytest.raises(ConfigError, match=words):
            contents(s3, tmp_path, **changes).prepare()
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(ConfigError, match=r"pip install 'jobspan\[s3\]'"):
        contents(s3, tmp_path)


def test_credentials_come_from_the_environment_too_and_are_shown_nowhere(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the process's own environment have no say, nor has a profile named there."""
    environment = {"AWS_ACCESS_KEY_ID": s3.key_id, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
    overrides = {"WMS": {**s3.options(), "SandboxCredentialsFile": ""}}
    config = load(folder=tmp_path, environment=environment, overrides=overrides)
    bucket = Bucket.from_config(config)
    assert bucket is not None
    for name, value in {"AWS_PROFILE": "none", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": "http://x"}.items():
        monkeypatch.setenv(name, value)
    store = S3Contents(bucket, "wms", 300.0)
    store.prepare()
    shown = json.dumps([repr(config), repr(bucket), [str(each) for each in describe(config)]])
    assert s3.secret_key not in shown
    assert s3.key_id not in shown
    address = store.upload(sandbox(CONTENT))
    assert s3.secret_key not in json.dumps([address.url, dict(address.fields)])
    assert urlsplit(address.url).netloc == urlsplit(s3.url).netloc
