"""What a store of contents can do: presigned addresses to bring and to fetch, looking, removing."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runner.server.db.job_db import Row


@dataclass(frozen=True)
class Sandbox:
    """A registered sandbox. Its number is never given to another, so that no content is ever replaced."""

    sandbox_id: int
    size_bytes: int
    checksum: str

    @classmethod
    def of(cls, row: Row) -> "Sandbox":
        """The sandbox of a row of SandboxMetadataDB."""
        return cls(int(row["SBId"]), int(row["Bytes"]), str(row["Checksum"]))

    @property
    def checksum_fields(self) -> dict[str, str]:
        """The fields of an upload's form that announce the checksum, as DiracX has them."""
        encoded = base64.b64encode(bytes.fromhex(self.checksum)).decode()
        return {"x-amz-checksum-algorithm": "sha256", "x-amz-checksum-sha256": encoded}


@dataclass(frozen=True)
class Address:
    """Where a content goes to or comes from: a whole address, or a permit for our own route; form fields."""

    url: str = ""
    permit: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


class Contents(Protocol):
    """Contents of sandboxes. Whatever asks a server may raise StoreAwayError."""

    @property
    def folder(self) -> Path | None:
        """Where they lie on this machine; None: they do not."""

    def prepare(self) -> None:
        """Make ready for use, at the start.

        Raises:
            ConfigError: it can never be used like this.
        """

    def problem(self) -> tuple[str, str] | None:
        """Why it cannot be used now: words for everybody, and more for the log."""

    def upload(self, sandbox: Sandbox) -> Address:
        """Where exactly this content can be brought."""

    def download(self, sandbox: Sandbox) -> Address:
        """Where it can be fetched."""

    def stored_bytes(self, sandbox: Sandbox) -> int | None:
        """Its size, if it has been brought."""

    def remove(self, sandboxes: Sequence[Sandbox]) -> None:
        """Forget these contents, whether they are there or not."""
