"""Whether a job fits a slot. Pure; the rules are those of DIRAC's matcher (site, platform, tags, processors)."""

from dataclasses import dataclass

from runner.job.description import JobDescription

#: Values of `Site` that DIRAC's clients write for "anywhere".
ANYWHERE = frozenset({"", "ANY", "Any", "Multiple"})


@dataclass(frozen=True, kw_only=True)
class SlotOffer:
    """What an agent has to offer for one job."""

    site: str
    computing_element: str = ""
    queue: str = ""
    platform: str = ""
    tags: frozenset[str] = frozenset()
    processors: int = 1


def unmet(description: JobDescription, offer: SlotOffer) -> list[str]:
    """The demands of the job that *offer* does not meet, each as a sentence; empty when the job may run there."""
    reasons = []
    sites = set(description.sites) - ANYWHERE
    if sites and offer.site not in sites:
        reasons.append(f"the job asks for site {' or '.join(sorted(sites))}, this is {offer.site}")
    if offer.site in description.banned_sites:
        reasons.append(f"the job bans site {offer.site}")
    elements = description.extra.get("GridCE", ())
    elements = {elements} if isinstance(elements, str) else set(elements)
    if elements - ANYWHERE and offer.computing_element not in elements:
        reasons.append(f"the job asks for {' or '.join(sorted(elements))}, this is {offer.computing_element}")
    if description.platform not in ("", "ANY", "Any", offer.platform):
        reasons.append(f"the job asks for platform {description.platform}, this is {offer.platform or 'unspecified'}")
    missing = set(description.tags) - offer.tags
    if missing:
        reasons.append(f"the job asks for tags that are not offered: {', '.join(sorted(missing))}")
    if description.number_of_processors > offer.processors:
        reasons.append(f"the job asks for {description.number_of_processors} processors, {offer.processors} are free")
    return reasons
