"""The command line as a module."""

import runpy
import sys
from importlib.metadata import version

import pytest


def test_the_package_can_be_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["perdure", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("perdure", run_name="__main__")
    assert ended.value.code == 0
    assert version("perdure") in capsys.readouterr().out
