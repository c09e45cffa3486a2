"""A stand-in for OpenSearch, of which no server is to be had here: in memory, and only what DiracX 0.7 sends.

Pings, index templates, `_bulk` and `_update` of documents are kept; a search gives every document of the index
back, whatever was asked. It answers `{"error": ...}` with HTTP 400 to all else, so that nothing passes unnoticed.
Run as a program it prints its address, and serves until it is ended.
"""

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "stand-in for OpenSearch (jobspan tests)"
_UPDATE = re.compile(r"/([^/]+)/_update/([^/]+)")


class StandIn(ThreadingHTTPServer):
    """Documents by index and id."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def merge(self, index: str, identifier: str, document: dict[str, Any]) -> None:
        """What an update with `doc_as_upsert` does."""
        self.documents.setdefault((index, identifier), {}).update(document)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _answer(self, body: dict[str, Any], code: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        update = _UPDATE.fullmatch(path)
        if path == "/":
            self._answer({"name": NAME, "version": {"number": "2.11.0", "distribution": "opensearch"}})
        elif path.startswith("/_index_template/"):
            self._answer({"acknowledged": True})
        elif path.endswith("/_bulk"):
            self._answer({"took": 1, "errors": False, "items": list(self._bulk(content))})
        elif update:
            self.server.merge(update[1], update[2], json.loads(content)["doc"])
            self._answer({"_index": update[1], "_id": update[2], "result": "updated"})
        elif path.endswith("/_search"):
            found = [{"_index": index, "_id": name, "_source": doc} for (index, name), doc in self._all()]
            self._answer({"hits": {"total": {"value": len(found)}, "hits": found}})
        else:
            self._answer({"error": f"{NAME}: {self.command} {path} is not known here", "status": 400}, 400)

    do_HEAD = do_POST = do_PUT = do_GET

    def _all(self) -> list[tuple[tuple[str, str], dict[str, Any]]]:
        return list(self.server.documents.items())

    def _bulk(self, content: bytes) -> Iterator[dict[str, Any]]:
        lines = iter([json.loads(line) for line in content.splitlines() if line.strip()])
        for action in lines:
            ((operation, where),) = action.items()
            index, identifier = str(where.get("_index")), str(where.get("_id"))
            source = next(lines)
            self.server.merge(index, identifier, source.get("doc", source))
            yield {operation: {"_index": index, "_id": identifier, "status": 200, "result": "updated"}}


if __name__ == "__main__":
    stand_in = StandIn()
    print(stand_in.url, flush=True)
    stand_in.serve_forever()
