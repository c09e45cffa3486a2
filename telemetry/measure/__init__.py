"""Measuring a payload's process tree.

* `procfs`             I/O: `/proc`, read as values
* `walker`             I/O: the same processes again and again, cheaply
* `cgroup`, `cgroup1`  I/O: control groups of version 2 and 1, `hybrid` of both; `files` keeps theirs open
* `stillness`          I/O: whether processes have run since they were looked at
* `perf`               I/O: the kernel's task clock of a tree
* `snapshot`           the frozen values: one process, one tree at one moment, one reading
* `tree`               the pure fold of snapshots into totals that never fall
* `peaks`              whose peaks are settled: the kernel's, or the most that was seen (pure)
* `naming`             under which names a sample says who has measured what (pure)
* `delegation`         I/O: controllers of version 2, handed on to the groups of payloads
* `oom`                I/O: kills for want of memory, as a control group counts them
* `left_behind`        I/O: control groups of a dead starter, found again
* `meter`              methods of measuring (cgroup2, cgroup1, perf, wait4, sampled), and which the machine grants

One direction: what is read becomes a snapshot, snapshots are folded, a meter reads the fold. A further
method is a further `Meter`.
"""

from telemetry.measure.meter import Granted, probe

__all__ = ["Granted", "probe"]
