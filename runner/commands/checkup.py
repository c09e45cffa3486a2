"""The checks of `jobspan doctor`, each a finding in words."""

import os
import platform
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from runner.config import Config
from runner.errors import JobspanError, UnavailableError
from telemetry.clock import NANOSECONDS, SystemClock, parse_utc

State: TypeAlias = Literal["ok", "note", "bad"]
CONNECT_SECONDS = 3.0
#: Beyond this, times of records and of the WMS's log tell different stories.
LARGEST_CLOCK_OFFSET_SECONDS = 2.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. A note tells, "bad" needs somebody to act."""

    what: str
    state: State
    words: str


def checkup(config: Config) -> list[Finding]:
    """Look at everything; nothing is changed, and nothing raises."""
    return [
        Finding("python", "ok", f"{platform.python_version()} on Linux {platform.release()}, {sys.executable}"),
        *_measuring(),
        _time_left(config),
        *_folder(config),
        _outbox(config),
        *_tokens(config),
        *_wms(config),
        _collector(config),
    ]


def _measuring() -> Iterator[Finding]:
    from telemetry.measure import probe

    granted = probe()
    best = next(each.method for each in granted if each.is_granted)
    for each in granted:
        used = " (used by CPUMethod auto)" if each.method == best else ""
        state: State = "ok" if each.is_granted else "note"
        yield Finding("measuring", state, f"{each.method}: {each.reason}{used}")
    if best == "cgroup2":
        yield Finding("killing", "ok", "by control group: no process can hide from it")
    else:
        yield Finding("killing", "ok", "by process tree: the starter is a subreaper and finds every descendant")
    if os.geteuid() == 0:
        yield Finding("uid", "note", "root: set PayloadUser in [JobWrapper], so that payloads do not run as root")


def _time_left(config: Config) -> Finding:
    from runner.computing.batch_time_left import read_file, time_left

    now = SystemClock().utc_ns() / NANOSECONDS
    end = time_left(config, read_file, now)
    if end is None:
        return Finding(
            "time left", "note", "no batch system names an end; set CPUTimeLeft in [Site] where there is one"
        )
    margin = config.job_wrapper.stop_margin_seconds
    words = (
        f"{end.end_utc_seconds - now:.0f} s ({end.system}, {end.source}); jobs end {margin:.0f} s before (StopMargin)"
    )
    return Finding("time left", "ok", words)


def _folder(config: Config) -> Iterator[Finding]:
    place = config.folder
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            yield Finding("folder", "ok", f"{config.folder} can be written")
    except OSError as error:
        yield Finding("folder", "bad", f"{place} cannot be written ({error.strerror}); name another with --folder")
    from runner.agent.room import least_free_bytes

    free = shutil.disk_usage(place).free
    least = least_free_bytes(config)
    words = f"{free / 2**30:.1f} GiB free; below {least / 2**20:.0f} MiB the agent takes no job"
    yield Finding("disk", "ok" if free > least else "bad", words)


def _outbox(config: Config) -> Finding:
    from runner.agent.outbox import COLLECTOR, FILES
    from runner.agent.room import backlog, size_bytes
    from runner.compose.outbox import counted, listing

    items = listing(config)
    dead = sum(item.state == "dead" for item in items)
    lost = sum(counted(config)["expired"].values())
    words = f"{len(items) - dead} documents pending, {dead} dead, {lost} removed before they were taken"
    owed = {item.folder for item in items if item.state == "pending" and item.sink not in (FILES, COLLECTOR)}
    if too_many := backlog(config, len(owed), sum(size_bytes(folder) for folder in owed)):
        return Finding("outbox", "bad", f"{words}; {too_many}: the agent takes no job until the WMS answers")
    if dead:
        return Finding("outbox", "note", f"{words}; `jobspan outbox list --dead` says why")
    return Finding("outbox", "ok", words)


def _tokens(config: Config) -> Iterator[Finding]:
    from runner.compose.clients import Role, token_path

    roles: tuple[Role, ...] = ("user", "pilot", "admin")
    for role in roles:
        path = token_path(config, role)
        if not path.is_file():
            if role != "admin":
                yield Finding("token", "note", f"no {role} token in {path}; `jobspan wms` writes it")
        elif stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding("token", "bad", f"{path} can be read by others; run: chmod 600 {path}")
        else:
            yield Finding("token", "ok", f"{role} token in {path}")


def _wms(config: Config) -> Iterator[Finding]:
    from runner.compose.clients import wms_url
    from runner.compose.kinds import open_client

    try:
        url = wms_url(config)
    except UnavailableError as error:
        yield Finding("WMS", "note", str(error))
        return
    try:
        client = open_client(config)
        before = SystemClock().utc_ns()
        info = client.info()
        after = SystemClock().utc_ns()
        offset = (parse_utc(str(info.get("Time"))) - (before + after) / 2) / NANOSECONDS
        doubt = (after - before) / 2 / NANOSECONDS  # the WMS may have looked at its clock at any moment between
        client.search(["JobID"], per_page=1)
    except (JobspanError, ValueError) as error:
        yield Finding("WMS", "bad", f"{url}: {error}")
        return
    yield Finding("WMS", "ok", f"{url} answers, version {info.get('Version', 'unknown')}, takes the user token")
    state: State = "ok" if abs(offset) - doubt <= LARGEST_CLOCK_OFFSET_SECONDS else "bad"
    advice = "" if state == "ok" else "; synchronise the clocks of both machines (NTP)"
    yield Finding("clock", state, f"WMS minus this machine: {offset:+.3f} s{advice}")


def _collector(config: Config) -> Finding:
    urls = [each.url for each in (config.telemetry.traces, config.telemetry.logs) if each]
    if not urls:
        return Finding("collector", "note", f"none configured; spans and records go to {config.telemetry_folder} only")
    for url in urls:
        try:
            parts = urlsplit(url)
            place = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
            socket.create_connection(place, timeout=CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            return Finding("collector", "bad", f"{_without_user(url)}: {error}; check OTEL_EXPORTER_OTLP_ENDPOINT")
    return Finding("collector", "ok", f"{_without_user(urls[0])} takes connections")


def _without_user(url: str) -> str:
    return url.rsplit("@", 1)[-1]
