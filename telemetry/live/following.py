"""The attempts of a node, read from their journals bit by bit, and what all of them sum up to at any moment."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from telemetry.journal import JournalTail
from telemetry.live.counters import Totals
from telemetry.live.tally import AttemptFold, Living, Tally, unfinished

_NOTHING = Tally(uid="", counters={})


@dataclass(slots=True)
class Followed:
    """One attempt, as far as its journal was read."""

    tail: JournalTail
    fold: AttemptFold = field(default_factory=AttemptFold)
    #: What of it is in the sum.
    counted: Tally = _NOTHING
    #: What it shows while it lives.
    living: Living | None = None

    def read(self) -> bool:
        """Read what has been written since the last time; whether there was anything."""
        entries = self.tail.poll()
        for entry in entries:
            self.fold.add(entry)
        # A job whose folder has vanished does not live.
        self.living = self.fold.living() if entries or self.tail.folder.is_dir() else None
        return bool(entries)


class Attempts:
    """All attempts that are followed, and the sum of their shares."""

    def __init__(self, counts_elsewhere: Callable[[str], bool]) -> None:
        """*counts_elsewhere* tells of a UID whether its share is none of ours."""
        self._counts_elsewhere = counts_elsewhere
        self._followed: OrderedDict[Path, Followed] = OrderedDict()
        self.totals = Totals()

    def __len__(self) -> int:
        return len(self._followed)

    def add(self, control: Path, followed: Followed | None = None) -> None:
        """Follow the attempt in *control* from now on; a second time changes nothing."""
        if control not in self._followed:
            self._followed[control] = followed or Followed(JournalTail(control))
            self._count(self._followed[control])

    def read_next(self) -> None:
        """Read on in the one that was read longest ago."""
        control = next(iter(self._followed), None)
        if control is None:
            return
        self._followed.move_to_end(control)
        if self._followed[control].read():
            self._count(self._followed[control])

    def pop(self, control: Path) -> Followed:
        """The attempt in *control*, read to its end; it is followed no more, and out of the sum."""
        followed = self._followed.pop(control, None) or Followed(JournalTail(control))
        self.totals.take_back(followed.counted)
        followed.read()
        return followed

    def settled(self, uid: str) -> None:
        """The attempt counts elsewhere from now on, also where another folder of it is followed."""
        for followed in self._followed.values():
            if followed.counted.uid == uid:
                self.totals.take_back(followed.counted)
                followed.counted = _NOTHING

    def living(self) -> list[Living]:
        """The living jobs by their numbers; of two attempts the later."""
        by_job: dict[int, Living] = {}
        for followed in self._followed.values():
            living = followed.living
            if living is not None and by_job.setdefault(living.job_id, living).attempt < living.attempt:
                by_job[living.job_id] = living
        return [by_job[job_id] for job_id in sorted(by_job)]

    def damaged(self) -> int:
        """Lines of their journals that were no facts."""
        return sum(each.tail.damaged for each in self._followed.values())

    def _count(self, followed: Followed) -> None:
        tally = followed.fold.tally()
        self.totals.take_back(followed.counted)
        followed.counted = _NOTHING if self._counts_elsewhere(tally.uid) else unfinished(tally)
        self.totals.add(followed.counted)
