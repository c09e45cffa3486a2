"""Contents in a folder, each under the sandbox's number: no part of a path ever comes from a request."""

import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from runner.server.errors import ForbiddenError, InvalidRequestError, TooLargeError, UnauthenticatedError
from runner.server.sandboxes.contents import Address, Sandbox
from runner.server.tokens import TokenMint

CHUNK_BYTES = 1 << 20
UPLOAD, DOWNLOAD = "sandbox upload", "sandbox download"


class FolderContents:
    """Implements `Contents`; content comes and goes through us, by permits that we sign."""

    def __init__(self, folder: Path, mint: TokenMint, permit_seconds: float) -> None:
        self.folder = folder
        self._mint = mint
        self._permit_seconds = permit_seconds

    def prepare(self) -> None:
        """Make the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def problem(self) -> tuple[str, str] | None:
        """The folder must be there, for us to write."""
        if not self.folder.is_dir():
            return "the folder is not there", str(self.folder)
        usable = os.access(self.folder, os.W_OK | os.X_OK)
        return None if usable else ("the folder cannot be written", str(self.folder))

    def upload(self, sandbox: Sandbox) -> Address:
        """A permit, and the fields that DiracX's clients expect."""
        return Address(permit=self._permit(UPLOAD, sandbox), fields=sandbox.checksum_fields)

    def download(self, sandbox: Sandbox) -> Address:
        """A permit."""
        return Address(permit=self._permit(DOWNLOAD, sandbox))

    def permitted(self, purpose: str, text: str) -> Sandbox:
        """The sandbox that the permit *text* is for.

        Raises:
            ForbiddenError: not signed by us, for another purpose, or expired.
        """
        try:
            values = self._mint.read_presigned(purpose, text)
        except UnauthenticatedError as error:
            raise ForbiddenError(f"this address is not valid, or no longer: {error}") from error
        return Sandbox(int(values["sandbox"]), int(values["size"]), str(values["sha256"]))

    def take(self, sandbox: Sandbox, content: BinaryIO) -> None:
        """Store the content, if it is what was announced. On the disk when this returns.

        Raises:
            InvalidRequestError: another size or checksum; nothing is kept then.
        """
        incoming = self.folder / f".incoming-{secrets.token_hex(8)}"
        try:
            size_bytes, checksum = _copy(content, incoming, sandbox.size_bytes)
            if (size_bytes, checksum) != (sandbox.size_bytes, sandbox.checksum):
                raise InvalidRequestError(
                    f"the content has {size_bytes} bytes and sha256 {checksum}, "
                    f"announced were {sandbox.size_bytes} and {sandbox.checksum}"
                )
            incoming.replace(self.path(sandbox))
        finally:
            incoming.unlink(missing_ok=True)

    def path(self, sandbox: Sandbox) -> Path:
        """Where the content lies."""
        return self.folder / str(sandbox.sandbox_id)

    def stored_bytes(self, sandbox: Sandbox) -> int | None:
        """The size of its file, which is there only as a whole."""
        path = self.path(sandbox)
        return path.stat().st_size if path.is_file() else None

    def remove(self, sandboxes: Sequence[Sandbox]) -> None:
        """Remove their files."""
        for each in sandboxes:
            self.path(each).unlink(missing_ok=True)

    def _permit(self, purpose: str, sandbox: Sandbox) -> str:
        values = {"sandbox": sandbox.sandbox_id, "size": sandbox.size_bytes, "sha256": sandbox.checksum}
        return self._mint.presign(purpose, values, self._permit_seconds)


def _copy(content: BinaryIO, target: Path, most_bytes: int) -> tuple[int, str]:
    digest, size_bytes = hashlib.sha256(), 0
    with target.open("xb") as file:
        while chunk := content.read(CHUNK_BYTES):
            size_bytes += len(chunk)
            if size_bytes > most_bytes:
                raise TooLargeError(f"the content has more than the {most_bytes} bytes that were announced")
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size_bytes, digest.hexdigest()
