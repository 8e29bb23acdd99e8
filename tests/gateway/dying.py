"""Processes that end with the test session, however that ends: also by kill -9."""

import os
import signal
import sys

from gateway import launch


def with_us(*command: str) -> list[str]:
    """The command, which the kernel kills when the process that starts it is gone (Linux).

    To be started from a thread that lives as long: the kernel watches that, not the process.
    """
    assert launch.__file__ is not None, "it is a file of ours"
    own = (str(os.getpid()), str(int(signal.SIGKILL)), "-")
    return [sys.executable, "-I", "-S", launch.__file__, *own, *command]
