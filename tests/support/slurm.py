"""A real Slurm in tests: a cluster of one node with its accounting, on loopback, in a folder of the test's own.

Its daemons listen where the name of their host leads. So they run in a space of names (UTS) of their own, in which the
host is called localhost.
"""

import contextlib
import csv
import os
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.components import require
from tests.support.databases import DatabaseServers, program, spawn
from tests.support.ports import free_port
from tests.support.waiting import eventually

READY_SECONDS = 180.0
CALL_SECONDS = 30.0
STOP_SECONDS = 20.0
#: What the documentation of `jobspan reconcile` asks of sacct, and the number that people know.
COLUMNS = "JobIDRaw,JobID,NodeList,Start,End,ElapsedRaw,TotalCPU,AllocCPUS,State"
NODE, CORES = "node1", 16
_IN_LOCALHOST = 'echo localhost >/proc/sys/kernel/hostname && exec "$@"'


class Slurm:
    """A cluster that runs."""

    def __init__(self, folder: Path, databases: DatabaseServers) -> None:
        """Start it: munge, accounting, controller, node."""
        require("slurm")
        self._folder = folder
        self._database = databases.server("mariadb")
        self._ports = {name: free_port() for name in ("slurmdbd", "slurmctld", "slurmd")}
        self._name = f"slurm_{self._ports['slurmdbd']}"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        try:
            self._prepare()
            self._start()
        except BaseException:
            self.close()
            raise

    # --- what a user does -------------------------------------------------------------------------

    def submit(self, script: str, *options: str) -> str:
        """Submit a batch script as `sbatch` takes it; the number of the job, or of the array."""
        return self.run("sbatch", "--parsable", *options, text=script).strip().partition(";")[0]

    def sacct(self, zone: str = "UTC") -> str:
        """What `sacct` says of all jobs and their steps, to somebody in the time zone *zone*."""
        return self.run("sacct", "-P", "-a", "-S", "now-2hours", "-o", COLUMNS, TZ=zone)

    def wait_ended(self, *jobs: str, within_seconds: float = READY_SECONDS) -> dict[str, dict[str, str]]:
        """Until the accounting has the end of *jobs* (of an array: `17_0`) and their scripts; their lines by name."""

        def ended() -> dict[str, dict[str, str]] | None:
            lines = {each["JobID"]: each for each in csv.DictReader(self.sacct().splitlines(), delimiter="|")}
            wanted = [name for job in jobs for name in (job, f"{job}.batch")]  # the step of a cancelled job ends later
            if not all(name in lines and lines[name]["End"] != "Unknown" for name in wanted):
                return None
            return {job: lines[job] for job in jobs}

        try:
            return eventually(ended, within_seconds) or {}
        except AssertionError:
            raise AssertionError(f"{jobs} have not ended: {self.sacct()}\n{self._logs()}") from None

    def run(self, *command: str, text: str = "", **environment: str) -> str:
        """Run one of Slurm's commands, and return what it says."""
        done = subprocess.run(
            [program(command[0]), *command[1:]],
            input=text, env={**os.environ, "SLURM_CONF": str(self._conf), **environment},
            capture_output=True, text=True, timeout=CALL_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}\n{self._logs()}"
        return done.stdout

    # --- its life ---------------------------------------------------------------------------------

    def close(self) -> None:
        """End all of it, and remove its database."""
        if "slurmd" in self._daemons:  # what runs in jobs outlives it
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                self.run("scancel", "--full", "--user", "root")
                eventually(lambda: not self.run("squeue", "-h"), STOP_SECONDS, "the end of all jobs")
        for process in self._daemons.values():
            process.kill()
            process.wait()
        self._daemons.clear()
        self._database.execute([f"DROP DATABASE IF EXISTS {self._name}", f"DROP USER IF EXISTS {self._user}"])

    @property
    def _conf(self) -> Path:
        return self._folder / "slurm.conf"

    @property
    def _user(self) -> str:
        return f"'{self._name}'@'127.0.0.1'"

    def _prepare(self) -> None:
        for name in ("state", "spool"):
            (self._folder / name).mkdir(parents=True)
        password = secrets.token_hex(16)
        self._database.execute(
            [f"CREATE USER {self._user} IDENTIFIED BY '{password}'", f"GRANT ALL ON {self._name}.* TO {self._user}"]
        )
        _write_secret(self._folder / "munge.key", secrets.token_bytes(128))
        _write_secret(self._folder / "slurmdbd.conf", _text(self._accounting(password)).encode())
        self._conf.write_text(_text(self._cluster()) + "\n".join(_NODES) + "\n")

    def _start(self) -> None:
        munge = self._folder / "munge.sock"
        self._daemon(
            "munged", "--foreground", "--force", f"--key-file={self._folder}/munge.key", f"--socket={munge}",
            f"--pid-file={self._folder}/munged.pid", f"--seed-file={self._folder}/munge.seed",
            f"--log-file={self._folder}/munged.log",
        )  # fmt: skip
        self._await("munged", munge.is_socket)
        self._daemon("slurmdbd", "-D")
        self._await("slurmdbd", lambda: self._listens("slurmdbd"))  # the controller gives up where it is not there
        self._daemon("slurmctld", "-D")
        self._await("slurmctld", lambda: self._listens("slurmctld"))
        self._daemon("slurmd", "-D")
        self._await("slurmd", lambda: self.run("sinfo", "-h", "-N", "-o", "%T").strip() == "idle")

    def _daemon(self, name: str, *options: str) -> None:
        inside = ["unshare", "--uts", "sh", "-c", _IN_LOCALHOST, "sh", "env", f"SLURM_CONF={self._conf}"]
        self._daemons[name] = spawn([*inside, program(name), *options], self._log(name))

    def _await(self, name: str, is_ready: Callable[[], bool]) -> None:
        def ready() -> bool:
            code = self._daemons[name].poll()
            assert code is None, f"{name} ended with {code}: {self._logs()}"
            return is_ready()

        eventually(ready, READY_SECONDS, name)

    def _listens(self, name: str) -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self._ports[name]), timeout=CALL_SECONDS).close()
            return True
        return False

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.out"

    def _logs(self) -> str:
        return "\n".join(f"{name}: {self._log(name).read_text()[-1500:]}" for name in self._daemons)

    # --- its configuration ------------------------------------------------------------------------

    def _accounting(self, password: str) -> Mapping[str, object]:
        return {
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self._folder}/munge.sock",
            "CommunicationParameters": "NoInAddrAny",
            "DbdHost": "localhost",
            "DbdAddr": "127.0.0.1",
            "DbdPort": self._ports["slurmdbd"],
            "PidFile": self._folder / "slurmdbd.pid",
            "SlurmUser": "root",
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "127.0.0.1",
            "StoragePort": self._database.port,
            "StorageLoc": self._name,
            "StorageUser": self._name,
            "StoragePass": password,
        }

    def _cluster(self) -> Mapping[str, object]:
        return {
            "ClusterName": "jobspan",
            "SlurmctldHost": "localhost(127.0.0.1)",
            "SlurmUser": "root",
            "AuthInfo": f"socket={self._folder}/munge.sock",
            "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
            "SlurmctldPort": self._ports["slurmctld"],
            "SlurmdPort": self._ports["slurmd"],
            "StateSaveLocation": self._folder / "state",
            "SlurmdSpoolDir": self._folder / "spool",
            "SlurmctldPidFile": self._folder / "slurmctld.pid",
            "SlurmdPidFile": self._folder / "slurmd.pid",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/linux",
            "MpiDefault": "none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core",
            "SchedulerParameters": "sched_min_interval=0,batch_sched_delay=0,sched_interval=2",
            "KillWait": 5,
            "ReturnToService": 2,
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": self._ports["slurmdbd"],
            "AccountingStoragePass": self._folder / "munge.sock",
            "SlurmdParameters": "config_overrides",  # so that the node has as many cores as it says
        }


_NODES = (
    f"NodeName={NODE} NodeHostname=localhost NodeAddr=127.0.0.1 CPUs={CORES} CoresPerSocket={CORES} State=UNKNOWN",
    f"PartitionName=main Nodes={NODE} Default=YES MaxTime=INFINITE State=UP",
)


@contextmanager
def slurm(folder: Path, databases: DatabaseServers) -> Iterator[Slurm]:
    """A cluster until the block ends."""
    cluster = Slurm(folder, databases)
    try:
        yield cluster
    finally:
        cluster.close()


def _text(options: Mapping[str, object]) -> str:
    return "".join(f"{name}={value}\n" for name, value in options.items())


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(0o600)
    path.write_bytes(content)
