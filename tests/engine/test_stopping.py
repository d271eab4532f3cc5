from __future__ import annotations

import os
import signal

import pytest

from bench.contract import UserError
from bench.engine.driving.stopping import Stop


def _kill(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)


def test_a_signal_waits_for_what_must_not_be_cut() -> None:
    stop, written = Stop(), []
    with stop.listening(), pytest.raises(KeyboardInterrupt), stop.held_back():
        _kill(signal.SIGTERM)
        written.append("whole")
    assert written == ["whole"]


def test_a_second_ctrl_c_waits_for_nothing_and_a_second_polite_kill_changes_nothing() -> None:
    stop, written = Stop(), []
    with stop.listening():
        with pytest.raises(KeyboardInterrupt):
            _kill(signal.SIGTERM)
        _kill(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), stop.held_back():
            _kill(signal.SIGINT)
            written.append("cut")
    assert not written


def test_after_its_run_was_stopped_a_command_writes_its_report_to_the_end() -> None:
    before = signal.getsignal(signal.SIGTERM)
    command, run = Stop(), Stop()
    with command.listening():
        with pytest.raises(KeyboardInterrupt), run.listening():
            _kill(signal.SIGTERM)
        _kill(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_that_was_stopped_keeps_its_exit_code_while_it_ends() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(KeyboardInterrupt), Stop().listening(to_the_end=True):
            _kill(signal.SIGTERM)
        _kill(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    with Stop().listening(to_the_end=True):
        pass
    assert signal.getsignal(signal.SIGTERM) is before, "nobody asked it to stop"


@pytest.mark.parametrize("asked", [True, False])
def test_an_error_after_a_signal_is_the_interrupt_that_a_library_has_made_it_of(
    asked: bool,
) -> None:
    with pytest.raises(KeyboardInterrupt if asked else AttributeError), Stop().listening():
        try:
            if asked:
                _kill(signal.SIGTERM)
        finally:
            raise AttributeError("half of a library")


def test_what_a_user_did_wrong_is_said_although_the_run_was_stopped() -> None:
    with pytest.raises(UserError), Stop().listening():
        try:
            _kill(signal.SIGTERM)
        finally:
            raise UserError("the store cannot be written")
