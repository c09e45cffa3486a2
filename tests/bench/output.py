"""What it costs a payload to have its output followed: beside a plain redirect to a file, and what it costs us.

    python tests/bench/run.py --only output [--quick]

A program in C (in Python where there is no compiler) writes 2 GiB of 100-byte lines, in blocks of 64 KiB and line by
line. Rounds are interleaved; the volume is written and deleted once before, for the first touch of memory makes a run
ten times slower. Each payload times itself, between its first and its last write. With less than 12 GiB of room the
volume is smaller, and the rows say so.

To count lines every byte must be read. The floor beside each figure is what a bare reader does to a redirect: one loop
that reads what is new and counts its lines, every 20 ms, and keeps nothing.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner.config import JobWrapperConfig
from runner.process.output import ExecutionThread, OutputFiles, open_for_payload
from tests.bench.table import Row, spread

GIB = 1 << 30
LINE_BYTES = 100
ROUNDS, VOLUME_BYTES, NEEDED_BYTES = 9, 2 * GIB, 12 * GIB
#: Writes argv[1] lines of 100 bytes, argv[2] lines with each write; its wall time in seconds goes to stderr.
SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
    long lines = atol(argv[1]), each = atol(argv[2]), i;
    char *block = malloc(each * 100);
    struct timespec a, b;
    memset(block, 'x', each * 100);
    for (i = 1; i <= each; i++) block[i * 100 - 1] = '\n';
    clock_gettime(CLOCK_MONOTONIC, &a);
    while (lines > 0) {
        long now = lines < each ? lines : each, done = 0;
        while (done < now * 100) {
            ssize_t n = write(1, block + done, now * 100 - done);
            if (n < 0) return 1;
            done += n;
        }
        lines -= now;
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    dprintf(2, "%.6f\n", (b.tv_sec - a.tv_sec) + (b.tv_nsec - a.tv_nsec) / 1e9);
    return 0;
}
"""
IN_PYTHON = """
import os, sys, time
lines, each = int(sys.argv[1]), int(sys.argv[2])
block, start = (b"x" * 99 + b"\\n") * each, time.monotonic()
while lines:
    now = min(lines, each)
    os.write(1, block[: now * 100])
    lines -= now
os.write(2, b"%.6f\\n" % (time.monotonic() - start))
"""
#: Lines in a write: 64 KiB, and one.
WAYS = {"in 64 KiB blocks": 655, "line by line": 1}


@dataclass(frozen=True)
class Run:
    """One payload followed by us."""

    payload_seconds: float
    our_cpu_seconds: float
    complete_after_seconds: float


#: The bare reader: of the file argv[1], until its stdin ends; lines and its own CPU seconds go to stdout.
BARE = """
import os, select, sys, time
file, at, lines, begin = os.open(sys.argv[1], os.O_RDONLY), 0, 0, time.process_time()
is_over = False
while not is_over:
    is_over = bool(select.select([0], [], [], 0.02)[0])
    while data := os.pread(file, 256 << 10, at):
        at += len(data)
        lines += data.count(b"\\n")
print(lines, time.process_time() - begin)
"""


def rows(quick: bool) -> Iterator[Row]:
    """Two rows for each way of writing, and one for the end."""
    with _folder() as folder:
        volume = _volume_bytes(folder, quick)
        writer = _writer(folder)
        lines = volume // LINE_BYTES
        _redirected(folder, [*writer, str(lines), "655"])
        for way, each in WAYS.items():
            command = [*writer, str(lines), str(each)]
            plain, bare, followed = [], [], []
            for _ in range(2 if quick else ROUNDS):
                plain.append(_redirected(folder, command))
                bare.append(_barely_followed(folder, command, lines))
                followed.append(_followed(folder, command, lines))
            yield from _compared(f"{volume / GIB:.2g} GiB of 100-byte lines, {way}", volume, plain, bare, followed)


def _compared(
    what: str, volume: int, plain: Sequence[float], bare: Sequence[Run], followed: Sequence[Run]
) -> Iterator[Row]:
    ratios, floors = (
        [alone / run.payload_seconds for alone, run in zip(plain, by, strict=True)] for by in (followed, bare)
    )
    seconds = statistics.median(each.payload_seconds for each in followed)
    yield Row(
        what=f"{what}: payload's speed",
        ours=f"{seconds:.2f} s",
        against=f"redirect, {statistics.median(plain):.2f} s; floor, a bare reader beside it: {spread(floors)}",
        ratio=spread(ratios),
        aim="at least 0.95",
        reached=statistics.median(ratios) >= 0.95,
    )
    cpu, least = ([each.our_cpu_seconds / (volume / GIB) for each in by] for by in (followed, bare))
    yield Row(
        what=f"{what}: our CPU a GiB",
        ours=f"{spread(cpu)} s",
        against=f"floor, a bare reader: {spread(least)} s",
        aim="at most 0.6 s",
        reached=statistics.median(cpu) <= 0.6,
    )
    late, soonest = ([each.complete_after_seconds for each in by] for by in (followed, bare))
    yield Row(
        what=f"{what}: counts complete after the end",
        ours=f"{spread(late)} s",
        against=f"floor, a bare reader: {spread(soonest)} s",
        aim="at most 0.5 s",
        reached=statistics.median(late) <= 0.5,
    )


def _barely_followed(folder: Path, command: Sequence[str], lines: int) -> Run:
    """The floor: the payload's time with its output in a file that a bare reader follows."""
    path = folder / "barely"
    path.touch()
    reader = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", BARE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with path.open("ab") as file:
        seconds = _run(command, file.fileno())
    ended = time.monotonic()
    told, _ = reader.communicate()
    late = time.monotonic() - ended
    path.unlink()
    counted, cpu = told.split()
    if int(counted) != lines:
        raise RuntimeError(f"{counted} lines were counted, {lines} were written")
    return Run(seconds, float(cpu), late)


def _redirected(folder: Path, command: Sequence[str]) -> float:
    """The payload's own time with its output in a file."""
    path = folder / "redirected"
    with path.open("ab") as file:
        seconds = _run(command, file.fileno())
    path.unlink()
    return seconds


def _followed(folder: Path, command: Sequence[str], lines: int) -> Run:
    files = OutputFiles(folder, "std.out", "std.err")
    thread = ExecutionThread(files, config=JobWrapperConfig())
    fd = open_for_payload(folder, files.stdout, None)
    before = time.process_time()
    thread.start()
    try:
        seconds = _run(command, fd)
        ended = time.monotonic()
        seen = thread.finish()
        late = time.monotonic() - ended
    finally:
        os.close(fd)
    if seen[0].lines != lines:
        raise RuntimeError(f"{seen[0].lines} lines were counted, {lines} were written")
    files.stdout.unlink()
    return Run(seconds, time.process_time() - before, late)


def _run(command: Sequence[str], stdout: int) -> float:
    process = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=True)
    return float(process.stderr)


def _volume_bytes(folder: Path, quick: bool) -> int:
    if quick:
        return GIB // 8
    free = shutil.disk_usage(folder).free
    return min(VOLUME_BYTES, VOLUME_BYTES * free // NEEDED_BYTES) // LINE_BYTES * LINE_BYTES


def _writer(folder: Path) -> list[str]:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return [sys.executable, "-I", "-S", "-c", IN_PYTHON]
    program = folder / "writer"
    subprocess.run([compiler, "-O2", "-x", "c", "-o", str(program), "-"], input=SOURCE, text=True, check=True)
    return [str(program)]


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder on the file system of temporary files; all threads that we count are ours."""
    assert threading.active_count() == 1
    with tempfile.TemporaryDirectory(prefix="bench-output-") as name:
        yield Path(name)
