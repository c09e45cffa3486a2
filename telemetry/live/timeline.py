"""UTC of a boottime. Pure.

A wall clock may step while a job runs. So UTC is read once for each boot, from the first entry
of the journal, and everything else of that boot follows by CLOCK_BOOTTIME: differences are true
durations, and a step in the middle changes nothing.
"""

from collections.abc import Sequence

from telemetry.facts import Entry


class Timeline:
    """The clock of one journal, whose entries come in the order of `journal.merge`."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._anchors: dict[str, Entry] = {}
        self._last: dict[str, int] = {}
        for entry in entries:
            self._anchors.setdefault(entry.boot_id, entry)
            self._last[entry.boot_id] = max(entry.boottime_ns, self._last.get(entry.boot_id, entry.boottime_ns))

    def utc_ns(self, boot_id: str, boottime_ns: int) -> int:
        """UTC of *boottime_ns* in the boot *boot_id*.

        Raises:
            KeyError: no entry of that boot.
        """
        anchor = self._anchors[boot_id]
        return anchor.utc_ns + boottime_ns - anchor.boottime_ns

    def of(self, entry: Entry) -> int:
        """UTC of the moment at which *entry* was written."""
        return self.utc_ns(entry.boot_id, entry.boottime_ns)

    def last_utc_ns(self, boot_id: str) -> int:
        """UTC of the last fact of a boot: until then something is known to have lived."""
        return self.utc_ns(boot_id, self._last[boot_id])
