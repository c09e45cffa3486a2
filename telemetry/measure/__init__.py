"""Measuring a payload's process tree.

* `procfs`, `cgroup`   I/O: `/proc` and control groups, read as values
* `snapshot`           the frozen values: one process, one tree at one moment, one reading
* `tree`               the pure fold of snapshots into totals that never fall
* `meter`              methods of measuring CPU (cgroup2, wait4), and which of them the machine grants

One direction: what is read becomes a snapshot, snapshots are folded, a meter reads the fold. A further
method is a further `Meter`.
"""

from telemetry.measure.meter import Granted, probe

__all__ = ["Granted", "probe"]
