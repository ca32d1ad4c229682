"""A budget counts, shows and refuses; also when several threads spend it."""

import threading
import time

import pytest

from embodied.errors import UserError
from rewards.providers.base import Budget, BudgetError, Caps

PRICED = {"input_price": 1.0, "output_price": 10.0}


def used(prompt, completion):
    return {"prompt_tokens": prompt, "completion_tokens": completion}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_what_calls_take_replaces_their_worst_case():
    budget = Budget(Caps(max_calls=5, max_total_tokens=1000, max_cost=1.0, **PRICED))
    with budget.charge(100, 500) as charge:
        left = budget.remaining()
        assert (left.calls, left.tokens, left.seconds) == (4, 400, None)
        assert left.cost == pytest.approx(1.0 - 5100e-6)
        charge.settle(used(80, 20))
    left = budget.remaining()
    assert (left.calls, left.tokens) == (4, 900)
    assert budget.cost == pytest.approx(280e-6)
    assert (
        budget.summary()
        == "1 of at most 5 calls, 100 of at most 1000 tokens, cost 0.00028 of at most 1, 0 s"
    )


def test_without_caps_all_is_counted_and_nothing_refused():
    budget = Budget()
    for _ in range(3):
        with budget.charge(10**9, 10**9) as charge:
            charge.settle(used(1, 2))
    assert budget.remaining() == type(budget.remaining())(None, None, None, None)
    assert budget.summary() == "3 calls, 9 tokens, cost unknown (no prices were given), 0 s"


def test_a_released_call_counts_as_a_call_alone():
    budget = Budget(Caps(max_total_tokens=100))
    with budget.charge(50, 50) as charge:
        charge.release()
    assert (budget.calls, budget.tokens) == (1, 0)


def test_a_call_of_unknown_outcome_keeps_its_worst_case():
    budget = Budget(Caps(max_total_tokens=100))
    with pytest.raises(ZeroDivisionError), budget.charge(30, 40):
        raise ZeroDivisionError
    assert budget.tokens == 70


CAPS = [
    ({"max_calls": 1}, "cap of 1 calls is reached; raise provider.max_calls"),
    ({"max_total_tokens": 100}, "could take 60 tokens and 60 of the cap of 100 are used"),
    ({"max_cost": 5e-4, **PRICED}, "could cost 0.00033 and 0.00033 of the cap of 0.0005 is spent"),
]


@pytest.mark.parametrize(("caps", "part"), CAPS)
def test_a_call_that_could_pass_a_cap_is_refused(caps, part):
    budget = Budget(Caps(**caps))
    with budget.charge(30, 30):
        pass
    with pytest.raises(BudgetError, match=part), budget.charge(30, 30):
        raise AssertionError("the call was let through")
    assert budget.calls == 1


def test_seconds_end():
    clock = Clock()
    budget = Budget(Caps(max_seconds=60.0), clock=clock)
    clock.now = 59.0
    budget.check()
    assert budget.remaining().seconds == 1.0
    clock.now = 61.0
    assert budget.remaining().seconds == 0.0
    assert budget.summary().endswith("61 of at most 60 s")
    with pytest.raises(BudgetError, match=r"cap of 60 s is reached; raise provider\.max_seconds"):
        budget.check()
    with pytest.raises(BudgetError), budget.charge(1, 1):
        pass


@pytest.mark.parametrize(
    "caps",
    [
        {"max_calls": 0},
        {"max_total_tokens": 0},
        {"max_seconds": -1.0},
        {"max_seconds": float("inf")},
        {"max_cost": float("nan"), **PRICED},
        {"max_cost": 1.0, "input_price": 1.0},
    ],
)
def test_mistaken_caps_are_told(caps):
    with pytest.raises(UserError, match=r"caps and prices|needs prices"):
        Caps(**caps)


def test_calls_at_a_time_never_pass_a_cap_and_all_that_fit_are_let_through():
    """Each call could take 100 tokens and takes 10: 39 fit into 480, never 5 at a time."""
    budget = Budget(Caps(max_total_tokens=480))
    most, under_way, lock = [0], [0], threading.Lock()
    failures = []

    def call():
        try:
            for _ in range(5):
                with budget.charge(50, 50) as charge:
                    with lock:
                        under_way[0] += 1
                        most[0] = max(most[0], under_way[0])
                    assert budget.remaining().tokens >= 0
                    time.sleep(0.001)  # lets the others come
                    with lock:
                        under_way[0] -= 1
                    charge.settle(used(5, 5))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The 40th call finds 390 used and could pass the cap.
    assert failures
    assert all(isinstance(error, BudgetError) for error in failures)
    assert (budget.calls, budget.tokens) == (39, 390)
    assert most[0] <= 4
