"""The importance of the winner's edges as a value that is kept: measured by ``nas.importance``, read without torch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.files import replace_file


@dataclass(frozen=True, slots=True)
class Edge:
    """Output ``source`` (0: the stem) no longer reaches ``port`` of block ``reader`` (0: the output) directly.

    ``weight`` is what the trained network multiplies it by; the rest are changes against the whole network.
    """

    source: int
    reader: int
    port: str
    weight: float
    accuracy: float
    loss: float

    def __str__(self) -> str:
        start = "stem" if self.source == 0 else str(self.source)
        end = "output" if self.reader == 0 else str(self.reader)
        return f"{start} to {end}" + ("" if self.port == "in" else f" ({self.port})")


@dataclass(frozen=True, slots=True)
class Importance:
    """Every edge's own ablation, the most important first. ``problem`` says why there is none."""

    digest: str
    samples: int = 0
    accuracy: float | None = None
    left_out: int = 0  # edges beyond the largest
    edges: tuple[Edge, ...] = ()
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"edges": [asdict(edge) | {"edge": str(edge)} for edge in self.edges]}

    def save(self, path: Path) -> None:
        replace_file(path, (json.dumps(self.to_dict(), indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: Path, digest: str) -> "Importance | None":
        """What :meth:`save` wrote for that topology; None where there is nothing of the kind."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            edges = tuple(Edge(**{name: edge[name] for name in Edge.__slots__}) for edge in data.pop("edges"))
            found = cls(**data, edges=edges)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if found.digest == digest else None
