"""The topology language: a DAG of blocks joined by linear mixes, as a frozen program in single assignment."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from graphs.errors import TopologyError
from graphs.weights import Constant, Number, Parameter, Weight, checked_name, walk

if TYPE_CHECKING:
    import networkx as nx
    import numpy as np

    from graphs.form import Form

Setting = bool | int | float | str


def _freeze(op: "Op", *names: str) -> None:
    """Lists become tuples; passes give tuples, and many."""
    for name in names:
        object.__setattr__(op, name, tuple(getattr(op, name)))


def _hint_name(hint: tuple[str, Number]) -> str:
    return str(hint[0])


@dataclass(frozen=True)
class Block:
    """One computation of the user's: reads one value per port, writes one value.

    ``number`` runs from 1 to the depth, in an order in which blocks can run. ``name`` keys initial weights.
    ``hints`` are (name, number) pairs: what a method changes inside a block (initial scales, no norm of its own).
    The project's backbones honour them, other people's blocks may.
    """

    number: int
    reads: tuple[str, ...]
    writes: str
    ports: tuple[str, ...] = ("in",)
    name: str = ""
    hints: tuple[tuple[str, Number], ...] = ()

    def __post_init__(self) -> None:
        if type(self.reads) is not tuple or type(self.ports) is not tuple or type(self.hints) is not tuple:
            _freeze(self, "reads", "ports", "hints")
        if self.hints:
            object.__setattr__(self, "hints", tuple(sorted(map(tuple, self.hints), key=_hint_name)))
        if not self.name:
            object.__setattr__(self, "name", f"block{self.number}")

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.writes,)

    @property
    def uses(self) -> tuple[str, ...]:
        return self.reads


@dataclass(frozen=True)
class Norm:
    """A norm over the channels of a mix's output: ``rms`` (with a learned gain) or ``layer`` (gain and bias)."""

    name: str
    kind: Literal["rms", "layer"] = "rms"

    def __post_init__(self) -> None:
        checked_name(self.name)
        if self.kind not in ("rms", "layer"):
            raise TopologyError(f"norm {self.name}: kind {self.kind!r}; rms or layer was expected")

    def size(self, dim: int) -> int:
        """Number of learned scalars."""
        return dim * (2 if self.kind == "layer" else 1)


@dataclass(frozen=True)
class Mix:
    """A linear combination: k values in, m values out, weight rule of shape (m, k), destination first.

    ``keys`` are the values from which a weight computed per token is computed. ``norm`` normalises the output.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    weight: Weight
    keys: tuple[str, ...] = ()
    norm: Norm | None = None

    def __post_init__(self) -> None:
        if type(self.reads) is not tuple or type(self.writes) is not tuple or type(self.keys) is not tuple:
            _freeze(self, "reads", "writes", "keys")

    @property
    def uses(self) -> tuple[str, ...]:
        """Every value that must exist before the mix runs: its sources, then its keys."""
        return (*self.reads, *self.keys) if self.keys else self.reads

    @property
    def fixed(self) -> bool:
        """Whether it is a plain linear map of fixed numbers."""
        return isinstance(self.weight, Constant) and self.norm is None

    @property
    def static(self) -> bool:
        """Whether it is a linear map with the same matrix for every token and step."""
        return self.fixed or (self.norm is None and not self.weight.per_token and not self.weight.random)

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.writes

    @property
    def columns(self) -> tuple[tuple[int, bool], ...]:
        """For each source how many outputs read it, and whether any of them multiplies it."""
        return self.weight.columns

    @property
    def trains(self) -> bool:
        """Whether any of its weights is learned or computed."""
        return not isinstance(self.weight, Constant) and self._trains

    @cached_property
    def _trains(self) -> bool:
        return self.weight.per_token or any(isinstance(rule, Parameter) for rule in walk(self.weight))


Op = Block | Mix


@dataclass(frozen=True, eq=False)
class Topology:
    """A whole DAG: stem value, blocks, mixes, output. Equal when the canonical programs are equal.

    ``ops`` may be listed in any order. ``depth`` counts blocks, also those no path leads from to the output.
    ``family`` and ``settings`` say where it came from and take no part in equality. Legality is checked on
    construction; TopologyError names the rule, the place, and what would be right.
    """

    ops: tuple[Op, ...]
    output: str
    depth: int
    stem: str = "x0"
    family: str = "custom"
    settings: tuple[tuple[str, Setting], ...] = field(default=())

    def __post_init__(self) -> None:
        from graphs.rules import verify

        object.__setattr__(self, "ops", tuple(self.ops))
        object.__setattr__(self, "settings", tuple(self.settings))
        verify(self)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks, by number."""
        return tuple(sorted((op for op in self.ops if isinstance(op, Block)), key=lambda op: op.number))

    @cached_property
    def mixes(self) -> tuple[Mix, ...]:
        """The mixes, in listing order."""
        return tuple(op for op in self.ops if isinstance(op, Mix))

    @cached_property
    def producers(self) -> Mapping[str, Op]:
        """Which op writes each value (the stem has none)."""
        return {value: op for op in self.ops for value in op.outputs}

    @property
    def block_hints(self) -> dict[int, dict[str, float]]:
        """What the method changes inside blocks: hint names and numbers by block number."""
        return {
            block.number: {name: float(value) for name, value in block.hints} for block in self.blocks if block.hints
        }

    @cached_property
    def certificate(self) -> str:
        """Text of the canonical program: equal exactly for equal topologies."""
        from graphs.canonical import certificate

        return certificate(self)

    def __getstate__(self) -> dict[str, Any]:
        """What is worked out and remembered is not copied along."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @cached_property
    def form(self) -> "Form":
        """What its plan depends on: two of one form differ in the temperatures of softmaxes at most."""
        from graphs.form import form

        return form(self)

    @cached_property
    def digest(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical program."""
        from graphs.canonical import digest

        return digest(self.certificate)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Topology):
            return NotImplemented
        return self.certificate == other.certificate

    def __hash__(self) -> int:
        return hash(self.digest)

    def matrix(self, port: str = "in") -> "np.ndarray[Any, Any]":
        """The effective connection matrix at the initial weights, float64 of shape (depth + 1, depth + 1).

        Row r is the input of block r + 1 (the last row: the output), column j is output j (0: the stem).
        """
        from graphs.matrix import connection_matrix

        return connection_matrix(self, port=port)

    def to_networkx(self) -> "nx.DiGraph[Any]":
        """The typed bipartite DiGraph of values and operations; :meth:`from_networkx` takes it back."""
        from graphs.exchange import to_networkx

        return to_networkx(self)

    @classmethod
    def from_networkx(cls, graph: "nx.DiGraph[Any]") -> "Topology":
        """From the typed form, or from a plain DAG over 0 (stem), 1..L (blocks), L+1 (output).

        In a plain DAG a node reads the sum of its predecessors times the optional edge attribute ``weight``.
        """
        from graphs.exchange import from_networkx

        return from_networkx(graph)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, plain lists, strings and numbers."""
        from graphs.exchange import to_dict

        return to_dict(self)

    @classmethod
    def from_dict(cls, data: Any) -> "Topology":
        """Read the JSON form; TopologyError names the place that is wrong."""
        from graphs.exchange import from_dict

        return from_dict(data)

    def save(self, path: str | Path) -> Path:
        """Write the JSON form (valid YAML too) to ``path`` and return it."""
        from graphs.exchange import to_text, write_text

        return write_text(Path(path), to_text(self))

    @classmethod
    def load(cls, path: str | Path) -> "Topology":
        """Read a file that :meth:`save` wrote; hand-written YAML is read by ``search_space``."""
        from graphs.exchange import read

        return read(Path(path))

    def with_ops(self, ops: tuple[Op, ...], output: str | None = None) -> Self:
        """The same topology with other operations (and output)."""
        return type(self)(
            ops, self.output if output is None else output, self.depth, self.stem, self.family, self.settings
        )

    def rewritten(self, ops: tuple[Op, ...], output: str | None = None, stem: str | None = None) -> Self:
        """:meth:`with_ops` without the check of what is legal: what a pass returns, whose end :func:`lower` checks."""
        new = object.__new__(type(self))
        vars(new).update(self.__getstate__(), ops=ops, output=output or self.output, stem=stem or self.stem)
        return new

    def __str__(self) -> str:
        settings = "".join(f", {name}={value}" for name, value in self.settings)
        return f"{self.family}(depth={self.depth}{settings})"

    def __repr__(self) -> str:
        return f"<Topology {self} {self.digest}>"
