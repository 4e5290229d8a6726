"""The executor of many cores and machines: Ray Tune places the trials, the study owns them.

``Tuner.fit`` runs in a thread of its own. Its searcher hands out what the study submits, its scheduler forwards what
trials say, and Tune itself keeps nothing. That thread is in this process, or in an actor of a cluster that is reached
by Ray Client. The one folder that imports ray.
"""

from nas.executors.ray.client import ClientExecutor
from nas.executors.ray.executor import RayExecutor

__all__ = ["ClientExecutor", "RayExecutor"]
