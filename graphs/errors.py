"""The one family of errors that are the user's to mend: what was wrong, the value, and what would be right."""


class UserError(ValueError):
    """Base of every error caused by input. The command line prints its message and exits with status 2."""


class TopologyError(UserError):
    """A topology breaks a rule of the language (see :mod:`graphs.rules`) or a file does not hold one."""


class CompileError(UserError):
    """A legal topology cannot be compiled as asked: wrong number of blocks, wrong width, unknown engine."""
