"""Run all tests side by side, and once more, alone, the few that failed: ``python tests/run_all.py -n 4``.

Many tests start clusters, gangs and frameworks, each made for more cores than a test machine has. Side by side they
take a third of the time, but now and then one of them gets none for longer than its limit allows. A defect fails alone,
too. What passed only then is listed at the end, so that it is not forgotten.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
AT_MOST = 6
"""Where more of them fail, that is not for want of a core."""


class Failures:
    """A plugin of pytest that notes which tests failed."""

    def __init__(self) -> None:
        self.tests: dict[str, None] = {}
        self.not_collected = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests[report.nodeid] = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.not_collected |= report.failed


def main(arguments: list[str], tests: Path = TESTS) -> int:
    """The exit code of pytest: that of the second try, where there was one."""
    failures = Failures()
    code = int(pytest.main([*arguments, str(tests)], plugins=[failures]))
    failed = list(failures.tests)
    if code != pytest.ExitCode.TESTS_FAILED or failures.not_collected or not 0 < len(failed) <= AT_MOST:
        return code
    print(f"\nOnce more, alone: {', '.join(failed)}", flush=True)
    ids = [str(tests / test) for test in failed]
    code = subprocess.run([sys.executable, "-m", "pytest", "-n", "0", *ids]).returncode
    if code == 0:
        print(f"\nPassed, but these only alone, after they had failed beside others: {', '.join(failed)}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
