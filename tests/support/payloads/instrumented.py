"""instrumented [FIFO]: shows its environment, then sends spans and a log record by the SDK, configured by nothing else.

One span continues TRACEPARENT, one knows nothing of it. With a FIFO the second one is sent when somebody writes there.
"""

import logging
import os
import sys
from pathlib import Path

from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

for name, value in sorted(os.environ.items()):
    print(f"{name}={value}", flush=True)

spans = TracerProvider()
spans.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
tracer = spans.get_tracer("analysis")
parent = TraceContextTextMapPropagator().extract({"traceparent": os.environ["TRACEPARENT"]})
with tracer.start_as_current_span("continued", context=parent), tracer.start_as_current_span("below"):
    pass
if sys.argv[1:]:
    print(Path(sys.argv[1]).read_text())
with tracer.start_as_current_span("apart"):
    pass
spans.shutdown()

logs = LoggerProvider()
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
set_logger_provider(logs)
logs.get_logger("analysis").emit(body="converged", severity_text=logging.getLevelName(logging.INFO))
logs.shutdown()
