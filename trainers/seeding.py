"""Random generators that depend on a key alone, never on the global state or on what ran before."""

import hashlib

import torch


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator seeded by the sha256 of the key."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    # Four bytes: torch's CPU generator uses no more of a seed.
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
