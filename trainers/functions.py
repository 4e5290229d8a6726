"""A user's functions by name: ``module:function``, or ``path/to/file.py:function``."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainers.errors import TrainerError


def locate(reference: str, folder: Path) -> str:
    """A reference that means the same from everywhere: a file, or a module that has one in ``folder``, by full path."""
    module, _, name = reference.rpartition(":")
    file = folder / (module if module.endswith(".py") else f"{module.replace('.', '/')}.py")
    if module.endswith(".py") or (module and file.is_file()):
        return f"{os.path.abspath(file)}:{name}"  # noqa: PTH100 - links stay as the user wrote them
    return reference


def load(reference: str) -> Callable[..., Any]:
    """The function; TrainerError where the reference is none, its module cannot be imported or has no such function."""
    module, _, name = reference.rpartition(":")
    if not module or not name.isidentifier():
        raise TrainerError(f"{reference!r} names no function; write module:function or file.py:function")
    found = _module(module)
    function: object = getattr(found, name, None)
    if not callable(function):
        what = "no" if function is None else f"a {type(function).__name__}, not a function, called"
        raise TrainerError(f"{reference}: {module} has {what} {name!r}")
    return function


def call(reference: str, **arguments: object) -> Any:
    """What the function returns; TrainerError on whatever it raises."""
    function = load(reference)
    try:
        return function(**arguments)
    except Exception as error:
        raise TrainerError(f"{reference} raised {_shown(error)}") from error


@lru_cache(maxsize=8)
def _module(module: str) -> object:
    try:
        return _from_file(Path(module)) if module.endswith(".py") else importlib.import_module(module)
    except FileNotFoundError as error:
        if error.filename == module:
            raise TrainerError(f"{module}: there is no such file; functions are read from beside the file") from None
        raise TrainerError(f"{module} cannot be imported: {_shown(error)}") from error
    except Exception as error:
        hint = ""
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            hint = "; put the module beside the experiment's file, or install it"
        raise TrainerError(f"{module} cannot be imported: {_shown(error)}{hint}") from error


def _from_file(path: Path) -> object:
    # A name of its own, so that a user's random.py hides nothing.
    name = f"wireloom_user_{path.stem}_{abs(hash(str(path))):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a name that ends in .py has a loader"
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    sys.path.insert(0, str(path.parent))  # for what it imports from beside it
    try:
        spec.loader.exec_module(made)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return made


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
