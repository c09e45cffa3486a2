"""JobPolicy: who may do what, as one table of right, role and relation. What is not in it is forbidden.

The rows of DIRAC's own calls are those measured on DiracX; a job token has its owner's rights for
its own job only, and less where the wrapper needs none. `authorize` and `authorize_general` are
the only ways in for the services, and they hold the fence: a job token counts only as long as its
attempt is the current one, and its execution the one that reported Running.
"""

from collections.abc import Iterable
from enum import StrEnum

from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.errors import FencedAttemptError, ForbiddenError
from runner.server.tokens import Identity, JobClaims, Role


class Right(StrEnum):
    """What can be asked for."""

    SUBMIT = "submit"
    SEARCH = "search"
    READ_JOB = "read job"
    SET_STATUS = "set status"
    FORCE_STATUS = "force status"
    HEARTBEAT = "heartbeat"
    SET_METADATA = "set metadata"
    REPORT = "report"
    RESCHEDULE = "reschedule"
    UPLOAD_SANDBOX = "upload sandbox"
    DOWNLOAD_SANDBOX = "download sandbox"
    LIST_SANDBOXES = "list sandboxes"
    ASSIGN_SANDBOX = "assign sandbox"
    UNASSIGN_SANDBOX = "unassign sandbox"
    MATCH = "match"
    RENEW_TOKEN = "renew token"  # noqa: S105 - a right, not a password
    TAKE_COMMANDS = "take commands"
    ACKNOWLEDGE_COMMAND = "acknowledge command"
    INSERT_RECORD = "insert accounting record"
    READ_RECORDS = "read accounting records"
    READ_WITNESS = "read witness"
    LOOK_UP_FILES = "look up files"
    REGISTER_FILE = "register file"
    REMOVE_REPLICA = "remove replica"
    PUT_REQUEST = "put request"
    READ_REQUESTS = "read requests"
    RUN_REQUESTS = "run requests"
    SET_FILE_STATUS = "set file status"
    READ_FILE_STATUS = "read file status"
    MANAGE_PILOT = "manage pilot"
    SEARCH_PILOTS = "search pilots"
    LOG_PILOT = "log for pilot"
    READ_PILOT_LOG = "read pilot log"
    KILL_PILOT = "kill pilot"
    REGISTER_TARGET = "register metrics"
    READ_TARGETS = "read metrics targets"
    KILL = "kill"
    DELETE = "delete"
    REMOVE = "remove"
    RESET = "reset"
    READ_SITE_MASK = "read site mask"
    SET_SITE_MASK = "set site mask"
    READ_SESSIONS = "read sessions"
    REVOKE_SESSION = "revoke session"
    READ_CONFIGURATION = "read configuration"
    REVOKE_TOKEN = "revoke token"  # noqa: S105 - a right


class Relation(StrEnum):
    """What the object of a right is to the caller. `GENERAL`: the right has no object."""

    GENERAL = "general"
    OWN = "own"
    GROUP = "group"  # another's of the caller's group
    OTHER = "other"


_GENERAL = frozenset({Relation.GENERAL})
_OWN = frozenset({Relation.OWN})
_SHARED = frozenset({Relation.OWN, Relation.GROUP})
_ANY = frozenset({Relation.OWN, Relation.GROUP, Relation.OTHER})
_USER, _ADMIN, _PILOT, _JOB = Role.USER, Role.ADMIN, Role.PILOT, Role.JOB
_SHARING, _MONITOR, _SITES, _READER = Role.SHARING, Role.MONITOR, Role.SITES, Role.READER
#: What owners do with their jobs, members of their group who share, and administrators with all.
#: Whoever can log in, whatever else he may do; and pilots.
_PEOPLE = (_USER, _SHARING, _MONITOR, _SITES, _PILOT)
_OWNERS = {_USER: _OWN, _SHARING: _SHARED, _ADMIN: _ANY}

TABLE: dict[Right, dict[Role, frozenset[Relation]]] = {
    Right.SUBMIT: {_USER: _GENERAL},
    Right.SEARCH: {_USER: _GENERAL, _ADMIN: _GENERAL, _MONITOR: _GENERAL},
    Right.READ_JOB: {**_OWNERS, _MONITOR: _ANY, _JOB: _OWN, _READER: _OWN},
    Right.SET_STATUS: {**_OWNERS, _PILOT: _ANY, _JOB: _OWN},
    Right.FORCE_STATUS: {_ADMIN: _ANY},
    Right.HEARTBEAT: {**_OWNERS, _PILOT: _ANY, _JOB: _OWN},
    Right.SET_METADATA: {**_OWNERS, _PILOT: _ANY, _JOB: _OWN},
    Right.REPORT: {_JOB: _OWN},
    Right.RESCHEDULE: {**_OWNERS, _PILOT: _ANY, _JOB: _OWN},
    Right.UPLOAD_SANDBOX: {_USER: _GENERAL, _JOB: _GENERAL},
    Right.DOWNLOAD_SANDBOX: {_USER: _OWN, _ADMIN: _ANY, _JOB: _OWN},
    Right.LIST_SANDBOXES: {**_OWNERS, _JOB: _OWN},
    Right.ASSIGN_SANDBOX: {**_OWNERS, _PILOT: _ANY, _JOB: _OWN},
    Right.UNASSIGN_SANDBOX: {**_OWNERS, _PILOT: _ANY},
    Right.MATCH: {_PILOT: _GENERAL},
    Right.RENEW_TOKEN: {_JOB: _OWN},
    Right.TAKE_COMMANDS: {_PILOT: _GENERAL},
    Right.ACKNOWLEDGE_COMMAND: {_PILOT: _ANY, _JOB: _OWN},
    Right.INSERT_RECORD: {_PILOT: _ANY, _ADMIN: _ANY, _JOB: _OWN},
    Right.READ_RECORDS: {_USER: _OWN, _ADMIN: _ANY},
    Right.READ_WITNESS: {_USER: _OWN, _ADMIN: _ANY},
    Right.LOOK_UP_FILES: {_USER: _GENERAL, _ADMIN: _GENERAL, _JOB: _GENERAL},
    Right.REGISTER_FILE: {_USER: _GENERAL, _ADMIN: _GENERAL, _JOB: _GENERAL},
    Right.REMOVE_REPLICA: {_ADMIN: _GENERAL},
    Right.PUT_REQUEST: {_JOB: _OWN},
    Right.READ_REQUESTS: {_USER: _OWN, _ADMIN: _ANY},
    Right.RUN_REQUESTS: {_ADMIN: _GENERAL},
    Right.SET_FILE_STATUS: {_ADMIN: _ANY},
    Right.READ_FILE_STATUS: {_USER: _OWN, _ADMIN: _ANY},
    Right.MANAGE_PILOT: {_PILOT: _GENERAL},
    Right.SEARCH_PILOTS: {_USER: _GENERAL, _ADMIN: _GENERAL, _MONITOR: _GENERAL},
    Right.LOG_PILOT: {_PILOT: _GENERAL},
    Right.READ_PILOT_LOG: {_USER: _GENERAL, _ADMIN: _GENERAL, _MONITOR: _GENERAL},
    Right.KILL_PILOT: {_ADMIN: _GENERAL},
    Right.REGISTER_TARGET: {_PILOT: _GENERAL},
    Right.READ_TARGETS: {_ADMIN: _GENERAL, _MONITOR: _GENERAL},
    Right.KILL: _OWNERS,
    Right.DELETE: _OWNERS,
    Right.REMOVE: _OWNERS,
    Right.RESET: _OWNERS,
    Right.READ_SITE_MASK: {_USER: _GENERAL, _ADMIN: _GENERAL, _MONITOR: _GENERAL, _SITES: _GENERAL},
    Right.SET_SITE_MASK: {_ADMIN: _GENERAL, _SITES: _GENERAL},
    Right.READ_SESSIONS: {**dict.fromkeys(_PEOPLE, _OWN), _ADMIN: _ANY},
    Right.REVOKE_SESSION: {**dict.fromkeys(_PEOPLE, _OWN), _ADMIN: _ANY},
    Right.REVOKE_TOKEN: {_ADMIN: _GENERAL},
    Right.READ_CONFIGURATION: dict.fromkeys((*_PEOPLE, _ADMIN), _GENERAL),
}


def is_allowed(roles: Iterable[Role], right: Right, relation: Relation) -> bool:
    """Whether one of *roles* has that right on an object of that relation."""
    return any(relation in TABLE.get(right, {}).get(role, ()) for role in roles)


def require(identity: Identity, right: Right, relation: Relation) -> None:
    """Go on only if the table allows it.

    Raises:
        ForbiddenError: it does not.
    """
    if not is_allowed(identity.roles, right, relation):
        raise ForbiddenError("Forbidden")


def authorize(
    transaction: Transaction,
    identity: Identity,
    right: Right,
    job_ids: Iterable[int],
    *,
    fenced: bool = True,
    state_only: bool = False,
) -> dict[int, Row]:
    """Those of *job_ids* that exist, if the caller has the *right* on every one of them.

    *fenced* is False only where an attempt that was replaced may still speak: its accounting.
    *state_only*: of each job only what decides about its status.

    Raises:
        ForbiddenError: not on every one (a job that does not exist is somebody else's).
        FencedAttemptError: the attempt behind the job token is over, or another execution runs it.
    """
    rows = transaction.jobs.get_many(job_ids, state_only=state_only)
    for job_id in job_ids:
        require(identity, right, _relation(identity, job_id, rows.get(job_id)))
    if fenced and identity.job is not None:
        _check_fence(transaction, identity.job, rows.get(identity.job.job_id))
    return rows


def authorize_each(
    transaction: Transaction, identity: Identity, right: Right, job_ids: Iterable[int]
) -> tuple[dict[int, Row], dict[int, str]]:
    """Those of *job_ids* on which the caller has the *right*, and for each of the others why not.

    Raises:
        ForbiddenError: on none of them.
    """
    wanted = list(dict.fromkeys(job_ids))
    rows = transaction.jobs.get_many(wanted)
    refused = {}
    for job_id in wanted:
        if not is_allowed(identity.roles, right, _relation(identity, job_id, rows.get(job_id))):
            refused[job_id] = "Forbidden"
        elif job_id not in rows:
            refused[job_id] = "Not found"
    if wanted and list(refused.values()).count("Forbidden") == len(wanted):
        raise ForbiddenError("Forbidden")
    return {job_id: row for job_id, row in rows.items() if job_id not in refused}, refused


def authorize_general(transaction: Transaction, identity: Identity, right: Right) -> None:
    """Go on only if the caller has the *right*, which has no object.

    Raises:
        ForbiddenError: the table does not allow it.
        FencedAttemptError: as for `authorize`.
    """
    require(identity, right, Relation.GENERAL)
    if identity.job is not None:
        _check_fence(transaction, identity.job)


def allowed_on(identity: Identity, rights: Iterable[Right], row: Row) -> list[Right]:
    """Those of *rights* that the caller has on the job of *row*; for showing what can be asked for."""
    relation = _relation(identity, int(row["JobID"]), row)
    return [right for right in rights if is_allowed(identity.roles, right, relation)]


def visible_owner(identity: Identity, right: Right) -> tuple[str, str] | None:
    """Whose objects the caller sees: None for everybody's, else only those of this (owner, VO).

    Raises:
        ForbiddenError: not even the own.
    """
    if is_allowed(identity.roles, right, Relation.OTHER):
        return None
    require(identity, right, Relation.OWN)
    return identity.owner


def _relation(identity: Identity, job_id: int, row: Row | None) -> Relation:
    if identity.job is not None:
        return Relation.OWN if identity.job.job_id == job_id else Relation.OTHER
    if row is None or row["VO"] != identity.vo:
        return Relation.OTHER
    if row["Owner"] == identity.name:
        return Relation.OWN
    return Relation.GROUP if row["OwnerGroup"] == identity.group else Relation.OTHER


def _check_fence(transaction: Transaction, claims: JobClaims, row: Row | None = None) -> None:
    """*row* is that of the job, if it was read already."""
    row = row or transaction.jobs.get(claims.job_id, state_only=True)
    current = row["RescheduleCounter"] + 1 if row is not None else 0
    name = f"attempt {claims.attempt} of job {claims.job_id}"
    if claims.attempt != current:
        raise FencedAttemptError(f"fenced: {name} has been replaced by attempt {current}")
    attempt = transaction.attempts.get(claims.job_id, claims.attempt, state_only=True)
    if attempt is None:
        raise FencedAttemptError(f"fenced: {name} was never handed out")
    if attempt["RunningClaim"] not in (None, claims.claim):
        raise FencedAttemptError(f"fenced: another execution of {name} reported Running first")
