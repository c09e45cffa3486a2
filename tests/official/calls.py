"""Every call that DiracX's generated client has, as that client makes it. Runs in the environment of those clients.

Prints one JSON object: for each operation "ok", or what is wrong with the answer. An answer is right if the
client's model for it takes all of it: each field that the model requires is there, and what it read is what came.
"""

import asyncio
import contextlib
import datetime
import inspect
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from azure.core.exceptions import HttpResponseError
from diracx.api.jobs import create_sandbox, download_sandbox
from diracx.client.aio import AsyncDiracClient
from diracx.client.models import SandboxInfo
from diracx.client.sync import SyncDiracClient

#: Operations that are not for programs: pages of a browser.
PAGES = {"auth.do_device_flow", "auth.finished", "auth.initiate_authorization_flow"}
#: Where an identity provider sends browsers back: there is none. And the resource status system.
NOT_THERE = {
    "auth.finish_device_flow",
    "auth.complete_authorization_flow",
    "rss.get_storage_status",
    "rss.get_compute_status",
    "rss.get_site_status",
    "rss.get_fts_status",
}
GROUPS = ("well_known", "auth", "config", "jobs", "pilots", "rss")
found: dict[str, str] = {}
#: What came last, as it came.
answers: dict[str, Any] = {}


def compared(raw: Any, model: Any) -> str:
    """What the client's *model* did not take of the answer; "ok" if nothing."""
    if hasattr(model, "_attribute_map"):
        return first(taken(raw, model, name) for name in model._attribute_map)
    if isinstance(model, list):
        return first(compared(*pair) for pair in zip(raw, model, strict=True))
    if isinstance(model, dict):
        return first(compared(raw[key], model[key]) for key in model)
    if isinstance(model, datetime.datetime):
        raw, model = datetime.datetime.fromisoformat(raw).timestamp(), model.timestamp()
    return "ok" if raw == model else f"{raw!r} was read as {model!r}"


def taken(raw: dict[str, Any], model: Any, name: str) -> str:
    """The same for one field of a model."""
    key, value = model._attribute_map[name]["key"], getattr(model, name)
    if key not in raw:
        is_needed = model._validation.get(name, {}).get("required") and value is None
        return f"{type(model).__name__}.{key} is missing" if is_needed else "ok"
    return compared(raw[key], value)


def first(problems: Iterable[str]) -> str:
    """The first that is one."""
    return next((each for each in problems if each != "ok"), "ok")


def call(name: str, operation: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Make one call; its answer as the client has read it."""

    def judge(pipeline: Any, model: Any, _headers: Any) -> Any:
        response = pipeline.http_response
        kind = response.headers.get("Content-Type", "")
        raw = response.json() if kind.startswith("application/json") and response.status_code != 204 else model
        found[name] = compared(raw, model)
        answers[name] = raw
        return model

    try:
        answer = operation(*arguments, cls=judge, **options)
    except HttpResponseError as error:
        found[name] = f"HTTP {error.status_code}: {error.message}"
        raise
    found.setdefault(name, "ok")
    return answer


def operations(client: Any) -> set[str]:
    """All operations that the client has."""
    return {
        f"{group}.{name}"
        for group in GROUPS
        for name, member in inspect.getmembers(getattr(client, group), inspect.ismethod)
        if not name.startswith("_")
    }


def now(seconds: float = 0.0) -> str:
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)).isoformat()


def about(client: Any) -> None:
    """What needs no job."""
    for name in ("get_openid_configuration", "get_jwks", "get_installation_metadata", "get_security_txt"):
        call(f"well_known.{name}", getattr(client.well_known, name))
    call("auth.userinfo", client.auth.userinfo)
    call("config.serve_config", client.config.serve_config)
    flow = call(
        "auth.initiate_device_flow", client.auth.initiate_device_flow, client_id=client.client_id, scope="vo:local"
    )
    pending = client.auth.get_oidc_token(device_code=flow.device_code, client_id=client.client_id)
    found["auth.get_oidc_token"] = "ok" if pending.error == "authorization_pending" else repr(pending)


def jobs(client: Any, pfn: str) -> dict[str, Any]:
    """A job from its submission to its end; what was answered to a change that is not possible."""
    job = call("jobs.submit_jdl_jobs", client.jobs.submit_jdl_jobs, ['Executable = "x"; Site = "LCG.Nowhere.org";'])[0]
    number = str(job.job_id)
    call("jobs.search", client.jobs.search, parameters=["JobID", "Status"], search=[condition(job.job_id)])
    call("jobs.summary", client.jobs.summary, grouping=["Status"], search=[])
    call(
        "jobs.patch_metadata",
        client.jobs.patch_metadata,
        {number: {"HostName": "wn1", "Site": "LCG.A.org", "Mine": "x"}},
    )
    call("jobs.add_heartbeat", client.jobs.add_heartbeat, {number: {"CPUConsumed": 1.5, "StandardOutput": "x"}})
    call(
        "jobs.set_job_statuses", client.jobs.set_job_statuses, {number: {now(): {"Status": "Killed", "Source": "test"}}}
    )
    late = {number: {now(1): {"Status": "Running", "MinorStatus": "late"}}}
    call("jobs.set_job_statuses", client.jobs.set_job_statuses, late)
    refused = answers["jobs.set_job_statuses"]["success"][number]
    call("jobs.assign_sandbox_to_job", client.jobs.assign_sandbox_to_job, job.job_id, pfn)
    call("jobs.get_job_sandboxes", client.jobs.get_job_sandboxes, job.job_id)
    call("jobs.get_job_sandbox", client.jobs.get_job_sandbox, job.job_id, "output")
    call("jobs.unassign_job_sandboxes", client.jobs.unassign_job_sandboxes, job.job_id)
    call("jobs.unassign_bulk_jobs_sandboxes", client.jobs.unassign_bulk_jobs_sandboxes, {"job_ids": [job.job_id]})
    again = client.jobs.submit_jdl_jobs(['Executable = "x"; Site = "LCG.Nowhere.org";'])[0]
    client.jobs.set_job_statuses({str(again.job_id): {now(): {"Status": "Rescheduled"}}})
    call("jobs.reschedule_jobs", client.jobs.reschedule_jobs, {"job_ids": [again.job_id]})
    info = SandboxInfo(checksum_algorithm="sha256", checksum="0" * 64, size=1, format="tar.zst")
    call("jobs.initiate_sandbox_upload", client.jobs.initiate_sandbox_upload, info)
    call("jobs.get_sandbox_file", client.jobs.get_sandbox_file, pfn=pfn)
    return dict(refused)


def condition(job_id: int) -> dict[str, Any]:
    return {"parameter": "JobID", "operator": "eq", "value": job_id}


def pilots(client: Any) -> None:
    """Calls of a pilot."""
    call("pilots.register_pilot", client.pilots.register_pilot, pilot_stamp="stamp-official", vo="local")
    call("pilots.update_pilot_metadata", client.pilots.update_pilot_metadata, {"stamp-official": {"Status": "Running"}})


def search_pilots(client: Any) -> None:
    """What users may know of pilots."""
    call("pilots.search", client.pilots.search)
    call("pilots.summary", client.pilots.summary, grouping=["Status"], search=[])


def sandbox_round_trip() -> str:
    """Bring a folder and fetch it again, as users do."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "inputs")
        source.mkdir()
        (source / "data.txt").write_text("42\n")
        pfn = asyncio.run(bring_and_fetch(source, Path(folder, "fetched")))
        assert Path(folder, "fetched", "inputs", "data.txt").read_text() == "42\n"
    return pfn


async def bring_and_fetch(source: Path, target: Path) -> str:
    """The name of the sandbox, which is the same when it is brought twice."""
    async with AsyncDiracClient() as client:
        pfn: str = await create_sandbox([source], client=client)
        assert await create_sandbox([source], client=client) == pfn
        await download_sandbox(pfn, target, client=client)
        return pfn


def sessions(client: Any) -> None:
    """The end of the session."""
    mine = call("auth.get_refresh_tokens", client.auth.get_refresh_tokens)
    call("auth.revoke_refresh_token_by_jti", client.auth.revoke_refresh_token_by_jti, mine[0]["jti"])
    credentials = json.loads(Path(sys.argv[2]).read_text())
    said = client.auth.revoke_refresh_token_by_refresh_token(
        client_id=client.client_id, token=credentials["refresh_token"]
    )
    found["auth.revoke_refresh_token_by_refresh_token"] = "ok" if isinstance(said, str) else repr(said)


def main() -> None:
    """As a user, or with `pilot` as a pilot; with `sandbox` the round trip of one alone."""
    refused: dict[str, Any] = {}
    if sys.argv[1] == "sandbox":
        print(sandbox_round_trip())
        return
    with SyncDiracClient() as client, contextlib.suppress(HttpResponseError):
        if sys.argv[1] == "pilot":
            pilots(client)
        else:
            pfn = sandbox_round_trip()
            about(client)
            refused = jobs(client, pfn)
            search_pilots(client)
            sessions(client)
        everything = operations(client)
    json.dump({"found": found, "refused": refused, "everything": sorted(everything - PAGES - NOT_THERE)}, sys.stdout)


if __name__ == "__main__":
    main()
