"""Ctrl-C at a safe point, with real signals."""

import os
import signal
import threading

import pytest

from embodied.interrupts import stop_on_interrupt


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_interrupt_asks_and_the_second_breaks_off():
    with stop_on_interrupt() as stop:
        assert not stop.asked
        interrupt()
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            interrupt()


@pytest.mark.parametrize("pressed", [False, True])
def test_the_handler_from_before_is_put_back(pressed):
    before = signal.getsignal(signal.SIGINT)
    with stop_on_interrupt():
        assert signal.getsignal(signal.SIGINT) is not before
        if pressed:
            interrupt()
    assert signal.getsignal(signal.SIGINT) is before


def test_it_is_put_back_after_an_error_too():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="inside"), stop_on_interrupt():
        raise ValueError("inside")
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_nothing_changes():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with stop_on_interrupt() as stop:
            seen.append((signal.getsignal(signal.SIGINT), stop.asked))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
