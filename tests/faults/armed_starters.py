"""Preloaded by the zygote of an armed agent: a starter that was forked before its job was known is armed with it."""

from runner.process import keeper
from tests.faults.points import arm

_await_terms = keeper._await_terms


def _await_terms_armed(*arguments: object) -> keeper.Terms | None:
    terms = _await_terms(*arguments)  # type: ignore[arg-type]
    if terms is not None:
        arm(terms.control.parents[2])
    return terms


keeper._await_terms = _await_terms_armed  # type: ignore[assignment]
