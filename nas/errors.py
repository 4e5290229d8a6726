"""Errors of the search itself; all are the user's to mend."""

from graphs.errors import UserError


class ExperimentError(UserError):
    """The experiment cannot be run as written: a limit nothing meets, a budget below one step."""


class RunFolderError(UserError):
    """The run's folder cannot be used: it holds another run, is not writable, or its log is damaged."""


class BenchError(UserError):
    """A benchmark cannot be run as asked for."""
