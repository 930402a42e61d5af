"""What films may do to the process that works on them."""

import os
import signal
import time


def fine(value: int) -> tuple[int, int]:
    return value, os.getpid()


def hang() -> None:
    time.sleep(600)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def swell() -> int:
    return len(bytearray(2**32))


def fail() -> None:
    class UnpicklableError(Exception):
        pass

    raise UnpicklableError(lambda: "secret")
