"""forger: forges, deletes, signals and fills whatever it can reach, and writes down in report.txt when, and what came
of it."""

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

CONTROL = Path("..", "control").absolute()
PARENT = os.getppid()


def forge_the_journal() -> None:
    """An end that never was."""
    with (CONTROL / "wrapper.journal.jsonl").open("a") as file:
        file.write('{"v":1,"writer":"wrapper","fact":"AttemptEnded"}\n')


def write_a_journal_of_its_own() -> None:
    """Beside the real ones."""
    (CONTROL / "forger.journal.jsonl").write_text("{}\n")


def acknowledge_everything() -> None:
    """So that nothing would be sent any more."""
    (CONTROL / "wms-accounting.acks.jsonl").write_text('{"item":"x","outcome":"accepted"}\n')


def delete_the_folder() -> None:
    """With journal, token and script."""
    shutil.rmtree(CONTROL)


def read_the_token() -> None:
    """It would speak for the job."""
    (CONTROL / "job.token").read_bytes()


def read_the_environment_of_its_parent() -> None:
    """It might hold secrets."""
    Path(f"/proc/{PARENT}/environ").read_bytes()


def kill_its_parent() -> None:
    """The starter."""
    os.kill(PARENT, signal.SIGKILL)


def command_the_wrapper() -> None:
    """Through its control socket."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(CONTROL / "control.sock")[-100:])


def leave_its_session_and_stay() -> None:
    """A daemon that outlives the job, if nobody minds."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.pause()
        os._exit(0)
    os.wait()


def fill_the_folder() -> None:
    """With a file and a line without end."""
    Path("filled").write_bytes(b"\0" * (4 << 20))
    os.write(2, b"x" * (1 << 20))


def put_links_for_its_outputs() -> None:
    """That lead to files of others."""
    os.rename("std.out", "moved")
    os.symlink("/etc/shadow", "std.out")


ATTACKS: tuple[Callable[[], None], ...] = (
    forge_the_journal,
    write_a_journal_of_its_own,
    acknowledge_everything,
    delete_the_folder,
    read_the_token,
    read_the_environment_of_its_parent,
    kill_its_parent,
    command_the_wrapper,
    leave_its_session_and_stay,
    fill_the_folder,
    put_links_for_its_outputs,
)


def main() -> None:
    """All of it."""
    with open("report.txt", "w") as report:
        for attack in ATTACKS:
            moment_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            try:
                attack()
                effect = "done"
            except OSError as error:
                effect = f"denied: {type(error).__name__}"
            report.write(f"{moment_ns}\t{attack.__name__}\t{effect}\n")
            report.flush()


if __name__ == "__main__":
    main()
