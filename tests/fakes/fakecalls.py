"""What tests have worker processes do; importable there, as a test module is not."""

import os
import signal
import sys
import time


def who(device):
    return os.getpid(), device


def threads(device):
    import numpy  # noqa: F401

    return os.environ["OMP_NUM_THREADS"], "torch" in sys.modules


def die(device):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(message, device):
    raise OSError(message)


def unsendable(device):
    return lambda: None


def sleep(seconds, device):
    time.sleep(seconds)
