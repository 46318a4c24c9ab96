"""The program ``ubench``: ready to be stopped before anything slow is loaded, then the command line."""

import os
import signal
import sys
import threading
from contextlib import suppress


def main() -> int:
    """Run the command line of this process; returns its exit code."""
    if hasattr(signal, "pthread_sigmask"):  # elsewhere an interrupt ends with the exception that the command line tells
        end_when_told()
    from .cli import main as run

    return run()


def end_when_told() -> None:
    """Let SIGINT and SIGTERM end this process, and all that it started, with one line and code 130 or 143.

    The main thread may be deep inside a library, and some libraries set handlers of their own. So the signals are
    blocked, and taken by a thread that waits for nothing else. What it puts in order are temporary files: all others
    are written whole.
    """
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # what is started later, inherits it

    def wait() -> None:
        number = signal.sigwait(signals)
        import psutil

        from .files import clear_after_end

        children = [child.pid for child in psutil.Process().children(recursive=True)]  # kernels, builders and theirs
        clear_after_end()
        what = "stopped" if number == signal.SIGINT else "told to end"
        start = "\n" if sys.stderr.isatty() else ""  # a progress bar may stand in this line
        with suppress(OSError):  # nobody may be reading any more
            os.write(2, f"{start}ubench: {what}; what was encoded is in the cache\n".encode())
        sys.setswitchinterval(60)  # the main thread must not get to tell that a child of its own was killed
        for child in children:
            with suppress(OSError):  # it has ended
                os.kill(child, signal.SIGKILL)
        os._exit(128 + number)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
