"""The bucket that keeps sandboxes, as the configuration names it, and the credentials for it."""

import configparser
from dataclasses import dataclass, field
from pathlib import Path

from runner.config import Config
from runner.errors import ConfigError

KEY_ID, SECRET_KEY, SESSION_TOKEN = "aws_access_key_id", "aws_secret_access_key", "aws_session_token"
SECTION = "default"


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket of an S3 server."""

    name: str
    #: Empty: Amazon's.
    endpoint: str = ""
    region: str = "us-east-1"
    #: File with the certificate authorities; empty: those of the system.
    ca_bundle: str = ""
    credentials: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_config(cls, config: Config) -> "Bucket | None":
        """The bucket of `[WMS]`; None: there is none.

        Raises:
            ConfigError: there are no credentials for it.
        """
        wms = config.wms
        if not wms.sandbox_bucket:
            return None
        if wms.sandbox_credentials_file:
            given = _read(Path(wms.sandbox_credentials_file).expanduser())
        else:
            given = {KEY_ID: wms.s3_key_id, SECRET_KEY: wms.s3_secret_key, SESSION_TOKEN: wms.s3_session_token}
        credentials = {name: value for name, value in given.items() if value}
        if not {KEY_ID, SECRET_KEY} <= set(credentials):
            raise ConfigError(
                "[WMS] SandboxBucket needs credentials: name a file by SandboxCredentialsFile "
                f"([{SECTION}] with {KEY_ID} and {SECRET_KEY}), or set {KEY_ID.upper()} and {SECRET_KEY.upper()}"
            )
        return cls(
            name=wms.sandbox_bucket,
            endpoint=wms.sandbox_endpoint,
            region=wms.sandbox_region,
            ca_bundle=config.http.ca_bundle,
            credentials=credentials,
        )


def _read(path: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text())
        return {name: parser.get(SECTION, name, fallback="") for name in (KEY_ID, SECRET_KEY, SESSION_TOKEN)}
    except OSError as error:
        raise ConfigError(f"[WMS] SandboxCredentialsFile: {path}: cannot be read ({error.strerror})") from error
    except (configparser.Error, UnicodeDecodeError):  # their words would show what is in the file
        raise ConfigError(f"[WMS] SandboxCredentialsFile: {path}: not a file of credentials") from None
