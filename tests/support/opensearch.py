"""A stand-in for an OpenSearch server that records the conversation, and fails when a test wants it to.

It answers the calls of `runner.server.db.opensearch_job_parameters`, and no others, with bodies of the form that
OpenSearch's reference documents (index template, _create, _update_by_query, _delete_by_query, _search). It knows no
mappings, runs no scripts and refreshes nothing: what depends on those is tested on a real server
(`tests.support.stores`).
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class OpenSearchStandIn:
    """What was said, and what is stored."""

    url: str = ""
    #: Method, path without options, options, body.
    said: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    documents: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    #: Answered instead of anything else, when it is set.
    failure: int = 0
    #: So many of the next updates find an index that is only being made.
    not_ready: int = 0

    def answer(self, method: str, path: str, options: dict[str, str], body: Any) -> tuple[int, Any]:
        """Code and body of an answer."""
        self.said.append((method, path, options, body))
        if status := self._trouble(path):
            return status, {"error": {"type": "failure", "reason": "as the test wants it"}, "status": status}
        index, _, action = path.strip("/").partition("/")
        if (method, index) == ("PUT", "_index_template"):
            return 200, {"acknowledged": True}
        if method == "PUT" and action.startswith("_create/"):
            return self._create(index, action.partition("/")[2], body)
        if (method, index) == ("GET", "_cluster"):
            return 200, {"status": "yellow", "timed_out": False}
        posts = {
            "_refresh": lambda *_: (200, {"_shards": {"total": 1, "successful": 1, "failed": 0}}),
            "_update_by_query": self._update,
            "_delete_by_query": self._delete,
            "_search": self._search,
        }
        if method == "POST" and action in posts:
            return posts[action](index, body)
        return 400, {"error": {"type": "unknown", "reason": f"the stand-in knows no {method} {path}"}, "status": 400}

    def _search(self, index: str, body: Any) -> tuple[int, Any]:
        hits = [{"_index": key[0], "_id": key[1], "_source": each} for key, each in self._found(index, body)]
        hits.sort(key=lambda hit: (hit["_source"]["Name"], hit["_source"]["timestamp"]))
        total = {"value": len(hits), "relation": "eq"}
        return 200, {"took": 1, "timed_out": False, "hits": {"total": total, "hits": hits[: body["size"]]}}

    def _trouble(self, path: str) -> int:
        if self.not_ready and path.endswith("/_update_by_query"):
            self.not_ready -= 1
            return 503
        return self.failure

    def _create(self, index: str, name: str, body: Any) -> tuple[int, Any]:
        if (index, name) in self.documents:
            reason = f"[{name}]: version conflict, document already exists"
            return 409, {"error": {"type": "version_conflict_engine_exception", "reason": reason}, "status": 409}
        self.documents[index, name] = body
        return 201, {"_index": index, "_id": name, "_version": 1, "result": "created"}

    def _update(self, index: str, body: Any) -> tuple[int, Any]:
        found = self._found(index, body)
        for _, document in found:
            document |= {name: body["script"]["params"][name] for name in ("Value", "timestamp")}
        return 200, {"took": 1, "timed_out": False, "total": len(found), "updated": len(found), "failures": []}

    def _delete(self, index: str, body: Any) -> tuple[int, Any]:
        found = self._found(index, body)
        for key, _ in found:
            del self.documents[key]
        return 200, {"took": 1, "timed_out": False, "total": len(found), "deleted": len(found), "failures": []}

    def _found(self, pattern: str, body: Any) -> list[tuple[tuple[str, str], dict[str, Any]]]:
        wanted: dict[str, list[Any]] = {}
        for condition in body["query"]["bool"]["filter"]:
            ((kind, test),) = condition.items()
            ((name, value),) = test.items()
            wanted[name] = value if kind == "terms" else [value]
        return [
            (key, document)
            for key, document in self.documents.items()
            if fnmatch(key[0], pattern) and all(document[name] in values for name, values in wanted.items())
        ]


@contextmanager
def opensearch_stand_in() -> Iterator[OpenSearchStandIn]:
    """A stand-in that listens on loopback."""
    state, mutex = OpenSearchStandIn(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = urlsplit(self.path)
            with mutex:
                body = json.loads(text) if text else None
                code, answer = state.answer(self.command, parts.path, dict(parse_qsl(parts.query)), body)
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = _answer

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
