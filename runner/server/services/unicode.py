"""Text that can leave this server again. JSON allows half a surrogate pair in a string, UTF-8 does not."""

import json
from typing import Any


def is_sendable(value: Any) -> bool:
    """Whether an answer could carry *value* (any JSON)."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):  # UnicodeEncodeError is a ValueError
        return False
    return True


def sendable(text: str) -> str:
    """*text* with a question mark for whatever no answer could carry."""
    return text.encode("utf-8", "replace").decode()
