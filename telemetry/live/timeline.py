"""UTC of a boottime. Pure.

A wall clock may step while a job runs. So UTC is read once for each boot, from the wrapper's
first fact there (else from whoever wrote first), and everything else of that boot follows by
CLOCK_BOOTTIME: differences are true durations, and a step in the middle changes nothing.
"""

from collections.abc import Iterator, Sequence

from telemetry.entries import Entry
from telemetry.facts import KillFinished, PayloadEnded, WrapperReaped, WrapperStarted

#: Writers that outlive the wrapper: what they write is no sign that it lived.
OUTSIDE_WRITERS = frozenset({"agent", "recovery"})


class Timeline:
    """The clock of one journal, whose entries come in the order of `journal.merge`."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._anchors: dict[str, Entry] = {}
        self._last_ns: dict[str, int] = {}
        self._last_sign_ns: dict[str, int] = {}
        for entry in entries:
            self._anchors.setdefault(entry.boot_id, entry)
            if isinstance(entry.fact, WrapperStarted):
                self._anchors[entry.boot_id] = entry
            self._last_ns[entry.boot_id] = entry.boottime_ns
            for sign_ns in signs_of_life(entry):
                self._last_sign_ns[entry.boot_id] = max(sign_ns, self._last_sign_ns.get(entry.boot_id, sign_ns))

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

    def last_sign_utc_ns(self, boot_id: str) -> int:
        """UTC of the last sign of life of wrapper or payload in a boot; if there was none, of the boot's last fact."""
        return self.utc_ns(boot_id, self._last_sign_ns.get(boot_id, self._last_ns[boot_id]))


def signs_of_life(entry: Entry) -> Iterator[int]:
    """Boottimes at which wrapper or payload were still there, as *entry* shows."""
    # What recovery has killed had lived until then.
    if entry.writer not in OUTSIDE_WRITERS or isinstance(entry.fact, KillFinished):
        yield entry.boottime_ns
    if isinstance(entry.fact, PayloadEnded | WrapperReaped):
        yield entry.fact.end_boottime_ns
