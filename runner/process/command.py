"""What the starter is told to execute. Pure values."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PayloadUser:
    """The account under which a payload runs when the wrapper is root."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class PayloadCommand:
    """A program with all that belongs to its start.

    `argv[0]` without a slash is looked up in the PATH of *environment*, with a slash it is relative to
    *folder*, the working directory. *stdout* and *stderr* lie below *folder* and may be the same file;
    they are appended to.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    stdout: Path
    stderr: Path
    user: PayloadUser | None = None
    umask: int = 0o022

    def candidates(self) -> tuple[str, ...]:
        """Paths at which the program may lie, in the order in which they are tried."""
        name = self.argv[0]
        if "/" in name:
            return (name,)
        # An empty element means the working directory (POSIX).
        path = self.environment.get("PATH", "/usr/local/bin:/usr/bin:/bin")
        return tuple(f"{folder or '.'}/{name}" for folder in path.split(":"))

    def to_json(self) -> dict[str, Any]:
        """The command as the wire carries it."""
        user = self.user
        return {
            "argv": self.argv,
            "environment": dict(self.environment),
            "folder": str(self.folder),
            "stdout": str(self.stdout),
            "stderr": str(self.stderr),
            "user": None if user is None else [user.uid, user.gid, user.groups, user.name],
            "umask": self.umask,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PayloadCommand":
        """The command that `to_json` made *data* of."""
        user = data["user"]
        return cls(
            argv=tuple(data["argv"]),
            environment=data["environment"],
            folder=Path(data["folder"]),
            stdout=Path(data["stdout"]),
            stderr=Path(data["stderr"]),
            user=None if user is None else PayloadUser(uid=user[0], gid=user[1], groups=tuple(user[2]), name=user[3]),
            umask=data["umask"],
        )
