"""The jobs that are struck: each shape makes the wrapper write facts that the others do not."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.commands.jobs import find
from runner.commands.killing import kill
from runner.data.storage import FolderStorageElement
from runner.data.transfers import adler32_of
from runner.errors import JobspanError
from runner.wms.answers import CatalogFile
from runner.wms.client import WmsClient
from tests.faults.plan import Strike

PAYLOADS = Path(__file__).parents[1] / "support" / "payloads"
LFN = "/local/faults/numbers.txt"
#: Works long enough for samples and heartbeats, with a child of its own, and writes a line now and then. With "wait" it
#: goes on, for half a minute at most, until a part of what is planned for the job has been done.
SCRIPT = """#!/bin/sh
cat numbers.txt
if [ "$1" = wait ]; then
    i=0
    until [ -e ../../../faults/$JOBSPAN_JOB_ID.1.done ] || [ $i -ge 600 ]; do
        i=$((i+1)); [ $((i % 4)) = 1 ] && echo "waited $i"; sleep 0.05
    done
fi
dd if=/dev/zero of=big bs=1k count=64 2>/dev/null
i=0
while [ $i -lt 3 ]; do echo "line $i"; head -c 3000000 /dev/zero | cksum; i=$((i+1)); done
echo data > out.txt
"""
#: What a payload wants done when its job has ended.
REQUEST = {
    "JobID": 1,
    "RequestName": "files",
    "Operations": [{"Type": "SetFileStatus", "Arguments": {"Statuses": [{"LFN": LFN, "Status": "Processed"}]}}],
}
BURN = "-c 'import os; os.fork()\nwhile True: sum(range(1000))'"


@dataclass(frozen=True)
class Shape:
    """A job by DIRAC's keys; *provoke* is called once, when its payload runs."""

    description: Mapping[str, Any]
    provoke: Callable[[WmsClient, int], object] | None = None
    #: Whether it passes points that others do not.
    is_looked_at: bool = True
    #: What makes it what it is, before anything else is done to it.
    strikes: tuple[Strike, ...] = ()


SHAPES: Mapping[str, Shape] = {
    "full": Shape(
        {
            "Executable": "work.sh",
            "InputSandbox": ["work.sh"],
            "InputData": [f"LFN:{LFN}"],
            "OutputSandbox": ["std.out", "std.err"],
            "OutputData": ["out.txt"],
        }
    ),
    "pending": Shape({"Executable": "/bin/true", "InputSandbox": ["file_request.json"]}),
    "bare": Shape({"Executable": "/bin/true"}),
    "refused": Shape({"Executable": "no-such-program-anywhere", "OutputSandbox": ["std.out"]}),
    "failing": Shape({"Executable": "/bin/sh", "Arguments": "-c 'echo no; exit 3'", "OutputSandbox": ["std.out"]}),
    "again": Shape({"Executable": "/bin/sh", "Arguments": "-c '[ $JOBSPAN_JOB_ATTEMPT = 2 ] || exit 222'"}),
    "limit": Shape({"Executable": "/usr/bin/python3", "Arguments": BURN, "MaxWallClockTime": 1}),
    "stepped": Shape(
        {"Executable": "/bin/sleep", "Arguments": "1"},
        strikes=(Strike("wrapper:PayloadStarted#1", "after", "clock:2"),),
    ),
    "late": Shape(
        {"Executable": "/bin/sleep", "Arguments": "2"},
        strikes=(Strike("wrapper:PayloadStarted#1", "after", "pause:1.5"),),
    ),
    "patient": Shape(
        {"Executable": "/bin/sh", "Arguments": "-c 'until [ -e go-on ]; do sleep 0.1; done'", "MaxWallClockTime": 120},
        is_looked_at=False,
    ),
    "forger": Shape(
        {
            "Executable": "/usr/bin/python3",
            "Arguments": "forger.py",
            "InputSandbox": ["forger.py"],
            "OutputSandbox": ["std.out", "std.err"],
        },
        is_looked_at=False,
    ),
    "killed": Shape(
        {"Executable": "/usr/bin/python3", "Arguments": BURN, "OutputSandbox": ["std.out"], "MaxWallClockTime": 20},
        lambda client, job_id: kill(client, find(client, [job_id])[0]),
    ),
    "fenced": Shape(
        {
            "Executable": "/bin/sh",
            "Arguments": "-c '[ $JOBSPAN_JOB_ATTEMPT = 2 ] && exit 0; while :; do :; done'",
            "MaxWallClockTime": 20,
        },
        lambda client, job_id: client.reschedule([job_id]),
    ),
    "stubborn": Shape(
        {
            "Executable": "/bin/sh",
            "Arguments": "-c 'trap \"\" TERM; while :; do head -c 1000000 /dev/zero | cksum; done'",
            "MaxWallClockTime": 1,
            "OutputSandbox": ["std.out"],
        }
    ),
}


def prepare(client: WmsClient, folder: Path) -> None:
    """What the shapes need: the script beside them, and the file behind the LFN."""
    (folder / "work.sh").write_text(SCRIPT)
    (folder / "file_request.json").write_text(json.dumps(REQUEST))
    shutil.copy(PAYLOADS / "forger.py", folder)
    source = folder / "numbers.txt"
    source.write_text("1 2 3\n")
    pfn = FolderStorageElement("SE-USER", folder / "storage" / "SE-USER").put(source, LFN)
    file = CatalogFile(size_bytes=source.stat().st_size, adler32=adler32_of(source), replicas={"SE-USER": pfn})
    try:
        client.catalog_register("FileCatalog", LFN, file)
    except JobspanError as error:
        raise RuntimeError(f"the shapes' input file cannot be registered: {error}") from error
