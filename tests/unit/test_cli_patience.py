"""What Ctrl-C does before, while and after a run stops."""

from __future__ import annotations

import signal

import pytest
import typer

from runner.cli.patience import Patience
from runner.events import RunStarted, Stopping


def test_ctrl_c_ends_a_command_that_has_not_begun_to_stop() -> None:
    patience = Patience()
    patience.notify(RunStarted("r7", "sentiment", "parallel", 100, 100, None, resumed=False))
    patience.notify(Stopping("budget", "the cap is reached"))
    with (
        pytest.raises(typer.Abort),
        patience.around(),
    ):  # `main` tells of it; typer, of Ctrl-C, nothing
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("reason", ["interrupted", "terminated"])
def test_ctrl_c_between_an_interrupted_run_and_its_summary_is_too_late(reason: str) -> None:
    patience, summary = Patience(), ""
    with patience.around():
        patience.notify(Stopping(reason, reason))
        signal.raise_signal(signal.SIGINT)
        summary = "printed"
    assert summary == "printed"


def test_python_s_own_handler_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Patience().around():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
