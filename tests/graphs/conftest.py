"""Makes the helpers beside this file importable: ``graph_samples`` (topologies) and ``graph_oracles`` (meanings)."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports triton, whatever tests are chosen
settings.register_profile("graphs", deadline=None)  # a busy machine is no failure
settings.load_profile("graphs")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Hidden states are tiny here: threads would only wait for each other."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
