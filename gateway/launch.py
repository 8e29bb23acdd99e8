"""Becomes another program, which then ends when whoever started it is gone.

Run by path, with the standard library only: python -I -S launch.py PARENT SIGNAL UID:GID
PROGRAM ARGUMENTS. It gives up root for UID:GID where that is not "-", asks the kernel to send
SIGNAL at the parent's death (Linux; elsewhere the next start clears leftovers away), and
replaces itself by PROGRAM, so the process id stays.

Why not a preexec function: the kernel forgets the request when the process changes its user,
so it must come last, and Python code between fork and exec may deadlock in a threaded parent.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PARENT_IS_GONE = 70


def main(arguments: list[str]) -> None:
    """Drop privileges, tie this process to its parent, become the program."""
    parent, death_signal, account, *command = arguments
    # A shell's background job inherits "ignore SIGINT", and Python's own handler would swallow
    # a signal that arrives just before the exec. The program decides for itself.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if account != "-":
        user, group = account.split(":")
        os.setgroups([])
        os.setgid(int(group))
        os.setuid(int(user))
        os.umask(0o077)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        # The parent may have died before the request was made; then nobody would tell us.
        if os.getppid() != int(parent):
            sys.exit(PARENT_IS_GONE)
    try:
        os.execv(command[0], command)  # noqa: S606  # a shell would take the signals
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
