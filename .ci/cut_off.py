"""A pytest plugin for runs that may be cut off: each failing test is named at once, and told to stop (SIGTERM) a run ends as by
Ctrl-C, with its results so far, its slowest and its failing tests."""

from __future__ import annotations

import signal

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # one of pytest-xdist's workers: its controller hears of every test
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.pluginmanager.register(_Failures(config))


class _Failures:
    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.write(f"\nFAILED {report.nodeid} after {report.duration:.0f} s\n", flush=True)
