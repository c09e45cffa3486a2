"""Which jobs fit which slots."""

import pytest

from runner.job.description import from_mapping
from runner.job.matching import Requirements, SlotOffer

OFFER = SlotOffer(
    site="A.org", computing_element="ce1", platform="x86_64", tags=frozenset({"GPU", "SSD"}), processors=2
)


@pytest.mark.parametrize(
    "demands",
    [
        {},
        {"Site": "A.org"},
        {"Site": ["B.org", "A.org"]},
        {"Site": "ANY"},
        {"BannedSites": "B.org"},
        {"Platform": "x86_64"},
        {"Platform": "ANY"},
        {"Tags": ["GPU"]},
        {"NumberOfProcessors": 2},
        {"GridCE": "ce1"},
        {"GridCE": ["ce2", ["ce1"]]},  # a list of one is what it holds
    ],
)
def test_a_job_whose_demands_are_met_fits(demands: dict[str, object]) -> None:
    """Nothing is unmet when site, platform, tags and processors are there."""
    assert Requirements.of(from_mapping({"Executable": "a", **demands})).unmet(OFFER) == []


@pytest.mark.parametrize(
    ("demands", "words"),
    [
        ({"Site": "B.org"}, "asks for site B.org, this is A.org"),
        ({"BannedSites": ["A.org"]}, "bans site A.org"),
        ({"Platform": "arm64"}, "platform arm64"),
        ({"Tags": ["GPU", "FPGA", "TPU"]}, "not offered: FPGA, TPU"),
        ({"NumberOfProcessors": 3}, "3 processors, 2 are free"),
        ({"GridCE": "ce2"}, "asks for ce2"),
    ],
)
def test_each_unmet_demand_is_said(demands: dict[str, object], words: str) -> None:
    """Each demand that a slot cannot meet is one sentence."""
    (reason,) = Requirements.of(from_mapping({"Executable": "a", **demands})).unmet(OFFER)
    assert words in reason


def test_all_reasons_are_given_at_once() -> None:
    """A job that fails on several counts hears of all of them."""
    description = from_mapping({"Executable": "a", "Site": "B.org", "Tags": "X", "NumberOfProcessors": 9})
    assert len(Requirements.of(description).unmet(OFFER)) == 3
