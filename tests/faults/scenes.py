"""What surrounds the jobs of a campaign: a small disk, a WMS that comes and goes, a second agent, a bad collector."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from telemetry.clock import NANOSECONDS
from telemetry.facts import Fenced, JobMatched, PayloadStarted
from telemetry.journal import read_journal
from telemetry.outbox import Acknowledgements
from tests.faults.collectors import FAULTS, Collector
from tests.faults.field import Field
from tests.faults.plan import Trial, Verdict
from tests.faults.points import FILLER
from tests.support.certificates import Certificates, make
from tests.support.waiting import eventually

_HOLD_SECONDS = 0.6


class Scene:
    """Nothing special; the base of those that are."""

    #: Options of the site, known before it starts.
    tables: Mapping[str, Mapping[str, Any]] = {}
    prefix: Mapping[str, list[str]] = {}
    #: A right one and a wrong one: then everybody reaches the WMS by TLS.
    certificates: tuple[Certificates, Certificates] | None = None
    #: Exit codes of a WMS or an agent that was told to stop.
    in_order: Set[int] = frozenset({0})

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, site: Field) -> None:
        """The WMS runs, the agent does not yet."""

    def tick(self, site: Field, jobs: Mapping[int, Trial]) -> None:
        """Called again and again while jobs run."""

    def finish(self, site: Field, jobs: Mapping[int, Trial]) -> list[Verdict]:
        """All jobs are settled, the agent still runs: what was done beside the trials' own strikes."""
        return []

    def close(self) -> None:
        """Undo."""


class SmallDisk(Scene):
    """Jobs and telemetry each on a file system of their own, of a few megabytes; what was filled is emptied again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._mounted: list[Path] = []
        self._since: dict[Path, float] = {}

    def begin(self, site: Field) -> None:
        """Mount."""
        for name in ("jobs", "telemetry"):
            path = site.folder / name
            path.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", path], check=True)
            self._mounted.append(path)

    def tick(self, site: Field, jobs: Mapping[int, Trial]) -> None:
        """Make room, or writable, what has been full or read-only for long enough."""
        for path in self._mounted:
            if self._is_over(path, bool(os.statvfs(path).f_flag & os.ST_RDONLY)):
                subprocess.run(["mount", "-o", "remount,rw", path], check=True)
        filler = site.folder / "jobs" / FILLER
        if self._is_over(filler, filler.exists()):
            with contextlib.suppress(OSError):  # read-only now; the next time, then
                filler.unlink()

    def close(self) -> None:
        """Unmount."""
        for path in self._mounted:
            subprocess.run(["umount", "-l", path], check=True)

    def _is_over(self, path: Path, is_so: bool) -> bool:
        if not is_so:
            self._since.pop(path, None)
            return False
        return time.monotonic() - self._since.setdefault(path, time.monotonic()) > _HOLD_SECONDS


class Flapping(Scene):
    """The WMS is there and away, there and away."""

    #: How often it was missed by somebody, at most; then it stays.
    most = 1000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._switch_at = 0.0
        self._last = "no fact"
        self._verdict = Verdict("the WMS comes and goes", "WMS flapping", 0)

    def tick(self, site: Field, jobs: Mapping[int, Trial]) -> None:
        """Switch."""
        if time.monotonic() < self._switch_at or len(self._verdict.faults) >= self.most:
            return
        self._switch_at = time.monotonic() + _HOLD_SECONDS
        if site.relay.down.is_set():
            site.relay.down.clear()
            effect = f"{site.relay.refused} calls refused"
            if site.relay.refused:
                self._verdict.faults.append({"fault": "WMS away", "last_fact": self._last, "effect": effect})
            site.relay.refused = 0
        else:
            self._last = site.last_fact()
            site.relay.down.set()

    def finish(self, site: Field, jobs: Mapping[int, Trial]) -> list[Verdict]:
        """It stays."""
        site.relay.down.clear()
        if not self._verdict.faults:
            self._verdict.problem("without effect: the WMS was away, and no call was refused")
        return [self._verdict]


class Encrypted(Scene):
    """The way to the WMS is encrypted, by a certificate of an authority of the site's own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        right, wrong = folder / "right", folder / "wrong"
        right.mkdir(parents=True)
        wrong.mkdir()
        self.certificates = (make(right, "127.0.0.1"), make(wrong, "127.0.0.1"))


class TwoAgents(Scene):
    """Others want the folder, and an attempt is executed twice."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._verdicts: list[Verdict] = []
        self._seen: set[int] = set()

    def tick(self, site: Field, jobs: Mapping[int, Trial]) -> None:
        """For each job once, when its payload runs."""
        for job_id in jobs:
            for folder in site.folders(job_id)[:1] if job_id not in self._seen else []:
                entries = read_journal(folder.control)
                if any(isinstance(each.fact, PayloadStarted) for each in entries):
                    self._seen.add(job_id)
                    self._second_execution(folder.control, job_id, site.last_fact(job_id))
                    self._second_agent(site, site.last_fact(job_id))
                    (folder.work / "go-on").touch()

    def finish(self, site: Field, jobs: Mapping[int, Trial]) -> list[Verdict]:
        """What was refused."""
        return self._verdicts

    def _second_agent(self, site: Field, last: str) -> None:
        command = [sys.executable, "-m", "runner.cli", "--folder", str(site.folder), "agent", "--drain"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self._note("a second agent", "two agents", last, done.stderr.strip() if "another agent" in done.stderr else "")

    def _second_execution(self, control: Path, job_id: int, last: str) -> None:
        copy = self.folder / "copies" / f"{job_id}.1" / "control"
        shutil.copytree(control, copy, ignore=shutil.ignore_patterns("wrapper.*", "starter.*", "*.sock", "*.lock"))
        (copy.parent / "work").mkdir()
        subprocess.run([copy / f"Wrapper_{job_id}"], capture_output=True, timeout=60, check=False)
        facts = [each.fact for each in read_journal(copy)]
        fenced = any(isinstance(fact, Fenced) for fact in facts)
        ran = any(isinstance(fact, PayloadStarted) for fact in facts)
        self._note("an attempt is executed twice", "duplicate match", last, "fenced off" if fenced and not ran else "")

    def _note(self, fault: str, group: str, last: str, effect: str) -> None:
        verdict = Verdict(fault, group, 0, [{"fault": fault, "last_fact": last, "effect": effect}])
        if not effect:
            verdict.problem(f"without effect: {fault}")
        self._verdicts.append(verdict)


class BadCollector(Scene):
    """A collector for the agent, and one for the WMS, that do everything wrong once."""

    faults = wms_faults = FAULTS

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._agents = Collector(folder / "collector", self.faults, 3)  # two in a row are needed: spans, and the record
        self._wmss = Collector(folder / "wms-collector", self.wms_faults, 2)
        telemetry = {"OTLPEndpoint": self._agents.endpoint, "OTLPCertificate": str(self._agents.certificate)}
        self.tables = {"Telemetry": {**telemetry, "OTLPTimeout": 1.0}}
        chosen = {"ENDPOINT": self._wmss.endpoint, "CERTIFICATE": self._wmss.certificate}
        self.prefix = {"wms": ["env", *(f"OTEL_EXPORTER_OTLP_{name}={value}" for name, value in chosen.items())]}

    def begin(self, site: Field) -> None:
        """From now on there are facts."""
        self._agents.last_fact = self._wmss.last_fact = site.last_fact

    def finish(self, site: Field, jobs: Mapping[int, Trial]) -> list[Verdict]:
        """When all has been done, every record must have arrived; copies are folded by their UID."""
        return [self._of_agent(site, jobs), self._of_wms(site)]

    def _of_agent(self, site: Field, jobs: Mapping[int, Trial]) -> Verdict:
        controls = [folder.control for job_id in jobs for folder in site.folders(job_id)]
        uids = [folder.uid for job_id in jobs for folder in site.folders(job_id)]

        def arrived() -> bool:
            return all(Acknowledgements(control, "otlp-http").settled for control in controls)

        verdict = Verdict("the collector does everything wrong", "collector", 0)
        try:
            eventually(arrived, 120.0)
        except AssertionError:
            verdict.problem("not all attempts are settled with the collector")
        _note(verdict, self._agents)
        copies = Counter(self._agents.uids)
        if missing := [uid for uid in uids if not any(each.startswith(uid) for each in copies)]:
            verdict.problem(f"{len(missing)} records have not arrived")
        verdict.duplicates = sum(count - 1 for count in copies.values())
        return verdict

    def _of_wms(self, site: Field) -> Verdict:
        """Its spans may be dropped, and are counted then; it goes on sending, and lives."""
        verdict = Verdict("the collector does everything wrong to the WMS", "collector of the WMS", 0)
        deadline = time.monotonic() + 180.0
        while not self._wmss.through.wait(0.2) and time.monotonic() < deadline:
            site.client.search(["JobID"], [], per_page=1)  # a call makes a span, and spans make requests
        taken = self._wmss.taken
        site.client.search(["JobID"], [], per_page=1)
        try:
            eventually(lambda: self._wmss.taken > taken, 60.0)
        except AssertionError:
            verdict.problem("the WMS sends no more spans")
        _note(verdict, self._wmss)
        if site.deaths or site.wms.process.poll() is not None:
            verdict.problem(f"somebody has died: {site.deaths}")
        return verdict

    def close(self) -> None:
        """Stop listening."""
        self._agents.close()
        self._wmss.close()


def _note(verdict: Verdict, bad: Collector) -> None:
    """What the collector has done, and what it has not."""
    for fault, last, effect in bad.done:
        verdict.faults.append({"fault": f"collector: {fault}", "last_fact": last, "effect": effect})
        if not effect:
            verdict.problem(f"without effect: {fault}")
    if left := set(bad.faults) - {fault for fault, *_ in bad.done}:
        verdict.problem(f"never reached: {sorted(left)}")


class Hostile(Scene):
    """Payloads run under an account of their own, and attack what surrounds them."""

    tables = {"JobWrapper": {"PayloadUser": "nobody", "CleanUpFlag": False}}
    #: What a payload may do to itself; all else must be denied.
    ALLOWED = frozenset({"leave_its_session_and_stay", "fill_the_folder", "put_links_for_its_outputs"})

    def begin(self, site: Field) -> None:
        """The other account must be able to get there."""
        for path in (site.folder, *site.folder.parents):
            if path.stat().st_uid == os.geteuid() and len(path.parts) > 2:
                path.chmod(path.stat().st_mode | 0o711)

    def finish(self, site: Field, jobs: Mapping[int, Trial]) -> list[Verdict]:
        """What the payloads say they could do, and could not."""
        verdict = Verdict("a payload attacks what it can reach", "hostile payload", 0)
        for job_id in jobs:
            reports = [folder.work / "report.txt" for folder in site.folders(job_id)]
            written = [each.read_text() for each in reports if each.exists()]  # not by an attempt without a payload
            if not written:
                verdict.problem(f"job {job_id}: its payload has attacked nothing")
            for line in "".join(written).splitlines():
                moment_ns, attack, effect = line.split("\t")
                last = site.last_fact(job_id, before_ns=int(moment_ns))
                verdict.faults.append({"fault": attack, "last_fact": last, "effect": effect})
                if effect == "done" and attack not in self.ALLOWED:
                    verdict.problem(f"job {job_id}: not denied: {attack}")
        return [verdict]


class FakeTime(Scene):
    """WMS and agent (and so the wrappers) live an hour off, as libfaketime shows it to them; the machine does not."""

    #: libfaketime refuses (EINVAL) the sleep in which Python waits for a child with a timeout, as the agent does at its
    #: very end for its zygote: an "internal error" then says nothing of the agent.
    in_order = frozenset({0, 70})

    def __init__(self, folder: Path, library: str, wms: str = "", agent: str = "") -> None:
        super().__init__(folder)
        offsets = {"wms": wms, "agent": agent}
        self.prefix = {
            name: ["env", f"LD_PRELOAD={library}", f"FAKETIME={offset}", "DONT_FAKE_MONOTONIC=1", "FAKETIME_NO_CACHE=1"]
            for name, offset in offsets.items()
            if offset
        }

    def finish(self, site: Field, jobs: Mapping[int, Trial]) -> list[Verdict]:
        """How far the two clocks were apart, as the agent saw it with the match."""
        verdict = Verdict("a clock is an hour off", "clock an hour off", 0)
        for job_id in jobs:
            for folder in site.folders(job_id):
                for entry in read_journal(folder.control):
                    if isinstance(entry.fact, JobMatched):
                        apart = (entry.fact.match_end_utc_ns - entry.utc_ns) / NANOSECONDS
                        effect = f"WMS minus node {apart:.0f} s" if 3500 < abs(apart) < 3700 else ""
                        last = site.last_fact(job_id, before_ns=entry.boottime_ns)
                        verdict.faults.append({"fault": "clock off", "last_fact": last, "effect": effect})
                        if not effect:
                            verdict.problem(f"without effect: the clocks are {apart:.0f} s apart")
        return [verdict]
