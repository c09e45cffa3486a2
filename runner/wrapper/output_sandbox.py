"""The output sandbox: what the globs of OutputSandbox find, within OutputSandboxLimit."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

from runner.data.archives import LIMITS, Listing, opener, pack, packed_size, size_of
from runner.data.below import find_below, open_below
from runner.errors import HostileArchiveError
from runner.job.status import JobStatus, MinorStatus
from runner.wrapper.attempt import Attempt
from runner.wrapper.interruptible import Patient
from telemetry.catalogue import MOVED_BYTES, MOVED_FILES, MOVED_NAME
from telemetry.facts import DataMoved

ARCHIVE = "output_sandbox.tar.zst"
#: Headers and padding of a file in a compressed archive, about, bytes.
_ENTRY_BYTES = 256
#: How much of a stream may be tried for each byte of room, from the largest: text shrinks by compression.
_TRIES = (16.0, 8.0, 4.0, 2.0, 1.0, 0.95, 0.5)
Item: TypeAlias = tuple[str, Callable[[], int]]


@dataclass(frozen=True)
class Selection:
    """What goes into the archive, and what was asked for but does not."""

    items: tuple[Item, ...]
    missing: tuple[str, ...]
    #: Bytes that do not fit, by file: the middle of a stream, all of another file.
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def missing_files(self) -> str:
        """What is missing, as a parameter of the job; a question mark for what is no text."""
        return ", ".join(self.missing).encode("utf-8", "replace").decode()


class _TooLarge(Exception):
    """The archive is beyond the limit already, and not complete yet."""


def upload_output_sandbox(attempt: Attempt, patient: Patient) -> None:
    """Pack and upload; parameters OutputSandbox (its pfn), OutputSandboxMissingFiles and OutputSandboxDroppedBytes.

    Statuses are set for a job without a problem only: the minor status of another one says its cause.

    Raises:
        UnavailableError, RefusedError: the store's answer.
        Cancelled: the patience is over.
    """
    control, work = attempt.parts.folders.control, attempt.parts.folders.work
    if attempt.problem is None:
        attempt.report.set_job_status(JobStatus.COMPLETING, MinorStatus.UPLOADING_OUTPUT_SANDBOX)
    archive = control / ARCHIVE
    archive.unlink(missing_ok=True)
    try:
        with attempt.operations("pack") as attributes:
            selection = collect(work, attempt.parts.arguments.description.output_sandbox, attempt.payload_uid)
            cuts = Cuts(work, control, attempt.payload_uid, patient.check)
            limit = attempt.options.output_sandbox_limit_bytes
            selection, size = pack_within(selection, archive, cuts, limit, attempt.std_names)
            attributes.update({MOVED_FILES: len(selection.items), MOVED_BYTES: size})
        if selection.missing and attempt.payload_started:
            attempt.report.set_job_parameter("OutputSandboxMissingFiles", selection.missing_files)
        if selection.dropped:
            attempt.report.set_job_parameter("OutputSandboxDroppedBytes", sum(selection.dropped.values()))
        if selection.items:
            _upload(attempt, patient, archive, selection)
    finally:
        for left in (archive, *control.glob("cut_*")):
            left.unlink(missing_ok=True)
    if attempt.problem is None:
        attempt.report.set_job_status(JobStatus.COMPLETING, MinorStatus.OUTPUT_SANDBOX_UPLOADED)


def collect(work: Path, patterns: Sequence[str], owner: int | None) -> Selection:
    """The readable regular files below *work* that *patterns* mean, each once.

    Patterns that mean none are missing, and so are files that no archive takes, for their name or their number.
    """
    items: dict[str, Item] = {}
    listing = Listing()
    missing: list[str] = []
    for pattern in patterns:
        found = find_below(work, pattern)
        if not found:
            missing.append(pattern)
        for each in found:
            if each.name in items:
                continue
            try:
                os.close(open_below(work, each.name, owner=owner))
                listing.add(each.name)
            except (OSError, HostileArchiveError):
                missing.append(each.name)
            else:
                items[each.name] = (each.name, opener(work, each.name, owner))
    return Selection(tuple(items.values()), tuple(dict.fromkeys(missing)))


def pack_within(
    selection: Selection, archive: Path, cuts: "Cuts", limit_bytes: int, streams: Sequence[str]
) -> tuple[Selection, int]:
    """Write the *archive* of all, or of what fits into *limit_bytes*; what is in it, and its bytes."""

    def check() -> None:
        cuts.check()
        if archive.stat().st_size > limit_bytes:
            raise _TooLarge

    fitting, is_cut = selection, False
    while fitting.items:
        try:
            if (size := pack(fitting.items, archive, check)) <= limit_bytes:
                return fitting, size
            archive.unlink()
        except (_TooLarge, HostileArchiveError):  # too many bytes, before or after they were compressed
            pass
        fitting, is_cut = _without_last(fitting) if is_cut else fit(selection, limit_bytes, streams, cuts), True
    return fitting, 0


def _without_last(selection: Selection) -> Selection:
    *kept, (name, opener) = selection.items
    dropped = {**selection.dropped, name: selection.dropped.get(name, 0) + size_of(opener)}
    return Selection(tuple(kept), (*selection.missing, name), dropped)


def fit(selection: Selection, limit_bytes: int, streams: Sequence[str], cuts: "Cuts") -> Selection:
    """What of *selection* fits into *limit_bytes*: streams first, cut where they must be, then the smallest files.

    Streams leave other files half of the room, if these need it.
    """
    room = limit_bytes - _ENTRY_BYTES * (1 + len(streams))
    sized = [(_weight(item[1], limit_bytes, cuts.check), item) for item in selection.items]
    others = sorted((size + _ENTRY_BYTES, item) for size, item in sized if item[0] not in streams)
    written = [(size, item) for size, item in sized if item[0] in streams]
    share = max(1, (room - min(room // 2, sum(size for size, _ in others))) // max(1, len(written)))
    kept: list[Item] = []
    missing, dropped = list(selection.missing), dict(selection.dropped)
    for size, item in written:
        if size > share:
            cut = cuts.cut(item[0], share)
            kept.append(cut.item)
            room -= cut.packed_bytes
            dropped[item[0]] = cut.left_out_bytes
        else:
            kept.append(item)
            room -= size
    for size, item in others:
        if size <= room:
            room -= size
            kept.append(item)
        else:
            missing.append(item[0])
            dropped[item[0]] = size_of(item[1])
    return Selection(tuple(kept), tuple(missing), dropped)


def _weight(opener: Callable[[], int], limit_bytes: int, check: Callable[[], None]) -> int:
    """What of *limit_bytes* a file takes: compressed, or as a share of what may come out of an archive."""
    share = size_of(opener) * limit_bytes // LIMITS.total_bytes
    return share if share > limit_bytes else max(share, packed_size(opener, limit_bytes, check))


@dataclass(frozen=True)
class Cut:
    """A shortened copy of a stream."""

    item: Item
    packed_bytes: int
    left_out_bytes: int


@dataclass(frozen=True)
class Cuts:
    """Makes shortened copies of streams, in our own folder: the payload's files stay as they are."""

    work: Path
    control: Path
    owner: int | None
    check: Callable[[], None]

    def cut(self, name: str, room_bytes: int) -> Cut:
        """Head and tail of *name*, as long as their compressed size is at most *room_bytes*."""
        target = self.control / f"cut_{name.replace('/', '_')}"
        for factor in _TRIES:
            self.check()
            left_out = self._copy(name, target, int(room_bytes * factor) // 2)
            copied = opener(self.control, target.name)
            size = packed_size(copied, room_bytes, self.check)
            if size <= room_bytes:
                break
        return Cut((name, copied), size, left_out)

    def _copy(self, name: str, target: Path, end_bytes: int) -> int:
        """Write head and tail of *name* to *target*; how many bytes were left out."""
        with os.fdopen(open_below(self.work, name, owner=self.owner), "rb") as source, target.open("wb") as copy:
            size = os.fstat(source.fileno()).st_size
            left_out = size - 2 * end_bytes
            if left_out <= 0:
                copy.write(source.read(size))
                return 0
            copy.write(source.read(end_bytes))
            copy.write(f"\n--- {left_out} of {size} bytes left out: OutputSandboxLimit ---\n".encode())
            source.seek(size - end_bytes)
            copy.write(source.read(end_bytes))
            return left_out


def _upload(attempt: Attempt, patient: Patient, archive: Path, selection: Selection) -> None:
    size = archive.stat().st_size
    with attempt.operations("upload_output_sandbox") as attributes:
        attributes[MOVED_BYTES] = size
        pfn = patient(partial(attempt.parts.sandbox_store.upload_output, archive))
        attributes[MOVED_NAME] = pfn
    attempt.parts.emit(
        DataMoved(
            kind="output_sandbox",
            files=len(selection.items),
            bytes=size,
            dropped_bytes=sum(selection.dropped.values()),
        )
    )
    attempt.report.set_job_parameter("OutputSandbox", pfn)
