"""Connections that are lost while a wrapper reads: before there is a payload they cost some tries, and no attempt."""

import hashlib
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from runner.process.cancel import Cancel
from runner.wms.client import WmsClient
from runner.wms.stores import WmsFileCatalog, WmsSandboxStore
from runner.wms.tokens import FixedToken
from telemetry.entries import Entry
from telemetry.facts import OperationFinished
from tests.support.http_faults import RESET, FaultyServer, Reply, Seen, faulty_server
from tests.support.journals import ListJournal
from tests.support.waiting import at_best, eventually
from tests.support.wrapper_fakes import Bench

LFN = "/lhcb/user/a/alice/input.csv"
CONTENT = b"1,2,3"
KNOWN = {"Size": len(CONTENT), "Adler32": f"{zlib.adler32(CONTENT):08x}"}


def stored(bench: Bench) -> Reply:
    """Put the file on the element of *bench*; what a catalogue says of it."""
    source = bench.folders.control / "source"
    source.write_bytes(CONTENT)
    pfn = bench.element.put(source, LFN)
    source.unlink()
    return Reply(200, {"Files": {LFN: {**KNOWN, "Replicas": {"SE-USER": pfn}}}})


@contextmanager
def at_server(bench: Bench, timeout_seconds: float) -> Iterator[FaultyServer]:
    """*bench* asks the catalogue of a real server."""
    config = bench.config
    with faulty_server() as (server, url):
        client = WmsClient(url, FixedToken("token"), timeout_seconds=timeout_seconds)
        wms = replace(config.wms, timeout_seconds=timeout_seconds)
        bench.replace(file_catalog=WmsFileCatalog(client), config=replace(config, wms=wms))
        try:
            yield server
        finally:
            client.close()


@pytest.mark.parametrize("wanted", ["InputData", "InputSandbox"])
def test_a_look_up_that_is_lost_is_made_again(tmp_path: Path, wanted: str) -> None:
    """A server that hangs up on two calls, each of which is sent twice, and has no time for a third, costs no
    attempt."""
    bench = Bench(tmp_path, {wanted: [f"LFN:{LFN}"]})
    found = stored(bench)
    with at_server(bench, 20.0) as server:
        server.script(*[RESET] * 4, Reply(503), found)
        assert bench.run() == 0
        assert len(server.seen) == 6
    assert bench.end.status == "Done"


def test_a_catalogue_that_stays_away_gives_the_job_back(tmp_path: Path) -> None:
    """It is asked for as long as three calls may take, and not for ever; then another attempt may do better."""

    def calls_missing(number: int) -> float:
        """How many calls fewer than the three it were, which may be because we were held up for as long as they."""
        bench = Bench(tmp_path / str(number), {"InputData": [f"LFN:{LFN}"]})
        with at_server(bench, 2.0) as server:
            server.script(RESET)
            bench.run()
            seen = len(server.seen)
        assert (bench.end.status, bench.end.minor_status) == ("Rescheduled", "Input Data Resolution")
        return max(0, 3 - seen)

    at_best(0, calls_missing)


def test_a_kill_ends_the_tries(tmp_path: Path) -> None:
    """Nobody asks on for a job that was told to stop."""
    bench, before = Bench(tmp_path, {"InputData": [f"LFN:{LFN}"]}), threading.enumerate()

    def kill_at_the_third(_: Seen) -> Reply:
        if len(server.seen) == 3:
            bench.cancel.request("user", "Received Kill signal")
        return RESET

    with at_server(bench, 20.0) as server:
        server.handler = kill_at_the_third
        bench.run()
        asking = [each for each in threading.enumerate() if each.name == "interruptible" and each not in before]
        eventually(lambda: not any(each.is_alive() for each in asking))
        assert len(server.seen) <= 4
    assert bench.end.status == "Killed"


def test_an_element_that_comes_back_is_read(tmp_path: Path) -> None:
    """A storage element that was away for a moment, as a file system that is mounted anew, costs no attempt."""
    bench = Bench(tmp_path, {"InputData": [f"LFN:{LFN}"]})
    folder, away = tmp_path / "SE-USER", tmp_path / "away"

    def come_back(entry: Entry) -> None:
        if isinstance(entry.fact, OperationFinished) and entry.fact.error_type and away.exists():
            away.rename(folder)

    found = stored(bench)
    folder.rename(away)
    bench.bus.listen(come_back)
    with at_server(bench, 20.0) as server:
        server.script(found)
        assert bench.run() == 0
    transfers = [each.error_type != "" for each in bench.operations if each.name == "transfer"]
    assert transfers == [True, False]


def test_a_sandbox_is_fetched_when_the_server_is_back(tmp_path: Path) -> None:
    """The same for an input sandbox: some seconds without a WMS cost no attempt."""
    name = f"SB:SandboxSE|/S3/x/sha256:{hashlib.sha256(CONTENT).hexdigest()}.tar.bz2"
    with faulty_server() as (server, url):
        where = Reply(200, {"url": f"{url}/data", "expires_in": 300})
        data = Reply(200, CONTENT, {"Content-Type": "application/octet-stream"})
        server.script(*[RESET] * 6, where, data)
        client = WmsClient(url, FixedToken("token"), timeout_seconds=20.0)
        store = WmsSandboxStore(client, cancel=Cancel(ListJournal().append))
        assert store.download(name, tmp_path / "target") == len(CONTENT)
        client.close()
