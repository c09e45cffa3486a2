"""Contents in a bucket of an S3 server, moved past us: whoever has a presigned address brings and fetches them there.

An upload is a POST whose policy takes one size and one checksum, as DiracX has it, so that the server itself refuses
all else. Nobody tells us that it has come: whoever needs it has us look. An object's name has the number of its
sandbox, and of this WMS, so that what is removed is never what somebody else has just brought.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runner.errors import ConfigError
from runner.server.errors import StoreAwayError
from runner.server.sandboxes.bucket import Bucket
from runner.server.sandboxes.contents import Address, Sandbox

log = logging.getLogger("jobspan.wms")
CONNECT_SECONDS, READ_SECONDS, TRIES = 2.0, 10.0, 2
#: Of a look for readiness, which must answer soon.
LOOK_SECONDS = 1.0
#: What the server means by its code, where that is for the configuration to mend.
REFUSALS = {403: "the S3 server refuses the credentials", 404: "the bucket is not there"}


class S3Contents:
    """Implements `Contents`."""

    folder: Path | None = None

    def __init__(self, bucket: Bucket, wms_id: str, address_seconds: float) -> None:
        """No connection is made yet.

        Raises:
            ConfigError: botocore is not installed, or takes endpoint or region for none.
        """
        try:
            import botocore.session  # 0.2 s, for whoever wants it
        except ModuleNotFoundError as error:
            raise ConfigError(
                "[WMS] SandboxBucket needs botocore; install it with: pip install 'jobspan[s3]'"
            ) from error
        # All that it needs is given: it looks for no files and no profiles of whoever has started us.
        nothing = {"profile": None, "config_file": os.devnull, "credentials_file": os.devnull}
        session = botocore.session.Session({name: (None, None, value, None) for name, value in nothing.items()})
        self._bucket = bucket
        self._wms_id = wms_id
        self._address_seconds = round(address_seconds)
        try:
            self._client = _client(session, bucket, CONNECT_SECONDS, READ_SECONDS, TRIES)
            self._looking = _client(session, bucket, LOOK_SECONDS, LOOK_SECONDS, 1)
        except (ValueError, _errors().BotoCoreError) as error:
            raise ConfigError(f"[WMS] SandboxBucket: {error}") from error

    def prepare(self) -> None:
        """Look whether the bucket can be used; a server that is away only now may come back."""
        found = self.problem()
        if found and found[0] in REFUSALS.values():
            raise ConfigError(f"[WMS] SandboxBucket: {found[0]}: {found[1]}")
        if found:
            log.warning("sandboxes: %s: %s", *found)

    def problem(self) -> tuple[str, str] | None:
        """The server must let us look at the bucket."""
        where = f"bucket {self._bucket.name} at {self._bucket.endpoint or 'Amazon'}"
        try:
            self._looking.head_bucket(Bucket=self._bucket.name)
        except _errors().ClientError as error:
            code = _status(error)
            return REFUSALS.get(code, f"the S3 server answers {code}"), where
        except _errors().BotoCoreError as error:
            return "the S3 server does not answer", f"{where}: {type(error).__name__}"
        return None

    def upload(self, sandbox: Sandbox) -> Address:
        """The address and form of a POST that takes exactly this content, and no other."""
        fields = sandbox.checksum_fields
        conditions: list[Any] = [["content-length-range", sandbox.size_bytes, sandbox.size_bytes]]
        conditions += [{name: value} for name, value in fields.items()]
        signed = self._client.generate_presigned_post(
            self._bucket.name,
            self._key(sandbox),
            Fields=dict(fields),
            Conditions=conditions,
            ExpiresIn=self._address_seconds,
        )
        return Address(url=signed["url"], fields=signed["fields"])

    def download(self, sandbox: Sandbox) -> Address:
        """The address of a GET."""
        what = {"Bucket": self._bucket.name, "Key": self._key(sandbox)}
        return Address(
            url=self._client.generate_presigned_url("get_object", Params=what, ExpiresIn=self._address_seconds)
        )

    def stored_bytes(self, sandbox: Sandbox) -> int | None:
        """The size of the object, which the policy of its address has checked."""
        with _asking("look at a sandbox"):
            try:
                return int(self._client.head_object(Bucket=self._bucket.name, Key=self._key(sandbox))["ContentLength"])
            except _errors().ClientError as error:
                if _status(error) == 404:
                    return None
                raise

    def remove(self, sandboxes: Sequence[Sandbox]) -> None:
        """Remove their objects."""
        for each in sandboxes:
            with _asking("remove a sandbox"):
                self._client.delete_object(Bucket=self._bucket.name, Key=self._key(each))

    def _key(self, sandbox: Sandbox) -> str:
        return f"{self._wms_id}/{sandbox.sandbox_id}/sha256:{sandbox.checksum}"


def _client(session: Any, bucket: Bucket, connect_seconds: float, read_seconds: float, tries: int) -> Any:
    from botocore.config import Config

    config = Config(
        signature_version="s3v4",
        connect_timeout=connect_seconds,
        read_timeout=read_seconds,
        retries={"total_max_attempts": tries, "mode": "standard"},
        # Only Amazon's has a host name for each bucket.
        s3={"addressing_style": "path" if bucket.endpoint else "virtual"},
        ignore_configured_endpoint_urls=True,
    )
    return session.create_client(
        "s3",
        region_name=bucket.region,
        endpoint_url=bucket.endpoint or None,
        verify=bucket.ca_bundle or None,
        config=config,
        **bucket.credentials,
    )


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Whatever the server does not do is for later: the caller can do nothing about it."""
    try:
        yield
    except (_errors().ClientError, _errors().BotoCoreError) as error:
        reason = REFUSALS.get(_status(error), "the S3 server fails") if hasattr(error, "response") else ""
        log.warning("sandboxes: cannot %s: %s", what, reason or type(error).__name__)
        raise StoreAwayError("the store of the sandboxes does not answer as it should; try again later") from error


def _status(error: Any) -> int:
    return int(error.response["ResponseMetadata"].get("HTTPStatusCode", 0))


def _errors() -> Any:
    import botocore.exceptions

    return botocore.exceptions
