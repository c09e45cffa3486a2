"""Passwords as salted scrypt hashes, and one-time codes that people can type."""

import hashlib
import hmac
import secrets
import threading
from base64 import b64decode, b64encode

#: OWASP's equal of 2^17, 8, 1 with less memory: 32 MiB and about a quarter of a second.
COST, BLOCK, PARALLEL = 1 << 15, 8, 3
MAX_MEMORY_BYTES = 1 << 27
#: Longer ones are refused before they are hashed.
MOST_PASSWORD_CHARACTERS = 256
#: Without vowels and what looks alike (RFC 8628, section 6.1).
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
CODE_GROUP = 4
#: So many hashes are computed at once: they cost memory, and anybody may ask for one.
_turns = threading.BoundedSemaphore(2)


def hash_password(password: str) -> str:
    """*password*, salted and hashed, as the registry keeps it."""
    salt = secrets.token_bytes(16)
    return f"scrypt${COST}${BLOCK}${PARALLEL}${b64encode(salt).decode()}${b64encode(_scrypt(password, salt)).decode()}"


def is_password(password: str, kept: str | None) -> bool:
    """Whether *password* is the one behind *kept*. Without one it takes as long, and is False."""
    if len(password) > MOST_PASSWORD_CHARACTERS:
        return False
    name, cost, block, parallel, salt, digest = (kept or _NOBODY).split("$")
    if name != "scrypt":
        return False
    found = _scrypt(password, b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(found, b64decode(digest)) and kept is not None


def new_code(groups: int) -> str:
    """A random code for people: *groups* of four letters."""
    letters = [secrets.choice(LETTERS) for _ in range(groups * CODE_GROUP)]
    return "-".join("".join(letters[start : start + CODE_GROUP]) for start in range(0, len(letters), CODE_GROUP))


def plain_code(text: str) -> str:
    """A code as it was made, however somebody has typed it; "" if it cannot be one."""
    letters = [each for each in text.upper() if each.isalnum()]
    if not letters or len(letters) > 16 * CODE_GROUP or not set(letters) <= set(LETTERS):
        return ""
    return "-".join("".join(letters[start : start + CODE_GROUP]) for start in range(0, len(letters), CODE_GROUP))


def digest_of(secret: str) -> str:
    """What is kept of a random secret: enough to know it again, not enough to show it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _scrypt(password: str, salt: bytes, cost: int = COST, block: int = BLOCK, parallel: int = PARALLEL) -> bytes:
    with _turns:
        return hashlib.scrypt(
            password.encode(errors="surrogatepass"), salt=salt, n=cost, r=block, p=parallel, maxmem=MAX_MEMORY_BYTES
        )


#: Compared with when there is no such user, so that nobody learns from the time that it takes.
_NOBODY = f"scrypt${COST}${BLOCK}${PARALLEL}${b64encode(bytes(16)).decode()}${b64encode(bytes(64)).decode()}"
