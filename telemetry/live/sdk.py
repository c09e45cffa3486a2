"""The one place that imports private modules of the OpenTelemetry SDK.

Logs are still "development" in Python: the record types and the log encoder live in modules with
an underscore. `tests/unit/test_live_sdk.py` fails when one of them moves or changes its shape.
"""

from functools import cached_property

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource as _Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

__all__ = [
    "Event",
    "InstrumentationScope",
    "LogRecord",
    "ReadableLogRecord",
    "ReadableSpan",
    "Resource",
    "SeverityNumber",
    "encode_logs",
    "encode_spans",
]


class Resource(_Resource):
    """The SDK's, which the encoder asks for its hash with every span, and which writes JSON for it each time."""

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return super().__hash__()
