"""The alarm over the code of a test rings within that code alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from pper_jax.execution.alarm import Alarm
from pper_jax.execution.checks import Outcome, TrustedTimeout
from pper_jax.execution.limits import Limits
from pper_jax.execution.watch import Journal


class NoSession:
    lost = None


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    before = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGPROF)}
    yield Alarm(Limits(), Journal(Limits()))
    for number, handler in before.items():
        signal.signal(number, handler)


def ring(number: signal.Signals) -> Outcome:
    signal.raise_signal(number)
    return "pass", None


@pytest.mark.parametrize("number", [signal.SIGALRM, signal.SIGPROF])
def test_it_ends_the_step_it_is_over(alarm: Alarm, number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    session: Any = NoSession()
    monkeypatch.setattr(alarm, "_is_early", lambda: False)
    with pytest.raises(TrustedTimeout):
        alarm.over(lambda: ring(number), session)
    assert alarm.went_off
    assert ring(number) == ("pass", None)  # after the step it is deaf
    assert alarm.over(lambda: ("pass", None), session) == ("pass", None)
    assert not alarm.went_off


def test_a_ring_while_it_rings_disturbs_nothing(alarm: Alarm, monkeypatch: pytest.MonkeyPatch) -> None:
    session: Any = NoSession()
    undisturbed = []

    def is_early() -> bool:
        undisturbed.append(ring(signal.SIGALRM))
        return True

    monkeypatch.setattr(alarm, "_is_early", is_early)
    assert alarm.over(lambda: ring(signal.SIGALRM), session) == ("pass", None)
    assert undisturbed == [("pass", None)]


def test_an_end_that_was_lost_before_it_rang_is_not_its_own(alarm: Alarm, monkeypatch: pytest.MonkeyPatch) -> None:
    session: Any = NoSession()
    session.lost = object()
    monkeypatch.setattr(alarm, "_is_early", lambda: False)
    with pytest.raises(TrustedTimeout):
        alarm.over(lambda: ring(signal.SIGALRM), session)
    assert not alarm.went_off
