"""The search: study, executors, tracking, report and command line.

``load_model`` and ``accuracy_of`` use what ``wireloom compile`` wrote; they load torch when used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.artifact import load_model as load_model
    from nas.evaluate import accuracy_of as accuracy_of

_NEEDS_TORCH = {"load_model": "nas.artifact", "accuracy_of": "nas.evaluate"}


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        from importlib import import_module

        return getattr(import_module(_NEEDS_TORCH[name]), name)
    raise AttributeError(f"module 'nas' has no attribute {name!r}")
