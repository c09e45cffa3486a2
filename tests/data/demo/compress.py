"""Compress the sources of Python's standard library in many processes, each in another relation to this one.

Three forked workers (zlib, bz2, lzma), thirty short-lived children one after the other, and a daemon
(two forks and a new session) whose end nobody waits for. All say through pipes what they used.
"""

import bz2
import json
import lzma
import os
import resource
import zlib

DATA_BYTES = 3_000_000
SHORT_LIVED = 30
METHODS = {
    "zlib": lambda data: zlib.compress(data, 9),
    "bz2": lambda data: bz2.compress(data, 9),
    "lzma": lambda data: lzma.compress(data[: DATA_BYTES // 2], preset=6),
}


def sources():
    """The first DATA_BYTES of the standard library, in alphabetical order."""
    folder = os.path.dirname(os.__file__)
    pieces, size = [], 0
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py") and size < DATA_BYTES:
            with open(os.path.join(folder, name), "rb") as file:
                pieces.append(file.read())
            size += len(pieces[-1])
    return b"".join(pieces)[:DATA_BYTES]


def cpu_seconds():
    """What this process alone has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def answer(pipe, name, before, after):
    """Send the result of a child; short enough to be written in one piece."""
    line = json.dumps({"name": name, "before": before, "after": after, "cpu_seconds": cpu_seconds()})
    os.write(pipe, line.encode() + b"\n")


def child(work):
    """Fork, do *work*, end at once; the child's pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def compress_all(data, name, pipe):
    """One method over all data."""
    answer(pipe, name, len(data), len(METHODS[name](data)))


def daemon(data, pipe):
    """Leave the family: session of its own, and a parent that ends at once."""

    def first():
        os.setsid()
        child(lambda: answer(pipe, "daemon", len(data), len(zlib.compress(data * 2, 9))))

    os.waitpid(child(first), 0)


def main():
    """Start everything, gather the answers until the last writer has gone, write ratios.json."""
    data = sources()
    reading, writing = os.pipe()
    workers = [child(lambda name=name: compress_all(data, name, writing)) for name in METHODS]
    daemon(data, writing)
    piece = len(data) // SHORT_LIVED
    for number in range(SHORT_LIVED):
        part = data[number * piece : (number + 1) * piece]
        os.waitpid(child(lambda part=part: answer(writing, "short", len(part), len(bz2.compress(part)))), 0)
    for pid in workers:
        os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading) as file:  # ends when the daemon has ended, too
        answers = [json.loads(line) for line in file]
    total = sum(each["cpu_seconds"] for each in answers) + cpu_seconds()
    for name in (*METHODS, "daemon"):
        one = next(each for each in answers if each["name"] == name)
        print(f"{name:6} {one['before']} -> {one['after']} bytes, {one['cpu_seconds']:.2f} s CPU")
    print(f"{len(answers)} processes, {total:.2f} s CPU by their own account")
    with open("ratios.json", "w", encoding="ascii") as file:
        json.dump({"cpu_seconds": total, "processes": answers}, file, indent=1)


if __name__ == "__main__":
    main()
