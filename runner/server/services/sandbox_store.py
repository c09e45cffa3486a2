"""SandboxStore: archives of input and output files, named by their content, moved by presigned addresses.

On the disk a sandbox lies under its number, so that no part of a path ever comes from a request.
"""

import base64
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.errors import (
    ForbiddenError,
    InvalidRequestError,
    InvalidValueError,
    TooLargeError,
    UnauthenticatedError,
    UnknownObjectError,
)
from runner.server.models import SandboxInfo
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Relation, Right, authorize, authorize_general, require
from runner.server.tokens import Identity

PREFIX = "SB:SandboxSE|"
CHUNK_BYTES = 1 << 20
UPLOAD, DOWNLOAD = "sandbox upload", "sandbox download"


@dataclass(frozen=True)
class Permit:
    """What a presigned address allows: to bring, or to fetch, this very content."""

    sandbox_id: int
    size_bytes: int
    checksum: str


class SandboxStore:
    """Keeps sandboxes in a folder."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._folder = context.settings.sandboxes
        self._folder.mkdir(parents=True, exist_ok=True)

    def initiate_upload(self, identity: Identity, info: SandboxInfo) -> tuple[str, str | None, dict[str, str]]:
        """The name that the content gets, the permit to upload it (None: it is here already), and form fields.

        Raises:
            InvalidRequestError: too large.
        """
        most = self._context.settings.max_sandbox_bytes
        require(identity, Right.UPLOAD_SANDBOX, Relation.GENERAL)
        if info.size > most:
            raise InvalidRequestError(f"Sandbox too large: {info.size} bytes, at most {most} are taken")
        checksum = info.checksum.lower()
        key = f"{identity.vo}/{identity.group}/{identity.name}/sha256:{checksum}.{info.format}"
        pfn = f"/S3/sandboxes/{key}"
        with self._context.databases.write() as transaction:
            authorize_general(transaction, identity, Right.UPLOAD_SANDBOX)
            row = transaction.sandboxes.get(pfn)
            if row is not None and row["Stored"]:
                transaction.sandboxes.renew(row["SBId"], self._context.now_ns())
                return PREFIX + pfn, None, {}
            self._check_quota(transaction, identity, info.size)
            sandbox_id = row["SBId"] if row is not None else self._add(transaction, identity, pfn, checksum, info.size)
        values = {"sandbox": sandbox_id, "size": info.size, "sha256": checksum}
        permit = self._context.mint.presign(UPLOAD, values, self._context.settings.presigned_seconds)
        encoded = base64.b64encode(bytes.fromhex(checksum)).decode()
        return (
            PREFIX + pfn,
            permit,
            {"key": key, "x-amz-checksum-algorithm": "sha256", "x-amz-checksum-sha256": encoded},
        )

    def _check_quota(self, transaction: Transaction, identity: Identity, size_bytes: int) -> None:
        most = self._context.settings.sandbox_quota_bytes
        stored = transaction.sandboxes.bytes_of(identity.name, identity.vo) if most else 0
        if most and stored + size_bytes > most:
            raise InvalidRequestError(
                f"Sandbox quota exceeded: {stored} bytes are stored, {size_bytes} more would be above {most}"
            )

    def permit(self, purpose: str, text: str) -> Permit:
        """What the presigned *text* allows.

        Raises:
            ForbiddenError: not signed by us, for another purpose, or expired.
        """
        try:
            values = self._context.mint.read_presigned(purpose, text)
        except UnauthenticatedError as error:
            raise ForbiddenError(f"this address is not valid, or no longer: {error}") from error
        return Permit(int(values["sandbox"]), int(values["size"]), str(values["sha256"]))

    def store(self, permit: Permit, content: BinaryIO) -> None:
        """Take the content, if it is what was announced. On the disk when this returns.

        Raises:
            InvalidRequestError: another size or checksum; nothing is kept then.
        """
        incoming = self._folder / f".incoming-{secrets.token_hex(8)}"
        try:
            size_bytes, checksum = _copy(content, incoming, permit.size_bytes)
            if (size_bytes, checksum) != (permit.size_bytes, permit.checksum):
                raise InvalidRequestError(
                    f"the content has {size_bytes} bytes and sha256 {checksum}, "
                    f"announced were {permit.size_bytes} and {permit.checksum}"
                )
            incoming.replace(self._path(permit.sandbox_id))
        finally:
            incoming.unlink(missing_ok=True)
        with self._context.databases.write(durable=True) as transaction:
            transaction.sandboxes.set_stored(permit.sandbox_id, size_bytes)

    def initiate_download(self, identity: Identity, pfn: str) -> tuple[str, str]:
        """A permit to fetch the sandbox *pfn*, and its file name.

        Raises:
            InvalidValueError: not a name of a sandbox. ForbiddenError: somebody else's.
            UnknownObjectError: never stored.
        """
        name = _without_prefix(pfn)
        with self._context.databases.read() as transaction:
            row = self._readable(transaction, identity, name)
        if row is None or not row["Stored"]:
            raise UnknownObjectError("Sandbox not found")
        values = {"sandbox": row["SBId"], "size": row["Bytes"], "sha256": row["Checksum"]}
        return self._context.mint.presign(DOWNLOAD, values, self._context.settings.presigned_seconds), name

    def open_download(self, permit: Permit) -> Path:
        """The file that a permit is for.

        Raises:
            UnknownObjectError: it is gone.
        """
        path = self._path(permit.sandbox_id)
        if not path.is_file():
            raise UnknownObjectError("Sandbox not found")
        return path

    def of_job(self, identity: Identity, job_id: int) -> dict[str, list[str]]:
        """Names of a job's sandboxes, by Input and Output.

        Raises:
            UnknownObjectError: there is no such job.
        """
        with self._context.databases.read() as transaction:
            if not authorize(transaction, identity, Right.LIST_SANDBOXES, [job_id]):
                raise UnknownObjectError(f"Job {job_id} not found")
            return transaction.sandboxes.of_job(job_id)

    def assign_output(self, identity: Identity, job_id: int, pfn: str) -> None:
        """Make a stored sandbox of the job's owner an output sandbox of the job.

        Raises:
            InvalidRequestError: it is already, or is not stored.
        """
        name = _without_prefix(pfn)
        with self._context.databases.write(durable=True) as transaction:
            row = authorize(transaction, identity, Right.ASSIGN_SANDBOX, [job_id]).get(job_id)
            if row is None:
                raise UnknownObjectError(f"Job {job_id} not found")
            sandbox = transaction.sandboxes.get(name)
            owned = sandbox is not None and (sandbox["Owner"], sandbox["VO"]) == (row["Owner"], row["VO"])
            if sandbox is None or not owned or not sandbox["Stored"]:
                raise InvalidRequestError("Sandbox not found")
            if not transaction.sandboxes.assign(sandbox["SBId"], job_id, "Output"):
                raise InvalidRequestError("Sandbox already assigned")

    def unassign(self, identity: Identity, job_ids: list[int]) -> None:
        """Forget the sandboxes of jobs; their content stays."""
        with self._context.databases.write() as transaction:
            for job_id in authorize(transaction, identity, Right.UNASSIGN_SANDBOX, job_ids):
                transaction.sandboxes.unassign(job_id)

    def _add(self, transaction: Transaction, identity: Identity, pfn: str, checksum: str, size_bytes: int) -> int:
        return transaction.sandboxes.add(
            {
                "PFN": pfn,
                "Owner": identity.name,
                "OwnerGroup": identity.group,
                "VO": identity.vo,
                "Checksum": checksum,
                "Bytes": size_bytes,
                "Stored": False,
                "RegistrationTime": self._context.now_ns(),
            }
        )

    def _readable(self, transaction: Transaction, identity: Identity, name: str) -> Row | None:
        row = transaction.sandboxes.get(name)
        if identity.job is not None:
            authorize(transaction, identity, Right.DOWNLOAD_SANDBOX, [identity.job.job_id])
            mine = transaction.sandboxes.of_job(identity.job.job_id)
            own = name in mine["Input"] or name in mine["Output"]
        else:
            area = f"/S3/sandboxes/{identity.vo}/{identity.group}/{identity.name}/"
            own = name.startswith(area) or (row is not None and (row["Owner"], row["VO"]) == identity.owner)
        require(identity, Right.DOWNLOAD_SANDBOX, Relation.OWN if own else Relation.OTHER)
        return row

    def _path(self, sandbox_id: int) -> Path:
        return self._folder / str(sandbox_id)


def _without_prefix(pfn: str) -> str:
    name = pfn.removeprefix(PREFIX)
    if not name.startswith("/S3/") or len(name) > 512:
        raise InvalidValueError(f"the name of a sandbox begins with {PREFIX}/S3/")
    return name


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
