"""Files on storage that machines share: a folder, or any URI that fsspec knows. The only user of fsspec.

Names are relative, with forward slashes. A file is there whole or not at all: on a file system it is written beside its
place and moved there, and an object store shows an object only when it is complete.
"""

import os
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from graphs.errors import UserError

T = TypeVar("T")

OPENING = 25.0  # seconds in which a place must have taken, given back and deleted a small file
_DRAFT = ".draft"
_OBJECTS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "r2", "tos", "obs"}
# Whose errors say that nobody told us who we are, by the name of their class: their packages may not be installed.
_NAMELESS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "CredentialRetrievalError")


class StorageError(UserError):
    """Storage cannot be used: no driver package, no credentials, out of reach, not writable, or it failed."""


@dataclass(frozen=True)
class Storage:
    """One folder of some storage; :meth:`open` makes it. May be pickled and used from several threads.

    Every method raises StorageError where the storage fails.
    """

    uri: str
    _files: Any
    _root: str

    @classmethod
    def open(cls, uri: str, *, seconds: float = OPENING) -> "Storage":
        """The storage at a folder, a ``file://`` or another fsspec URI, after a small file went there and back.

        Raises StorageError within ``seconds``.
        """
        return _within(seconds, lambda: cls._open(uri), f"{_shown(uri)} did not answer within {seconds:g} s")

    @classmethod
    def _open(cls, uri: str) -> "Storage":
        try:
            import fsspec
        except ImportError as error:
            raise StorageError("storage needs fsspec: pip install 'wireloom[search]'") from error
        if urlsplit(uri).password:
            scheme = urlsplit(uri).scheme.upper()
            raise StorageError(
                f"{_shown(uri)}: the address holds a password, which would be written to the run's files; leave it "
                f"out and set FSSPEC_{scheme}_PASSWORD"
            )
        where = located(uri, Path.cwd())
        try:
            files, root = fsspec.core.url_to_fs(where)
        except ImportError as error:
            raise StorageError(f"{_shown(uri)} needs a package that is not installed: {_first(error)}") from error
        except Exception as error:
            raise StorageError(f"{_shown(uri)} is no storage: {_why(error)}") from error
        made = cls(where, files, str(root).rstrip("/"))
        made._check()
        return made

    @property
    def local(self) -> Path | None:
        """The folder on this machine's own file systems, if it is one."""
        protocol = self._files.protocol
        return Path(self._root) if "file" in (protocol if isinstance(protocol, tuple) else (protocol,)) else None

    def below(self, name: str) -> "Storage":
        """The folder ``name`` in this one."""
        return Storage(f"{self.uri.rstrip('/')}/{_checked(name)}", self._files, self._path(name))

    def put(self, local: Path, name: str) -> None:
        """Copy a file of this machine there, over what was there before; OSError where it cannot be read here."""
        self.put_bytes(local.read_bytes(), name)

    def put_bytes(self, data: bytes, name: str) -> None:
        """The same with the contents of a file."""
        path = self._path(name)
        self._try("written", name, lambda: self._write(path, data))

    def get(self, name: str, local: Path) -> bool:
        """Copy a file from there to ``local`` in one step; False, and nothing written, where there is none."""
        data = self.read(name)
        if data is None:
            return False
        from nas.files import replace_file

        replace_file(local, data)
        return True

    def read(self, name: str) -> bytes | None:
        """The contents of a file, None where there is none."""
        path = self._path(name)

        def contents() -> bytes | None:
            try:
                return bytes(self._files.cat_file(path))
            except FileNotFoundError:
                return None

        return self._try("read", name, contents)

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        path = self._path(name)

        def gone() -> None:
            with suppress(FileNotFoundError):
                self._files.rm_file(path)

        self._try("deleted", name, gone)

    def list(self, prefix: str = "") -> list[str]:
        """The names of all files that begin with ``prefix``, sorted; half-written ones are not among them."""

        def names() -> list[str]:
            self._files.invalidate_cache()  # others write there too
            try:
                found = self._files.find(self._root)
            except FileNotFoundError:
                return []
            cut = [str(path).removeprefix(self._root).lstrip("/") for path in found]
            return sorted(name for name in cut if name.startswith(prefix) and not name.endswith(_DRAFT))

        return self._try("listed", prefix, names)

    def _write(self, path: str, data: bytes) -> None:
        protocol = self._files.protocol
        if set((protocol,) if isinstance(protocol, str) else protocol) & _OBJECTS:
            self._files.pipe_file(path, data)
            return
        self._files.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
        draft = f"{path}.{uuid.uuid4().hex}{_DRAFT}"
        try:
            self._files.pipe_file(draft, data)
            self._files.mv(draft, path)
        except BaseException:
            with suppress(Exception):
                self._files.rm_file(draft)
            raise

    def _check(self) -> None:
        name, data = f".wireloom-{uuid.uuid4().hex}", b"wireloom was here\n"
        self.put_bytes(data, name)
        if self.read(name) != data:
            raise StorageError(f"{_shown(self.uri)} does not give back what was written to it; use another place")
        self.delete(name)

    def _path(self, name: str) -> str:
        return f"{self._root}/{_checked(name)}"

    def _try(self, what: str, name: str, action: Callable[[], T]) -> T:
        try:
            return action()
        except Exception as error:  # each driver raises whatever the libraries below it raise
            place = f"{_shown(self.uri)}/{name}" if name and not name.startswith(".wireloom-") else _shown(self.uri)
            raise StorageError(f"{place} cannot be {what}: {_why(error)}") from error


def located(uri: str, folder: Path) -> str:
    """An address that means the same everywhere: a path is relative to ``folder``, a URI stays as it is."""
    return uri if "://" in uri or "::" in uri else os.path.normpath(folder / Path(uri).expanduser())


def _within(seconds: float, action: Callable[[], T], late: str) -> T:
    """What ``action`` returns or raises; StorageError when it takes longer, and then it is left to itself.

    Drivers have time limits of minutes, and a network mount that hangs has none.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(action())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="storage", daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise StorageError(f"{late}; is the address right, and can this machine reach it?")
    return done[0]


def _checked(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise StorageError(f"{name!r} names no file of a storage; names are relative, without '..'")
    return name


def _why(error: BaseException) -> str:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    if any(type(one).__name__ in _NAMELESS for one in chain):
        return (
            "no credentials were found; set them where the driver looks for them (of S3: AWS_ACCESS_KEY_ID and so on)"
        )
    first = chain[0]
    if isinstance(first, PermissionError):
        return f"not permitted ({_first(first)}); check the rights of this user or of the credentials"
    return _first(first)


def _first(error: BaseException) -> str:
    """The first line of an error, or its name where it says nothing."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0][:200]


def _shown(uri: str) -> str:
    """A URI without its password."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri.rstrip("/")
    return parts._replace(netloc=f"{parts.username}@{parts.hostname}").geturl().rstrip("/")
