"""Pictures of a topology: its blocks on a line with what they read as arcs, its connection matrix, its plan.

matplotlib is loaded when something is drawn, never its pyplot; :func:`text` needs numpy alone.
"""

from graphs.draw.sheet import figure as figure
from graphs.draw.sheet import picture as picture
from graphs.draw.sheet import save as save
from graphs.draw.sheet import thumbnail as thumbnail
from graphs.draw.terminal import text as text
