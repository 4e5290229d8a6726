"""The one operator: k hidden states in, m out, by an m x k matrix."""

from graphs.ops.api import ENGINES as ENGINES
from graphs.ops.api import mix as mix
