"""What a run may spend on a language model: calls, tokens, money and seconds.

A call is charged at its worst case before it is sent, so that no order of calls, also not of calls
at the same time, can pass a cap; what it really took replaces that when the server tells it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from embodied.errors import UserError


class BudgetError(UserError):
    """The next call could pass a cap, so it was not sent."""


@dataclass(frozen=True)
class Caps:
    """The bounds of a budget and the prices that its money is counted with; None is no bound."""

    max_calls: int | None = None  # requests, retries included
    max_total_tokens: int | None = None  # prompts and completions together
    max_cost: float | None = None  # in the currency of the prices; needs both prices
    max_seconds: float | None = None  # of wall time, from the making of the budget
    input_price: float | None = None  # per million prompt tokens; None means unknown
    output_price: float | None = None  # per million completion tokens; None means unknown

    def __post_init__(self) -> None:
        counts = (self.max_calls, self.max_total_tokens)
        amounts = (self.max_cost, self.max_seconds, self.input_price, self.output_price)
        if any(value is not None and value < 1 for value in counts) or any(
            value is not None and not 0 <= value < math.inf for value in amounts
        ):
            raise UserError("caps and prices must be numbers from 0, and the call cap at least 1")
        if self.max_cost is not None and not self.priced:
            raise UserError(
                "a spend cap needs prices: set provider.input_price and provider.output_price "
                "(per million tokens), or leave out provider.max_cost and rely on "
                "provider.max_calls"
            )

    @property
    def priced(self) -> bool:
        """Whether both prices are known; otherwise money is not counted."""
        return self.input_price is not None and self.output_price is not None

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return what so many tokens cost; 0 where the prices are unknown."""
        if self.input_price is None or self.output_price is None:
            return 0.0
        return (
            prompt_tokens * self.input_price + completion_tokens * self.output_price
        ) / 1_000_000


@dataclass(frozen=True)
class Remaining:
    """What is left under each cap, with the calls in flight at their worst; None without a cap."""

    calls: int | None
    tokens: int | None
    cost: float | None
    seconds: float | None


class Charge:
    """What one call is charged: its worst case, until it is settled or released."""

    def __init__(self, caps: Caps, prompt_tokens: int, completion_tokens: int) -> None:
        self._caps = caps
        self.tokens = prompt_tokens + completion_tokens
        self.cost = caps.price(prompt_tokens, completion_tokens)

    def settle(self, usage: Mapping[str, int]) -> None:
        """Replace the worst case by ``prompt_tokens`` and ``completion_tokens``, where told."""
        if "prompt_tokens" in usage and "completion_tokens" in usage:
            counts = usage["prompt_tokens"], usage["completion_tokens"]
            self.tokens, self.cost = sum(counts), self._caps.price(*counts)

    def release(self) -> None:
        """Take the charge back: the server refused to do the work."""
        self.tokens, self.cost = 0, 0.0


class Budget:
    """Counts what calls take and refuses one that could pass a cap. Safe between threads.

    Attributes:
        caps: The bounds.
        calls: Calls sent.
        tokens: Tokens of the calls that are over; a call of unknown outcome at its worst case.
        cost: Their cost.
    """

    def __init__(
        self, caps: Caps | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.caps = caps or Caps()
        self.calls = 0
        self.tokens = 0
        self.cost = 0.0
        self._in_flight: set[Charge] = set()
        self._changed = threading.Condition()
        self._clock = clock
        self._start = clock()

    @contextmanager
    def charge(
        self, prompt_tokens: int, completion_tokens: int, calls: int = 1
    ) -> Iterator[Charge]:
        """Charge a call, at most so many tokens, for as long as the block runs it.

        Where calls in flight leave no room by their worst case, this waits until they are over.
        A charge that the block neither settles nor releases stays at its worst case. Several
        ``calls`` that are made as one batch are charged together.

        Raises:
            BudgetError: The call could pass a cap; nothing was charged.
        """
        charge = Charge(self.caps, prompt_tokens, completion_tokens)
        with self._changed:
            self.check(calls)
            while not self._admits(charge):
                self._changed.wait()
                self.check(calls)
            self.calls += calls
            self._in_flight.add(charge)
        try:
            yield charge
        finally:
            with self._changed:
                self._in_flight.discard(charge)
                self.tokens += charge.tokens
                self.cost += charge.cost
                self._changed.notify_all()

    def check(self, calls: int = 1) -> None:
        """Refuse to go on where so many calls, or the seconds, are not left.

        Raises:
            BudgetError: They are not; a loop ends here with what it has.
        """
        most, seconds = self.caps.max_calls, self.caps.max_seconds
        if most is not None and self.calls + calls > most:
            raise BudgetError(f"the cap of {most} calls is reached; raise provider.max_calls")
        if seconds is not None and self._seconds() >= seconds:
            raise BudgetError(f"the cap of {seconds:g} s is reached; raise provider.max_seconds")

    def remaining(self) -> Remaining:
        """Return what is left."""
        with self._changed:
            tokens, cost = self._charged()
            caps = self.caps
            return Remaining(
                None if caps.max_calls is None else caps.max_calls - self.calls,
                None if caps.max_total_tokens is None else caps.max_total_tokens - tokens,
                None if caps.max_cost is None else caps.max_cost - cost,
                None if caps.max_seconds is None else max(0.0, caps.max_seconds - self._seconds()),
            )

    def summary(self) -> str:
        """Return one line for a person: what was used, and of how much."""
        with self._changed:
            tokens, cost = self._charged()
            money = f"cost {cost:.4g}" + _of(self.caps.max_cost)
            return ", ".join(
                (
                    f"{self.calls}{_of(self.caps.max_calls)} calls",
                    f"{tokens}{_of(self.caps.max_total_tokens)} tokens",
                    money if self.caps.priced else "cost unknown (no prices were given)",
                    f"{self._seconds():.0f}{_of(self.caps.max_seconds)} s",
                )
            )

    def _seconds(self) -> float:
        return self._clock() - self._start

    def _charged(self) -> tuple[int, float]:
        return (
            self.tokens + sum(charge.tokens for charge in self._in_flight),
            self.cost + sum(charge.cost for charge in self._in_flight),
        )

    def _admits(self, charge: Charge) -> bool:
        """Whether a call fits now; False where it may fit when the calls in flight are over."""
        tokens_cap, cost_cap = self.caps.max_total_tokens, self.caps.max_cost
        if tokens_cap is not None and self.tokens + charge.tokens > tokens_cap:
            raise BudgetError(
                f"the next call could take {charge.tokens} tokens and {self.tokens} of the cap of "
                f"{tokens_cap} are used; raise provider.max_total_tokens or lower "
                "provider.max_tokens"
            )
        if cost_cap is not None and self.cost + charge.cost > cost_cap:
            raise BudgetError(
                f"the next call could cost {charge.cost:.4g} and {self.cost:.4g} of the cap of "
                f"{cost_cap:.4g} is spent; raise provider.max_cost"
            )
        tokens, cost = self._charged()
        return (tokens_cap is None or tokens + charge.tokens <= tokens_cap) and (
            cost_cap is None or cost + charge.cost <= cost_cap
        )


def _of(cap: float | None) -> str:
    return "" if cap is None else f" of at most {cap:g}"
