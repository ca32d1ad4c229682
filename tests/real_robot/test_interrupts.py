from __future__ import annotations

import signal
import threading

import pytest

from real_robot.interrupts import Interrupts


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_a_block_that_allows_it_is_interrupted() -> None:
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt), interrupts.allowed():
        press()


def test_an_interrupt_elsewhere_waits_for_the_next_block_that_allows_it() -> None:
    reached = []
    with Interrupts() as interrupts:
        press()
        reached.append("shielded")
        with pytest.raises(KeyboardInterrupt), interrupts.allowed():
            reached.append("never")
        with interrupts.allowed():
            reached.append("it was raised once")
    assert reached == ["shielded", "it was raised once"]


def test_an_interrupt_that_no_block_took_is_raised_at_the_end() -> None:
    reached = []

    def work() -> None:
        with Interrupts():
            press()
            reached.append("shielded")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["shielded"]


def test_a_second_one_is_raised_at_once() -> None:
    reached = []

    def hang() -> None:
        press()
        reached.append("shielded")
        press()
        reached.append("never")

    with Interrupts(), pytest.raises(KeyboardInterrupt):
        hang()
    assert reached == ["shielded"]


def test_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) is before


def test_it_does_nothing_in_another_thread() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with Interrupts() as interrupts, interrupts.allowed():
                pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []
