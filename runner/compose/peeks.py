"""Looking at the output of a job through the agent of this folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from runner.compose.clients import METRICS_URL_FILE
from runner.compose.kinds import open_wms
from runner.config import Config
from runner.errors import UnavailableError
from runner.locks import lock_holder
from runner.wrapper.peeking import MOST_LINES

TIMEOUT_SECONDS = 10.0
_SUFFIX = "/metrics"


@dataclass(frozen=True)
class StreamPeek:
    """Lines of one stream, each with the byte at which it begins, and the byte from which to ask on."""

    lines: tuple[tuple[int, str], ...]
    next: int
    open_line: str
    ended: bool

    @property
    def start(self) -> int:
        """The first byte of what is here, or would be."""
        return self.lines[0][0] if self.lines else self.next


@dataclass(frozen=True)
class JobPeek:
    """What an attempt has written."""

    attempt: int
    streams: Mapping[str, StreamPeek]

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more."""
        return all(stream.ended for stream in self.streams.values())

    @property
    def is_full(self) -> bool:
        """Whether one answer may not have been enough."""
        return any(len(stream.lines) >= MOST_LINES for stream in self.streams.values())


def peek_at(
    config: Config, job_id: int, stream: str, *, after: Mapping[str, int] | None = None, wait_seconds: float = 0.0
) -> JobPeek:
    """Output of *job_id* from the agent on this folder.

    With *after* only what comes after that byte of each stream, waiting at most *wait_seconds* for it.

    Raises:
        UnavailableError: no agent runs here, or it does not show that now, and why; maybe with `retry_after_seconds`.
    """
    # A token goes only to a living agent: the address of a dead one may be somebody else's by now.
    if lock_holder(config.folder / "agent" / "agent.lock") is None:
        raise UnavailableError(f"no agent runs on {config.folder}")
    query: dict[str, str | int | float] = {"stream": stream, "wait": wait_seconds}
    query |= {f"after_{name}": position for name, position in (after or {}).items()}
    try:
        base = (config.folder / METRICS_URL_FILE).read_text().strip().removesuffix(_SUFFIX)
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(
                f"{base}/jobs/{job_id}/peek",
                params=query,
                headers={"Authorization": f"Bearer {open_wms(config).token().token()}"},
                timeout=TIMEOUT_SECONDS + wait_seconds,
                allow_redirects=False,
            )
            if answer.status_code == 429:
                seconds = float(answer.headers.get("Retry-After", "1"))
                raise UnavailableError("the agent asks for patience", retry_after_seconds=seconds)
            if answer.status_code != 200:
                raise UnavailableError(str(answer.json()["detail"]))
            return _peek(answer.json())
    except (OSError, ValueError, LookupError, TypeError) as error:  # requests' errors are OSErrors
        raise UnavailableError(f"the agent does not show output: {type(error).__name__}") from error


def _peek(body: Mapping[str, Any]) -> JobPeek:
    streams = {
        name: StreamPeek(
            tuple((int(at), str(text)) for at, text in each["lines"]),
            int(each["next"]),
            str(each["open_line"]),
            bool(each["ended"]),
        )
        for name, each in body["Streams"].items()
    }
    return JobPeek(int(body["Attempt"]), streams)
