"""JobPolicy: the table, row by row against what was measured on DiracX."""

import pytest

from runner.server.services.job_policy import TABLE, Relation, Right, is_allowed
from runner.server.tokens import Role

USER, ADMIN, PILOT, JOB = Role.USER, Role.ADMIN, Role.PILOT, Role.JOB
GENERAL, OWN, OTHER = Relation.GENERAL, Relation.OWN, Relation.OTHER
#: Columns of the measured matrix: pilot, owner, another user, administrator.
MEASURED = {
    Right.SUBMIT: "no yes yes no",
    Right.SEARCH: "no yes yes yes",
    Right.SET_STATUS: "yes yes no yes",
    Right.FORCE_STATUS: "no no no yes",
    Right.HEARTBEAT: "yes yes no yes",
    Right.SET_METADATA: "yes yes no yes",
    Right.RESCHEDULE: "yes yes no yes",
    Right.UPLOAD_SANDBOX: "no yes yes no",
    Right.DOWNLOAD_SANDBOX: "no yes no yes",
    Right.ASSIGN_SANDBOX: "yes yes no yes",
    Right.LIST_SANDBOXES: "no yes no yes",
    Right.UNASSIGN_SANDBOX: "yes yes no yes",
    Right.MANAGE_PILOT: "yes no no no",
    Right.SEARCH_PILOTS: "no yes yes yes",
}


@pytest.mark.parametrize("right", MEASURED)
def test_rights_are_those_of_diracx(right: Right) -> None:
    """Pilot, owner, another user and administrator have the rights that they have on DiracX."""
    relations = {relation for allowed in TABLE[right].values() for relation in allowed}
    own, other = (GENERAL, GENERAL) if GENERAL in relations else (OWN, OTHER)
    cases = ((PILOT, other), (USER, own), (USER, other), (ADMIN, other))
    found = ["yes" if is_allowed([role], right, relation) else "no" for role, relation in cases]
    assert found == MEASURED[right].split()


@pytest.mark.parametrize("right", Right)
def test_nobody_is_allowed_nothing(right: Right) -> None:
    """A token without any known property has no right at all."""
    assert not any(is_allowed([], right, relation) for relation in Relation)


@pytest.mark.parametrize("right", Right)
def test_a_job_token_reaches_its_own_job_only(right: Right) -> None:
    """No right of a job token extends to another job."""
    assert not is_allowed([JOB], right, OTHER)


def test_every_right_has_its_row() -> None:
    """The table names every right, and each is somebody's."""
    assert set(TABLE) == set(Right)
    assert all(TABLE.values())


@pytest.mark.parametrize("right", [Right.SUBMIT, Right.SEARCH, Right.MATCH, Right.TAKE_COMMANDS, Right.MANAGE_PILOT])
def test_a_job_token_is_not_its_owner(right: Right) -> None:
    """What a wrapper does not need, its token cannot do, although its owner or pilot could."""
    assert not any(is_allowed([JOB], right, relation) for relation in Relation)
