"""A proposal as a file of YAML from a program we do not know: read once, checked against everything, never run."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphs import Topology, TopologyError, UserError
from graphs.dag import dag
from nas.proposal import CUSTOM, Proposal, from_outside
from search_space.document import Document, parse
from search_space.errors import unknown
from search_space.space import Point, Space

if TYPE_CHECKING:
    from nas.experiment import Experiment

MAX_BYTES = 1 << 18
MAX_NOTE = 2000  # characters
MAX_SIZE = 1024  # of anything in a weight rule that is counted: rows, columns, hidden units, iterations
SIZES = ("size", "outputs", "iterations", "hidden", "count")
TOPOLOGY_KEYS = ("format", "family", "settings", "depth", "stem", "ops", "output", "digest")
FORMS: Mapping[str, tuple[str, ...]] = {  # the key that tells a form, and those that go with it
    "edges": ("depth", "learned"),
    "topology": (),
    "ops": TOPOLOGY_KEYS,
    "point": (),
}


def source_of(name: str) -> str:
    """Where such a proposal comes from, in the log."""
    return f"open:{name}"


def read_proposal(data: bytes, name: str, experiment: "Experiment") -> Proposal:
    """The proposal ``name`` from its file's bytes; what is wrong with it is its ``problem``, never an exception.

    The whole text goes to the log with it.
    """
    source = source_of(name)
    text = ""
    point = Point.from_dict({"family": CUSTOM, "depth": 0, "proposal": name})
    try:
        text = _decoded(data)
        document = parse(text, Path(f"{name}.yaml"))
        made = _proposal(document, name, experiment.space)
    except Exception as error:  # of a stranger's file: whatever it broke, the search goes on without it
        problem = str(error) if isinstance(error, UserError) else f"it cannot be read: {type(error).__name__}: {error}"
        return Proposal(point, source, problem=problem, extra={"proposal": {"name": name, "text": text}})
    said = {key: str(document.data[key]) for key in ("note", "parent") if key in document.data}
    return replace(made, extra={"proposal": {"name": name, "text": text, **said}})


def _decoded(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise UserError(f"the file has {len(data):,} bytes; a proposal has at most {MAX_BYTES:,}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"the file is not UTF-8 text (byte 0x{data[error.start]:02x})") from None


def _proposal(document: Document, name: str, space: Space) -> Proposal:
    data = document.data
    form = _form(document)
    _check_words(document)
    if form == "point":
        return _declared(document, name, space)
    try:
        topology = _topology(document, form)
    except TopologyError as error:
        at = (form,) if form in data else ()
        raise document.error(at, str(error)) from error
    depths = {int(depth) for depth in space.depth.every() or ()}
    if topology.depth not in depths:
        told = f"{min(depths)} to {max(depths)}" if len(depths) > 1 else f"{min(depths)} alone"
        raise UserError(f"depth {topology.depth} is not one of this search, which has {space.depth} ({told})")
    assert topology.digest, "worked out here, where what goes wrong is the proposal's fault"
    return from_outside(space, topology, source_of(name), name=name)


def _form(document: Document) -> str:
    """Which of the ways of writing a topology it is; UserError where it is none, two, or has a key too many."""
    data = document.data
    forms = [form for form in FORMS if form in data]
    if len(forms) != 1:
        found = "none" if not forms else " and ".join(forms)
        raise UserError(
            f"a proposal has one of edges, topology, ops (a topology's own text) and point; this has {found}"
        )
    known = ("note", "parent", forms[0], *FORMS[forms[0]])
    for key in data:
        if key not in known:
            raise document.error((key,), unknown("key", key, known))
    return forms[0]


def _check_words(document: Document) -> None:
    for key in ("note", "parent"):
        word = document.data.get(key)
        if word is not None and not isinstance(word, str | int):
            raise document.error((key,), f"a text was expected, not {type(word).__name__}")
        if len(str(word)) > MAX_NOTE:
            raise document.error((key,), f"{len(str(word)):,} characters; at most {MAX_NOTE:,}")


def _declared(document: Document, name: str, space: Space) -> Proposal:
    """A point of the space by its values, as results and the log have them."""
    values = document.data["point"]
    if not isinstance(values, dict):
        raise document.error(("point",), "the values of a point by name were expected, such as {family: .., depth: ..}")
    try:
        point = Point.from_dict(values)
        space.topology(point)
    except UserError as error:
        raise document.error(("point",), str(error)) from error
    return Proposal(point, source_of(name))


def _topology(document: Document, form: str) -> Topology:
    data = document.data
    if form == "edges":
        edges, depth, learned = data["edges"], data.get("depth"), data.get("learned", False)
        if not isinstance(edges, list):
            raise TopologyError("a list of edges was expected, such as [[0, 1], [1, 2], [0, 2]]")
        if isinstance(depth, bool) or not isinstance(depth, int):
            raise TopologyError(f"depth is {depth!r:.80}; write 'depth: N', the number of blocks")
        if not isinstance(learned, bool):
            raise TopologyError(f"learned is {learned!r:.80}; true or false was expected")
        return dag(depth, edges, learned=learned)
    text = data["topology"] if form == "topology" else {key: data[key] for key in TOPOLOGY_KEYS if key in data}
    _check_sizes(text, form)
    # What it calls itself is not ours to believe.
    return replace(Topology.from_dict(text), family=CUSTOM, settings=())


def _check_sizes(data: Any, where: str) -> None:
    """TopologyError where a few letters stand for a great deal of work or memory."""
    stack: list[tuple[Any, bool]] = [(data, False)]
    while stack:
        value, counted = stack.pop()
        if isinstance(value, dict):
            stack += [(one, key in SIZES) for key, one in value.items()]
        elif isinstance(value, list):
            stack += [(one, counted) for one in value]
        elif counted and isinstance(value, int) and abs(value) > MAX_SIZE:
            raise TopologyError(f"{where}: a size of {value:,}; at most {MAX_SIZE:,}")
