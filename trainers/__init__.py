"""Backbones, data, the training loop and its measurements; knows no topologies and no trials.

`shapes`, `hints`, `costs`, `recipe`, `catalogue` and `errors` are all that planning needs, and import without torch.
"""
