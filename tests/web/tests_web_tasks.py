"""What films may do to the process that works on them."""

import os
import signal
import time

from gmmformer.web.film_tasks import Done, ended


def fine(value: int) -> Done:
    return Done((value, os.getpid()))


def hang() -> Done:
    time.sleep(600)
    return Done()


def crash() -> Done:
    os.kill(os.getpid(), signal.SIGSEGV)
    return Done()


def swell() -> Done:
    return ended(lambda: len(bytearray(2**32)))


def fail() -> Done:
    class UnpicklableError(Exception):
        pass

    def task() -> None:
        raise UnpicklableError(lambda: "secret")

    return ended(task)
