"""The SDK's private modules: this fails first when one of them moves."""

import dataclasses
import inspect

from telemetry.live import sdk


def test_span_takes_explicit_ids_and_times() -> None:
    """ReadableSpan is built from context, parent, start and end, without a tracer."""
    parameters = inspect.signature(sdk.ReadableSpan.__init__).parameters
    wanted = {"name", "context", "parent", "resource", "attributes", "events", "links", "kind", "status"}
    assert wanted | {"start_time", "end_time", "instrumentation_scope"} <= set(parameters)


def test_log_record_takes_context_and_event_name() -> None:
    """LogRecord is built from a context and an event name, without a logger."""
    parameters = inspect.signature(sdk.LogRecord.__init__).parameters
    wanted = {"timestamp", "observed_timestamp", "context", "severity_number", "body", "attributes", "event_name"}
    assert wanted <= set(parameters)


def test_readable_log_record_holds_record_resource_and_scope() -> None:
    """ReadableLogRecord takes record, resource and scope, in this order."""
    names = [each.name for each in dataclasses.fields(sdk.ReadableLogRecord)]
    assert names[:3] == ["log_record", "resource", "instrumentation_scope"]


def test_encoders_take_a_sequence() -> None:
    """The two encoders give an empty request for nothing."""
    assert sdk.encode_spans([]).SerializeToString() == b""
    assert sdk.encode_logs([]).SerializeToString() == b""


def test_modules_are_where_we_import_them() -> None:
    """The private modules still have the addresses that are written in telemetry.live.sdk."""
    assert sdk.LogRecord.__module__.startswith("opentelemetry._logs")
    assert sdk.ReadableLogRecord.__module__.startswith("opentelemetry.sdk._logs")
    assert sdk.encode_logs.__module__.startswith("opentelemetry.exporter.otlp.proto.common._internal")
