"""A function's only clock are the ticks it is told; this counts with them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Timer:
    """Runs for a duration that begins with the first tick after `start`.

    `at` is a `wake_at`: None while it stands still, 0 until a tick has told the time.
    """

    at: int | None = None

    def start(self) -> None:
        self.at = 0

    def stop(self) -> None:
        self.at = None

    def every(self, now_ns: int, duration_ns: int) -> bool:
        """At each tick: whether `duration_ns` have passed; then it begins anew."""
        if self.at is None:
            return False
        over = 0 < self.at <= now_ns
        if over or self.at == 0:
            self.at = now_ns + duration_ns
        return over

    def over(self, now_ns: int, duration_ns: int) -> bool:
        """As `every`, but then it stands still."""
        over = self.every(now_ns, duration_ns)
        if over:
            self.stop()
        return over
