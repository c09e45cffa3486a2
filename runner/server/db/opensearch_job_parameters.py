"""Job parameters in OpenSearch, as the original keeps them: an index a day, a document a parameter.

A parameter is set by update-by-query over all days; if there is none to update it is created in the
index of the day. Its document has an id made of job and name, so that two who create it at once
make one. Nothing here is part of a transaction: a transaction's parameters are set when it has been
committed, and a call that finds the server away is answered 503 and may be repeated.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from runner.errors import ConfigError
from runner.server.db.schema import now_ns
from runner.server.errors import DatabaseAwayError
from telemetry.clock import SystemClock, utc_text

INDEX = "job_parameters"
TEMPLATE = {
    "index_patterns": [f"{INDEX}-*"],
    "template": {
        "mappings": {
            "properties": {
                "JobID": {"type": "long"},
                "Name": {"type": "keyword"},
                # JSON of any length, found by job and name only.
                "Value": {"type": "keyword", "index": False, "doc_values": False},
                "timestamp": {"type": "long"},
            }
        }
    },
}
SCRIPT = "ctx._source.Value = params.Value; ctx._source.timestamp = params.timestamp"
TIMEOUT_SECONDS = 10.0
#: A job has no more: each call may set some hundreds.
MOST = 10_000
TRIES = 3
log = logging.getLogger("jobspan.wms")
#: HTTP's code for an index whose shards do not answer yet.
NOT_READY = 503
#: Between a call and its repetition, beside the server's own wait.
NOT_READY_PAUSES_SECONDS = (0.0, 0.1, 0.2, 0.4, 0.8)


class OpenSearchJobParameters:
    """The parameters of all jobs, on one server."""

    def __init__(self, url: str) -> None:
        """Reach the server at *url*, and tell it what the indexes of the days look like.

        Raises:
            ConfigError: opensearch-py is not installed, or the server does not answer.
        """
        try:
            from opensearchpy import OpenSearch  # 0.3 s, for whoever wants it
        except ModuleNotFoundError as error:
            raise ConfigError(
                "[WMS] ParametersURL needs opensearch-py; install it with: pip install 'jobspan[opensearch]'"
            ) from error
        self._client = OpenSearch([url], timeout=TIMEOUT_SECONDS, max_retries=0)
        try:
            with _asking():
                self._client.indices.put_index_template(name=INDEX, body=TEMPLATE)
        except DatabaseAwayError as error:
            self.close()
            raise ConfigError(f"[WMS] ParametersURL: {error}") from error

    def set_job_parameter(self, job_id: int, name: str, value: Any, at_ns: int | None = None) -> None:
        """Set one parameter, new or not; now, if nothing else is said.

        Raises:
            DatabaseAwayError: the server does not answer, or refuses.
        """
        document = {"JobID": job_id, "Name": name, "Value": json.dumps(value)}
        document["timestamp"] = now_ns(SystemClock()) if at_ns is None else at_ns
        for _ in range(TRIES):
            if self._update(document) or self._create(document):
                return
        raise DatabaseAwayError(f"parameter {name} of job {job_id} was changed by others again and again")

    def set_job_parameters(self, job_id: int, values: Mapping[str, Any], at_ns: int) -> None:
        """Set several."""
        for name, value in values.items():
            self.set_job_parameter(job_id, name, value, at_ns)

    def get_job_parameters(self, job_id: int, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Parameters of a job; all of them unless *names* says which."""
        return {name: value for name, (value, _) in self.with_times(job_id, names).items()}

    def with_times(self, job_id: int, names: Iterable[str] | None = None) -> dict[str, tuple[Any, int]]:
        """The same, each with the time when it was set."""
        conditions: list[dict[str, Any]] = [{"term": {"JobID": job_id}}]
        if names is not None:
            conditions.append({"terms": {"Name": list(names)}})
        body = {
            "query": {"bool": {"filter": conditions}},
            "size": MOST,
            "sort": [{"Name": "asc"}, {"timestamp": "asc"}],
        }
        with _asking():
            options = {"ignore_unavailable": "true"}
            found = self._when_ready(partial(self._client.search, body=body, index=f"{INDEX}-*", params=options))
            sources = [hit["_source"] for hit in found["hits"]["hits"]]
            return {each["Name"]: (json.loads(each["Value"]), int(each["timestamp"])) for each in sources}

    def forget(self, job_id: int) -> None:
        """Remove all parameters of a job that has been removed.

        Where the server is away they stay, and the log says so: the job cannot be removed a second time.
        """
        body = {"query": {"bool": {"filter": [{"term": {"JobID": job_id}}]}}}
        options = {"refresh": "true", "conflicts": "proceed", "ignore_unavailable": "true"}
        delete = partial(self._client.delete_by_query, index=f"{INDEX}-*", body=body, params=options)
        try:
            with _asking():
                self._when_ready(delete)
        except DatabaseAwayError as error:
            log.warning("the parameters of job %d, which has been removed, are still there: %s", job_id, error)

    def close(self) -> None:
        """Let go of all connections."""
        self._client.close()

    def _update(self, document: Mapping[str, Any]) -> bool:
        mine = [{"term": {name: document[name]}} for name in ("JobID", "Name")]
        values = {name: document[name] for name in ("Value", "timestamp")}
        body = {"query": {"bool": {"filter": mine}}, "script": {"lang": "painless", "source": SCRIPT, "params": values}}
        options = {"refresh": "true", "conflicts": "proceed", "ignore_unavailable": "true"}
        with _asking():
            update = partial(self._client.update_by_query, index=f"{INDEX}-*", body=body, params=options)
            done = self._when_ready(update)
            # A conflict: somebody has changed it while we did, which is as if they had done it just after us.
            return int(done["updated"]) + int(done.get("version_conflicts", 0)) > 0

    def _when_ready(self, call: Callable[[], Any]) -> Any:
        """What *call* gives, tried again while an index that somebody is making just now is not ready for it.

        The server's health is asked in between, which waits for the index. That is not enough by itself: it was seen
        to answer before a search found the index's shard.
        """
        from opensearchpy.exceptions import TransportError

        # With `request_timeout` beside it the library takes `timeout` for the server's, and not for its own.
        options: dict[str, Any] = {"wait_for_status": "yellow", "timeout": f"{TIMEOUT_SECONDS / 2:.0f}s"}
        options["request_timeout"] = TIMEOUT_SECONDS
        for pause_seconds in NOT_READY_PAUSES_SECONDS:
            try:
                return call()
            except TransportError as error:
                if error.status_code != NOT_READY:
                    raise
            self._client.cluster.health(index=f"{INDEX}-*", params=options)
            threading.Event().wait(pause_seconds)
        return call()

    def _create(self, document: Mapping[str, Any]) -> bool:
        """False if somebody else has created it since; the next update finds it then."""
        day = utc_text(document["timestamp"])[:10].replace("-", ".")
        name = hashlib.sha256(f"{document['JobID']}/{document['Name']}".encode()).hexdigest()
        from opensearchpy.exceptions import ConflictError

        with _asking():
            try:
                self._client.create(index=f"{INDEX}-{day}", id=name, body=dict(document), params={"refresh": "true"})
            except ConflictError:
                self._client.indices.refresh(index=f"{INDEX}-{day}")
                return False
        return True


class LaterJobParameters:
    """The same within a transaction: what is set is sent when it has been committed."""

    def __init__(self, store: OpenSearchJobParameters, later: list[Callable[[], None]]) -> None:
        self._store = store
        self._later = later

    def set_job_parameters(self, job_id: int, values: Mapping[str, Any], at_ns: int) -> None:
        """Set parameters, later; the last value of a name counts."""
        kept = dict(values)
        self._later.append(lambda: self._store.set_job_parameters(job_id, kept, at_ns))

    def get_job_parameters(self, job_id: int, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Parameters of a job, as they are before this transaction."""
        return self._store.get_job_parameters(job_id, names)

    def with_times(self, job_id: int, names: Iterable[str] | None = None) -> dict[str, tuple[Any, int]]:
        """The same, each with the time when it was set."""
        return self._store.with_times(job_id, names)


@contextmanager
def _asking() -> Iterator[None]:
    from opensearchpy.exceptions import OpenSearchException

    try:
        yield
    except OpenSearchException as error:
        status = getattr(error, "status_code", None)
        raise DatabaseAwayError(f"the server of the job parameters fails ({status or type(error).__name__})") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DatabaseAwayError("the server of the job parameters gives answers that are none") from error
