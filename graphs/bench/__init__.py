"""What a wiring costs on this machine: whole training steps, timed side by side after values were compared."""

from graphs.bench.measure import Figures, measured
from graphs.bench.models import KINDS, Shape

__all__ = ["KINDS", "Figures", "Shape", "measured"]
