import signal
import subprocess
import sys

import pytest

from nas import interrupts


@pytest.fixture(autouse=True)
def handler():
    before = signal.getsignal(signal.SIGINT)
    yield
    interrupts.settle()
    signal.signal(signal.SIGINT, before)


def test_a_ctrl_c_that_was_dropped_is_raised_at_the_next_check():
    interrupts.watch()
    interrupts.check()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.check()
    interrupts.settle()
    interrupts.check()


DIES_OF_THE_SIGNAL = """
import signal, sys
from nas import interrupts
interrupts.watch()
try:
    exec("signal.raise_signal(signal.SIGINT)")
except KeyboardInterrupt:
    {settle}
    sys.exit(130)
"""


@pytest.mark.parametrize(("settle", "status"), [("interrupts.settle()", 130), ("pass", -signal.SIGINT)])
def test_the_status_is_ours_even_where_python_noted_the_interrupt(settle, status, tmp_path):
    (tmp_path / "noted.py").write_text(DIES_OF_THE_SIGNAL.format(settle=settle))
    assert subprocess.run([sys.executable, "-m", "noted"], cwd=tmp_path, check=False).returncode == status
