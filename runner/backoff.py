"""How long to wait before the next try. Pure, apart from the dice."""

import random

#: A server may ask for patience, but not for a day of it.
LONGEST_RETRY_AFTER_SECONDS = 600.0


class Backoff:
    """Doubling pauses with jitter: many clients of a WMS that comes back do not come back as one."""

    def __init__(
        self, first_seconds: float = 0.2, longest_seconds: float = 30.0, dice: random.Random | None = None
    ) -> None:
        self._first = first_seconds
        self._longest = longest_seconds
        self._dice = dice or random.Random()  # noqa: S311 - spreads load, hides nothing
        self.failures = 0

    def failed(self, retry_after_seconds: float | None = None) -> float:
        """One more failure; the seconds to wait now: a pause between half and all of the doubled
        one, and at least what the server asked for."""
        pause = min(self._longest, self._first * float(1 << min(self.failures, 30)))
        self.failures += 1
        pause *= self._dice.uniform(0.5, 1.0)
        return max(pause, min(retry_after_seconds or 0.0, LONGEST_RETRY_AFTER_SECONDS))

    def succeeded(self) -> None:
        """All is well again; the next failure begins with the shortest pause."""
        self.failures = 0
