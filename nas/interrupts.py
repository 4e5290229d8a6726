"""Ctrl-C that cannot get lost. Python drops a KeyboardInterrupt that is raised inside a callback, as imports have."""

import signal
import threading
from types import FrameType

_pressed = threading.Event()


def watch() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt at once and, should that be dropped, at the next :func:`check`."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _press)


def _press(number: int, frame: FrameType | None) -> None:
    _pressed.set()
    raise KeyboardInterrupt


def check() -> None:
    """Raise KeyboardInterrupt where one was raised and did not arrive."""
    if _pressed.is_set():
        raise KeyboardInterrupt


def settle() -> None:
    """Forget a Ctrl-C that was dealt with, so that the process ends with the status it wants."""
    _pressed.clear()
    # Python notes a KeyboardInterrupt that leaves exec(TEXT), as making a dataclass does, and would end by the
    # signal even though it was caught further up; the next exec takes the note back.
    exec("")
