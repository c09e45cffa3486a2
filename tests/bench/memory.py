"""Private memory of a wrapper while its payload runs: forked by the zygote, and as an interpreter of its own."""

import os
from collections.abc import Iterator

from telemetry.facts import PayloadStarted, WrapperStarted
from tests.bench.place import CONFIGURATION, a_place, private_bytes
from tests.bench.table import Row
from tests.support.waiting import eventually

KINDS = (
    ("private memory of a wrapper, forked", CONFIGURATION, 10),
    ("the same, an interpreter of its own", CONFIGURATION.replace("[WMS]", "WarmStart = false\n[WMS]"), 25),
)


def rows(quick: bool) -> Iterator[Row]:
    """Both kinds of wrapper; *quick* changes nothing."""
    del quick
    for what, configuration, aim_mib in KINDS:
        size = _size(configuration)
        shown = "hidden from an ordinary user" if size is None else f"{size / 2**20:.1f} MiB"
        reached = None if size is None else size < aim_mib * 2**20
        yield Row(what=what, ours=shown, against="DIRAC 79 MB", aim=f"{aim_mib} MiB", reached=reached)


def _size(configuration: str) -> int | None:
    """In bytes; None where the kernel hides it."""
    with a_place(configuration) as place:
        gate = place.folder / "gate"
        os.mkfifo(gate)
        (job,) = place.submit({"Executable": "/bin/cat", "Arguments": str(gate), "CPUTime": 600}, 1)
        with place.process("agent", "--drain") as agent:
            eventually(lambda: place.entry(job, PayloadStarted), 30, "the payload")
            with gate.open("w"):  # opens when the payload reads, and lets it go when closed
                started = place.entry(job, WrapperStarted)
                size = private_bytes(started.fact.pid) if started and isinstance(started.fact, WrapperStarted) else None
            agent.wait(60)
    return size
