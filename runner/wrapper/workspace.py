"""The job's working directory: made, handed to the payload's user, measured, removed.

What the payload leaves in it is untrusted: no link is followed, and a tree of any depth is no trouble.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Measuring stops after so many entries: a payload can make files faster than anybody counts them.
_MOST_ENTRIES = 200_000


@dataclass(frozen=True)
class JobFolders:
    """*control* is ours alone; *work* is the payload's working directory, and belongs to it."""

    control: Path
    work: Path


def create(work: Path) -> None:
    """Make the empty folder *work*; what an earlier, dead wrapper of this attempt left there is removed."""
    if os.path.lexists(work):
        remove(work)
    work.mkdir(mode=0o755, parents=True)


def hand_over(work: Path, uid: int, gid: int) -> None:
    """Give *work* and all that we put into it to the payload's user. Links themselves are given, not what they name."""
    for path in (str(work), *_entries(work)):
        os.chown(path, uid, gid, follow_symlinks=False)


def size_bytes(work: Path) -> int | None:
    """Bytes of all files below *work*; None when there are too many to count."""
    total = 0
    for count, path in enumerate(_entries(work)):
        if count >= _MOST_ENTRIES:
            return None
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def remove(work: Path) -> bool:
    """Remove *work* with all that is in it; whether it is gone.

    Folders are moved up before they are emptied, so that neither recursion nor the length of a path
    is a limit.
    """
    with contextlib.suppress(OSError):
        if not stat.S_ISDIR(os.lstat(work).st_mode):
            work.unlink()
        else:
            _empty(work)
            work.rmdir()
    return not os.path.lexists(work)


def _empty(work: Path) -> None:
    number = 0
    while names := os.listdir(work):
        before = number
        for name in names:
            path = work / name
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                path.unlink()
                continue
            path.chmod(0o700)
            for inner in os.scandir(path):
                if inner.is_dir(follow_symlinks=False):
                    # A folder that its owner may not write cannot be moved: its ".." would change.
                    os.chmod(inner.path, 0o700)
                    number += 1
                    os.rename(inner.path, _free_name(work, number))
            shutil.rmtree(path)
        if number == before and os.listdir(work) == names:  # somebody adds to it, or it cannot be removed
            return


def _free_name(work: Path, number: int) -> Path:
    path = work / f".jobspan-removing-{number}"
    while os.path.lexists(path):
        path = path.with_name(path.name + "-")
    return path


def _entries(work: Path) -> Iterator[str]:
    """Paths of everything below *work*, links not followed; what cannot be read is left out."""
    folders = [str(work)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                yield entry.path
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
