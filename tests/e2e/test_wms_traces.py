"""One trace runs from the match over the wrapper's calls to the payload, and the submission is linked to it."""

from pathlib import Path

from runner.compose.wms_telemetry import SPAN_FILE
from telemetry import catalogue as names
from telemetry import identity
from telemetry.live.otlp import SpanValue
from telemetry.live.otlp_files import TRACES, read_spans
from tests.support.site import DEADLINE_SECONDS, Site, running_site
from tests.support.waiting import eventually

MATCH, RECORD = "POST /api/jobspan/match", "POST /api/jobspan/accounting"
REPORT = "POST /api/jobspan/jobs/{job_id}/report"
#: They come one by one: what the WMS writes every second is what has been answered by then.
CALLS = {MATCH, REPORT, RECORD}


def of_trace(site: Site, file: str, trace_id: str) -> list[SpanValue]:
    return [span for span in read_spans(site.config.telemetry_folder / file).spans if span.trace_id == trace_id]


def test_the_calls_of_an_attempt_belong_to_its_trace(tmp_path: Path) -> None:
    """The WMS's spans of match, reports and record stand in the attempt's trace, below spans that the attempt has."""
    with running_site(tmp_path / "site") as site:
        job_id = site.submit(Executable="/bin/true")
        record = site.wait_record(job_id)
        trace_id, uid = record.text("TraceID"), record.text("UID")
        eventually(lambda: of_trace(site, TRACES, trace_id), DEADLINE_SECONDS, "the trace of the attempt")

        def calls() -> dict[str, SpanValue]:
            found = {span.name: span for span in of_trace(site, SPAN_FILE, trace_id)}
            return found if found.keys() >= CALLS else {}

        seen = eventually(calls, DEADLINE_SECONDS, "the WMS's spans of the attempt")
        own = {span.span_id: span.name for span in of_trace(site, TRACES, trace_id)}
        assert own[seen[MATCH].parent_span_id] == names.MATCH_SPAN
        assert own[seen[REPORT].parent_span_id] == names.ROOT_SPAN
        assert own[seen[RECORD].parent_span_id] == names.ROOT_SPAN
        assert own[identity.span_id(uid, names.PAYLOAD_PATH)]
