"""FileCatalog: logical file names, what the files must contain, and where they lie."""

from collections.abc import Sequence
from typing import Any

from runner.server.errors import ConflictError, InvalidRequestError
from runner.server.models import Registration, ReplicaName
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Right, authorize_general
from runner.server.tokens import Identity


class FileCatalog:
    """Answers for every catalogue of `[WMS] Catalogs`; the first is the master."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def lookup(self, identity: Identity, lfns: Sequence[str], catalog: str | None) -> dict[str, Any]:
        """What is known of *lfns*, and which are not known.

        Raises:
            InvalidRequestError: there is no such catalogue.
        """
        name = self._catalog(catalog or self._context.settings.catalogs[0])
        wanted = list(dict.fromkeys(lfns))
        with self._context.databases.read() as transaction:
            authorize_general(transaction, identity, Right.LOOK_UP_FILES)
            known = transaction.catalog.files(name, wanted)
            files = {
                lfn: {
                    "Size": row["Size"],
                    "Adler32": row["Adler32"],
                    "Replicas": transaction.catalog.replicas(name, lfn),
                }
                for lfn, row in known.items()
            }
        return {"Files": files, "Missing": [lfn for lfn in wanted if lfn not in known]}

    def register(self, identity: Identity, file: Registration) -> bool:
        """Make a file or another replica of it known; False if it was already.

        Raises:
            InvalidRequestError: no such catalogue or storage element.
            ConflictError: the file is known with another content, or the replica under another PFN.
        """
        catalog = self._catalog(file.Catalog)
        if file.SE not in self._context.settings.storage_elements:
            known = ", ".join(self._context.settings.storage_elements)
            raise InvalidRequestError(f"there is no storage element {file.SE} here; known are {known}")
        adler32 = file.Adler32.lower().zfill(8)
        with self._context.databases.write(durable=True) as transaction:
            authorize_general(transaction, identity, Right.REGISTER_FILE)
            present = transaction.catalog.file(catalog, file.LFN)
            if present is None:
                transaction.catalog.add_file(catalog, file.LFN, file.Size, adler32)
            elif (present["Size"], present["Adler32"]) != (file.Size, adler32):
                raise ConflictError(f"{file.LFN} is known with {present['Size']} bytes, adler32 {present['Adler32']}")
            pfn = transaction.catalog.replicas(catalog, file.LFN).get(file.SE)
            if pfn not in (None, file.PFN):
                raise ConflictError(f"{file.LFN} is known at {file.SE} as {pfn}")
            if pfn is None:
                transaction.catalog.add_replica(catalog, file.LFN, file.SE, file.PFN)
        return pfn is None

    def remove(self, identity: Identity, replica: ReplicaName) -> None:
        """Forget that a file lies at one storage element; what is not known is forgotten already.

        Raises:
            InvalidRequestError: no such catalogue. ConflictError: it is the only replica.
        """
        catalog = self._catalog(replica.Catalog)
        with self._context.databases.write(durable=True) as transaction:
            authorize_general(transaction, identity, Right.REMOVE_REPLICA)
            known = transaction.catalog.replicas(catalog, replica.LFN)
            if set(known) == {replica.SE}:
                raise ConflictError(f"{replica.LFN} lies at {replica.SE} only")
            transaction.catalog.remove_replica(catalog, replica.LFN, replica.SE)

    def _catalog(self, name: str) -> str:
        known = self._context.settings.catalogs
        if name not in known:
            raise InvalidRequestError(f"there is no catalogue {name} here; known are {', '.join(known)}")
        return name
