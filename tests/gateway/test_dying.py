"""What a test starts does not outlive a test session that was killed."""

import signal
import subprocess
import sys
import time

import psutil  # type: ignore[import-untyped]  # the package ships no type hints
import pytest

from tests.test_house import ROOT

SECONDS_MAX = 10.0
SESSION = """
import subprocess, sys, time
from tests.gateway.dying import with_us
child = subprocess.Popen(with_us(sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"))
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells a child")
def test_a_process_ends_when_the_session_that_started_it_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SESSION], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout is not None
        said = {session.stdout.readline().strip() for _ in range(2)}
        assert "up" in said, "it runs"
        (number,) = said - {"up"}
        child = psutil.Process(int(number))
        session.send_signal(signal.SIGKILL)
        until = time.monotonic() + SECONDS_MAX
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until, "it lives on"
            time.sleep(0.05)
