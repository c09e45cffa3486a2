"""Combined requests: names, digests, and what is no request."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import PermanentJobError
from runner.job.requests import (
    LARGEST_REQUEST_BYTES,
    MOST_OPERATIONS,
    check_payloads,
    parse_request,
    read_request,
    request_name,
)

FILE = {"LFN": "/lhcb/user/a/alice/1/x", "Size": 1, "ChecksumType": "ADLER32", "Checksum": "1", "PFN": "file:///x"}
MOVE = {"Type": "ReplicateAndRegister", "SourceSE": "A", "TargetSE": "B", "Catalog": "C", "Files": [FILE]}
HOME = "/lhcb/user/a/alice"


def request(*operations: Any) -> dict[str, Any]:
    return {"RequestName": "job_1", "JobID": 1, "Operations": list(operations)}


@pytest.mark.parametrize(
    ("job_name", "name"),
    [("", "job_7"), ("Unknown", "job_7"), ("fit", "fit_job_7"), ('my "fit" {2}.x: (a)', "myfit2xa_job_7")],
)
def test_names(job_name: str, name: str) -> None:
    """`[<jobName>_]job_<id>`, without what DIRAC takes out."""
    assert request_name(job_name, 7) == name


def test_there_and_back() -> None:
    """What is written is what is read, and the digest names each operation."""
    read = read_request(request(MOVE, {"Type": "RemoveReplica", "TargetSE": "A", "Catalog": "C", "Files": [FILE] * 3}))
    assert read_request(read.to_mapping()) == read
    assert read.digest.splitlines() == [
        "Name:job_1", f"ReplicateAndRegister:B:{FILE['LFN']}", f"RemoveReplica:A:{FILE['LFN']}...+<2 files>",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[", b"[]", b"1", b"null", b"\xff", b'{"Operations": 1}', b'{"JobID": "1"}', b'{"JobID": -1}',
        b"[" * 100_000, b'{"Delay": 1e999}', b'{"Delay": NaN}', b'{"RequestName": ["x"]}',
        b'{"RequestName": "' + b"x" * LARGEST_REQUEST_BYTES + b'"}',
    ],
)  # fmt: skip
def test_what_is_no_request(text: bytes) -> None:
    """Whatever lies in a payload's file, the answer is one error in words."""
    with pytest.raises(PermanentJobError, match="invalid request"):
        parse_request(text, "x_request.json")


@pytest.mark.parametrize(
    "change",
    [
        {"Type": "FormatDisk"}, {"Type": None}, {"SourceSE": ""}, {"TargetSE": 1}, {"Catalog": None}, {"Files": []},
        {"Files": [{}]}, {"Files": [{**FILE, "LFN": "/a/../b"}]}, {"Files": [{**FILE, "LFN": "relative/x"}]},
        {"Files": [{**FILE, "Size": True}]}, {"Files": [{**FILE, "Checksum": "no"}]}, {"Arguments": [1]},
        {"Files": [{**FILE, "ChecksumType": "MD5"}]}, {"Files": [{**FILE, "Checksum": ""}]},
        {"Type": "RegisterFile", "Files": [{**FILE, "PFN": ""}]}, {"Files": [FILE] * 1001},
        {"Type": "RegisterFile", "Files": [{**FILE, "PFN": "file:///x"}]},
        {"Type": "RegisterFile", "Files": [{**FILE, "PFN": f"file:///se/../{FILE['LFN']}"}]},
        {"Type": "RegisterFile", "Files": [{**FILE, "PFN": f"file:///se/x?{FILE['LFN']}"}]},
        {"Type": "RegisterFile", "Files": [{**FILE, "PFN": f"file://[se{FILE['LFN']}"}]},
        {"Type": "SetFileStatus", "Arguments": {"Statuses": [{"LFN": "/a/b", "Status": ""}]}},
        {"Type": "ForwardDISET", "Arguments": {"Call": "rm"}},
        {"Type": "ForwardDISET", "Arguments": {"Call": "JobReport", "Parameters": {"a": [1]}}},
        {"Type": "ForwardDISET", "Arguments": {"Call": "JobReport", "Parameters": {"a": float("nan")}}},
        {"Type": "ForwardDISET", "Arguments": {"Call": "JobReport", "ApplicationStatus": "\ud800"}},
        {"Type": "ForwardDISET", "Arguments": {"Call": "JobReport", "Parameters": {"\ud800": 1}}},
    ],
)  # fmt: skip
def test_impossible_operations(change: dict[str, Any]) -> None:
    """Each is named with its number."""
    with pytest.raises(PermanentJobError, match="operation 2"):
        read_request(request(MOVE, {**MOVE, **change}))


def test_too_many_operations() -> None:
    """A request is bounded."""
    with pytest.raises(PermanentJobError, match="at most"):
        read_request(request(*[MOVE] * (MOST_OPERATIONS + 1)))


@pytest.mark.parametrize(
    "operation",
    [
        {"Type": "PutAndRegister", "TargetSE": "A", "Catalog": "C", "Files": [{**FILE, "PFN": "file:///etc/shadow"}]},
        {**MOVE, "Type": "PutAndRegister", "Catalog": "C", "Files": [{**FILE, "PFN": f"file:///waits{FILE['LFN']}"}]},
        {**MOVE, "Files": [{**FILE, "LFN": "/lhcb/user/b/bob/1/x"}]},
        {**MOVE, "Files": [{**FILE, "LFN": "/lhcb/user/a/alice2/x"}]},
        {"Type": "ForwardDISET", "Arguments": {"Call": "Accounting", "Records": [{}]}},
    ],
)
def test_what_a_payload_may_not_ask_for(operation: dict[str, Any]) -> None:
    """No local files, no files of others, no accounting."""
    with pytest.raises(PermanentJobError, match="invalid request"):
        check_payloads(read_request(request(operation)), HOME)


def test_what_a_payload_says_of_places_is_not_believed() -> None:
    """A file that is to be moved is looked up in the catalogue, wherever the payload says that it lies."""
    checked = check_payloads(read_request(request(MOVE)), HOME)
    assert checked.operations[0].files[0].pfn == ""


NAMES = st.sampled_from(["RequestName", "JobID", "Operations", "Type", "Files", "LFN", "Arguments", "Statuses"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)


@given(DOCUMENTS)
def test_any_document(document: Any) -> None:
    """Anything is either a request, which then reads the same again, or an error of ours."""
    try:
        request = read_request(json.loads(json.dumps(document)))
    except PermanentJobError:
        return
    assert read_request(request.to_mapping()) == request
