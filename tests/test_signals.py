"""Stopping after the step at hand: what a signal, a repeated one and the end of the steps do."""

import signal

import pytest

from truenet_apps import signals
from truenet_apps.signals import StopOnSignal

NUMBERS = [signal.SIGINT, signal.SIGTERM]


class Ended(Exception):
    """What the handler from before does here."""


@pytest.fixture(autouse=True)
def before(monkeypatch: pytest.MonkeyPatch) -> object:
    def end(*_: object) -> None:
        raise Ended

    old = {number: signal.signal(number, end) for number in NUMBERS}
    yield end
    for number, handler in old.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_asks_and_its_repetition_at_once_is_the_same(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with StopOnSignal("stopping soon") as stop:
        assert not stop.asked
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert stop.asked
    assert capsys.readouterr().err.count("stopping soon") == 1


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("first", NUMBERS)
def test_another_one_later_ends(first: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_REPEATED_WITHIN_SECONDS", -1.0)
    with StopOnSignal("") as stop:
        signal.raise_signal(first)
        with pytest.raises(Ended):
            signal.raise_signal(number)
        assert stop.asked


@pytest.mark.parametrize("is_asked", [False, True])
def test_handlers_are_given_back(before: object, is_asked: bool) -> None:
    with StopOnSignal(""):
        assert before not in map(signal.getsignal, NUMBERS)
        if is_asked:
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in NUMBERS] == [before, before]
