"""The catalogue: the names of the design, each exactly once."""

import re

import pytest

from telemetry import catalogue
from telemetry.facts import STAGES
from telemetry.ledger.schema import FIELDS


@pytest.mark.parametrize(
    ("field", "attribute"),
    [
        ("UID", "uid"),
        ("WMSID", "wms_id"),
        ("JobID", "job_id"),
        ("CPUTime", "cpu_time"),
        ("NormCPUTime", "norm_cpu_time"),
        ("InputSandBoxSize", "input_sand_box_size"),
        ("PeakRSS", "peak_rss"),
        ("StageWallClockTime.execute", "stage_wall_clock_time.execute"),
    ],
)
def test_accounting_attributes_are_the_snake_case_of_fields(field: str, attribute: str) -> None:
    """An accounting attribute is the prefix and the field's snake_case."""
    assert catalogue.accounting_attribute(field) == f"jobspan.accounting.{attribute}"


def test_every_field_survives_its_attribute() -> None:
    """No two fields share an attribute, and each attribute leads back to its field."""
    attributes = {catalogue.accounting_attribute(field) for field in catalogue.RECORD_FIELDS}
    assert len(attributes) == len(catalogue.RECORD_FIELDS)
    assert all(
        catalogue.record_field(catalogue.accounting_attribute(field)) == field for field in catalogue.RECORD_FIELDS
    )


def test_an_unknown_field_of_a_newer_version_is_kept() -> None:
    """A field that this version does not know keeps the rest of its attribute as its name."""
    assert catalogue.record_field("jobspan.accounting.carbon_grams") == "carbon_grams"


def test_the_catalogue_knows_the_fields_of_the_ledger() -> None:
    """The accounting event can carry every field that the ledger writes."""
    assert set(FIELDS) <= set(catalogue.RECORD_FIELDS)


def test_the_metrics_of_the_design_are_there_with_their_labels() -> None:
    """Counters, histogram and gauges have the names and labels that dashboards and sites rely on."""
    names = {name: metric.labels for name, metric in catalogue.METRICS.items()}
    assert names["jobspan_payload_cpu_seconds_total"] == ("mode",)
    assert names["jobspan_wall_seconds_total"] == ("stage",)
    assert names["jobspan_wall_core_seconds_total"] == ()
    for name in ("peek_lines", "peek_lines_dropped", "output_bytes"):
        assert names[f"jobspan_{name}_total"] == ("stream",)
    assert names["jobspan_jobs_finished_total"] == ("status", "error_type")
    assert names["jobspan_stage_duration_seconds"] == ("stage", "result")
    for name in ("wall_seconds", "cpu_seconds", "memory_bytes", "peek_lines", "last_output_timestamp_seconds"):
        assert names[f"jobspan_job_{name}"] == ("job_id",)


@pytest.mark.parametrize(
    "metric", {**catalogue.METRICS, **catalogue.WMS_METRICS}.values(), ids=lambda metric: metric.name
)
def test_metrics_follow_the_rules_of_prometheus(metric: catalogue.Metric) -> None:
    """A counter ends in _total, everything has help, buckets rise, and job_id stands on gauges only."""
    assert re.fullmatch(r"jobspan_[a-z_]+[a-z]", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.help
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert "job_id" not in metric.labels or metric.kind == "gauge"


def test_every_stage_has_its_span() -> None:
    """Root, six stages and the three spans of the WMS stand in the catalogue."""
    assert set(catalogue.SPANS) == {
        "jobspan.job",
        "submit",
        "queue",
        "match",
        *(f"jobspan.stage.{stage}" for stage in STAGES),
    }


def test_every_attribute_has_a_meaning() -> None:
    """Whatever constant of the module names an attribute stands in ATTRIBUTES with its meaning."""
    named = {value for name, value in vars(catalogue).items() if name.isupper() and isinstance(value, str)}
    attributes = {value for value in named if re.match(r"(jobspan|process|service|host|log|error|http)\.", value)}
    spans_and_events = set(catalogue.SPANS) | set(catalogue.EVENTS) | {catalogue.ACCOUNTING_PREFIX}
    assert attributes - spans_and_events == set(catalogue.ATTRIBUTES)
    assert all(catalogue.ATTRIBUTES.values())
