"""What routes answer, for the OpenAPI document: DiracX's models by their names. Answers are made by the services."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel


class OpenIDConfiguration(BaseModel):
    """OpenID Connect provider metadata."""

    issuer: str
    token_endpoint: str
    userinfo_endpoint: str
    authorization_endpoint: str
    device_authorization_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    grant_types_supported: list[str]
    scopes_supported: list[str]
    response_types_supported: list[str]
    token_endpoint_auth_signing_alg_values_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    code_challenge_methods_supported: list[str]


class GroupInfo(BaseModel):
    """A group and what it gives."""

    properties: list[str]


class SupportInfo(BaseModel):
    """Where to ask."""

    message: str
    webpage: str | None
    email: str | None


class VOInfo(BaseModel):
    """A virtual organisation."""

    groups: dict[str, GroupInfo]
    support: SupportInfo
    default_group: str


class Metadata(BaseModel):
    """The virtual organisations of this installation."""

    virtual_organizations: dict[str, VOInfo]


class InitiateDeviceFlowResponse(BaseModel):
    """A login that waits for its user."""

    user_code: str
    device_code: str
    verification_uri_complete: str
    verification_uri: str
    expires_in: int
    interval: int


class TokenResponse(BaseModel):
    """Tokens of a session."""

    access_token: str
    expires_in: int
    token_type: str = "Bearer"  # noqa: S105 - the kind of token, not one
    refresh_token: str | None = None


class UserInfoResponse(BaseModel):
    """Who the bearer of a token is."""

    sub: str
    vo: str
    dirac_group: str
    policies: dict[str, str]
    properties: list[str]
    preferred_username: str


class InsertedJob(BaseModel):
    """A job that was taken in."""

    JobID: int
    Status: str
    MinorStatus: str
    TimeStamp: datetime


class SetJobStatusReturnSuccess(BaseModel):
    """What a job is after an update; null where nothing changed."""

    Status: str | None = None
    MinorStatus: str | None = None
    ApplicationStatus: str | None = None
    HeartBeatTime: datetime | None = None
    StartExecTime: datetime | None = None
    EndExecTime: datetime | None = None
    LastUpdateTime: datetime | None = None
    #: Ours: why a change was refused.
    Reason: str | None = None


class SetJobStatusReturn(BaseModel):
    """What became of the updates, by job."""

    success: dict[str, SetJobStatusReturnSuccess]
    failed: dict[str, dict[str, str]]


class JobCommand(BaseModel):
    """An order for the wrapper of a job."""

    job_id: int
    command: str
    arguments: str | None = None


class SandboxUploadResponse(BaseModel):
    """Where to bring a sandbox; without `url` it is here already."""

    pfn: str
    url: str | None = None
    fields: dict[str, str] = {}


class SandboxDownloadResponse(BaseModel):
    """Where to fetch a sandbox."""

    url: str
    expires_in: int


class Refusal(BaseModel):
    """Why it was not done: words, or what is wrong where."""

    detail: Any
