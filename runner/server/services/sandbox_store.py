"""SandboxStore: archives of input and output files, named by their content, moved by presigned addresses."""

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.errors import (
    InvalidRequestError,
    InvalidValueError,
    UnknownObjectError,
)
from runner.server.models import SandboxInfo
from runner.server.sandboxes.contents import Address, Sandbox
from runner.server.sandboxes.folder import FolderContents
from runner.server.services.arrivals import note_arrival, note_arrivals
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Relation, Right, authorize, authorize_general, require
from runner.server.tokens import Identity

PREFIX = "SB:SandboxSE|"


class SandboxStore:
    """Knows all sandboxes; `runner.server.sandboxes` keeps their contents."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        context.contents.prepare()

    def initiate_upload(self, identity: Identity, info: SandboxInfo) -> tuple[str, Address | None]:
        """The name that the content gets, and where it can be brought (None: it is here already).

        Raises:
            InvalidRequestError: too large. StoreAwayError: it is not known whether it is here already.
        """
        most = self._context.settings.max_sandbox_bytes
        require(identity, Right.UPLOAD_SANDBOX, Relation.GENERAL)
        if info.size > most:
            raise InvalidRequestError(f"Sandbox too large: {info.size} bytes, at most {most} are taken")
        checksum, now_ns = info.checksum.lower(), self._context.now_ns()
        key = f"{identity.vo}/{identity.group}/{identity.name}/sha256:{checksum}.{info.format}"
        pfn = f"/S3/sandboxes/{key}"
        with self._context.databases.write() as transaction:
            authorize_general(transaction, identity, Right.UPLOAD_SANDBOX)
            row = transaction.sandboxes.get(pfn)
            if row is not None and row["Stored"]:
                transaction.sandboxes.renew(row["SBId"], now_ns, row["Bytes"])
                return PREFIX + pfn, None
            self._check_quota(transaction, identity, info.size, row)
            if row is None:
                sandbox_id = self._add(transaction, identity, pfn, checksum, info.size)
            else:
                transaction.sandboxes.renew(sandbox_id := row["SBId"], now_ns, info.size)
        if row is not None and note_arrival(self._context, row):
            return PREFIX + pfn, None
        address = self._context.contents.upload(Sandbox(sandbox_id, info.size, checksum))
        return PREFIX + pfn, replace(address, fields={"key": key, **address.fields})

    def _check_quota(self, transaction: Transaction, identity: Identity, size_bytes: int, row: Row | None) -> None:
        """Of what is there or may come, but for the sandbox itself, that may have been announced before."""
        most, but = self._context.settings.sandbox_quota_bytes, row["SBId"] if row is not None else 0
        if not most:
            return
        transaction.guards.hold(f"sandboxes of {identity.name} in {identity.vo}")  # nobody adds to what is summed up
        stored = transaction.sandboxes.bytes_of(identity.name, identity.vo, but=but)
        if stored + size_bytes > most:
            raise InvalidRequestError(
                f"Sandbox quota exceeded: {stored} bytes are stored or announced, "
                f"{size_bytes} more would be above {most}"
            )

    def permitted(self, purpose: str, text: str) -> Sandbox:
        """The sandbox that the permit *text* lets somebody bring or fetch here.

        Raises:
            ForbiddenError: not signed by us, for another purpose, or expired.
            UnknownObjectError: nothing is brought or fetched here.
        """
        return self._folder().permitted(purpose, text)

    def store(self, sandbox: Sandbox, content: BinaryIO) -> None:
        """Take the content, if it is what was announced. On the disk when this returns.

        Raises:
            InvalidRequestError: another size or checksum; nothing is kept then.
        """
        self._folder().take(sandbox, content)
        with self._context.databases.write(durable=True) as transaction:
            transaction.sandboxes.set_stored(sandbox.sandbox_id, sandbox.size_bytes)

    def initiate_download(self, identity: Identity, pfn: str) -> Address:
        """Where the sandbox *pfn* can be fetched.

        Raises:
            InvalidValueError: not a name of a sandbox. ForbiddenError: somebody else's.
            UnknownObjectError: never stored. StoreAwayError: it is not known whether it was.
        """
        name = _without_prefix(pfn)
        with self._context.databases.read() as transaction:
            row = self._readable(transaction, identity, name)
        if row is None or not (row["Stored"] or note_arrival(self._context, row)):
            raise UnknownObjectError("Sandbox not found")
        return self._context.contents.download(Sandbox.of(row))

    def open_download(self, sandbox: Sandbox) -> Path:
        """The file with the content.

        Raises:
            UnknownObjectError: it is gone.
        """
        path = self._folder().path(sandbox)
        if not path.is_file():
            raise UnknownObjectError("Sandbox not found")
        return path

    def _folder(self) -> FolderContents:
        contents = self._context.contents
        if not isinstance(contents, FolderContents):
            raise UnknownObjectError("sandboxes are not kept here")
        return contents

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
        note_arrivals(self._context, [name])
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


def _without_prefix(pfn: str) -> str:
    name = pfn.removeprefix(PREFIX)
    if not name.startswith("/S3/") or len(name) > 512:
        raise InvalidValueError(f"the name of a sandbox begins with {PREFIX}/S3/")
    return name
