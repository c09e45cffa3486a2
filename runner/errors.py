"""The exceptions of jobspan, one drawn tree.

::

    JobspanError                  something is wrong; the message says what to do
    ├── ConfigError               the configuration file or an option
    ├── DescriptionError          a job description; knows line and field
    ├── RefusedError              the WMS understood and said no (4xx); will not succeed by repetition
    │   ├── FencedError           this attempt is not, or no longer, ours
    │   ├── UnauthorizedError     no, expired or insufficient token
    │   └── NotFoundError         no such job, file, sandbox
    ├── UnavailableError          network, 5xx, no answer in time; may succeed later
    │   └── TokenRefusedError     the job token is not accepted; another may be
    ├── TransientJobError         this attempt cannot go on here and now: reschedule
    ├── PermanentJobError         this job can never succeed: fail it, one attempt
    │   ├── HostileArchiveError   an archive that would write outside its folder, or explode
    │   └── ChecksumError         content is not what was promised
    └── PayloadStartError         exec failed; knows the errno
"""


class JobspanError(Exception):
    """Base of all errors that jobspan raises on purpose."""


class ConfigError(JobspanError):
    """The configuration file or an option is wrong."""


class DescriptionError(JobspanError):
    """A job description is wrong. `line` and `field` say where, when they are known."""

    def __init__(self, message: str, *, source: str = "", line: int | None = None, field: str | None = None) -> None:
        where = ":".join(part for part in (source, str(line) if line is not None else "") if part)
        super().__init__(": ".join(part for part in (where, field or "", message) if part))
        self.line = line
        self.field = field


class RefusedError(JobspanError):
    """The WMS said no, and will say no again. `status_code` is the HTTP status."""

    def __init__(self, message: str, *, status_code: int = 0) -> None:
        super().__init__(message)
        self.status_code = status_code


class FencedError(RefusedError):
    """The attempt that this token stands for is not, or no longer, the current one."""


class UnauthorizedError(RefusedError):
    """The token is missing, expired, or its rights do not reach so far."""


class NotFoundError(RefusedError):
    """There is no such job, file or sandbox."""


class UnavailableError(JobspanError):
    """No answer, a network error, a 5xx. `retry_after_seconds` is what the server asked for, if it did."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class TokenRefusedError(UnavailableError):
    """The job token is not accepted. It can be renewed, so this is no answer for ever."""


class TransientJobError(JobspanError):
    """This attempt cannot go on, another may: the job is rescheduled. `error_type` is for spans and metrics."""

    def __init__(self, message: str, *, error_type: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class PermanentJobError(JobspanError):
    """No attempt of this job can succeed: it fails at once. `error_type` is for spans and metrics."""

    error_type = "permanent"

    def __init__(self, message: str, *, error_type: str = "") -> None:
        super().__init__(message)
        self.error_type = error_type or type(self).error_type


class HostileArchiveError(PermanentJobError):
    """An archive breaks our rules: paths outside its folder, links, devices, bombs."""

    error_type = "hostile_archive"


class ChecksumError(PermanentJobError):
    """A file's content does not have the checksum that was promised."""

    error_type = "checksum_mismatch"


class PayloadStartError(JobspanError):
    """The payload could not be executed. `errno` is the kernel's answer."""

    def __init__(self, message: str, *, errno: int) -> None:
        super().__init__(message)
        self.errno = errno
