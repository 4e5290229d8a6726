import json
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from nas import events
from nas.errors import RunFolderError
from nas.events import EventLog, Tail, read


@pytest.fixture
def path(tmp_path):
    """A log of four events."""
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    for i in range(4):
        log.append("ask", point={"family": "hyper", "x": 0.1 * i}, text="é\n")
    log.close()
    return path


def test_what_is_appended_reads_back(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    given = [log.append("report", value=0.1 + 0.2, steps=(1, 2)), log.append("end", text='a "quoted"\nline')]
    # Before the log is closed: a line is on disk before anything else learns of it.
    assert list(read(log.path)) == given == log.events
    now = given[0].pop("at")
    assert abs(now - time.time()) < 120
    assert given[0] == {"seq": 0, "event": "report", "value": 0.1 + 0.2, "steps": [1, 2]}
    assert [event["seq"] for event in given] == [0, 1]
    log.close()


def test_a_last_line_cut_off_anywhere_is_dropped(path):
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    first = read(path)[:3]
    for length in range(start, len(whole)):
        path.write_bytes(whole[:length])
        assert read(path) == first
        log = EventLog(path)
        assert tuple(log.events) == first
        assert path.read_bytes() == whole[:start]
        end = log.append("end")
        assert end["seq"] == 3
        log.close()
        assert read(path) == (*first, end)


DAMAGE = {
    "not JSON": lambda lines: [lines[0], lines[1][:-9], *lines[2:]],
    "not JSON at its end": lambda lines: [*lines[:3], lines[3][:-1]],
    "an empty line": lambda lines: [lines[0], "", *lines[1:]],
    "a line is missing": lambda lines: [lines[0], *lines[2:]],
    "lines change places": lambda lines: [lines[0], lines[2], lines[1], lines[3]],
    "no seq": lambda lines: [lines[0], '{"event": "ask"}', *lines[2:]],
    "no event": lambda lines: [lines[0], '{"seq": 1}', *lines[2:]],
    "a list": lambda lines: [lines[0], "[1]", *lines[2:]],
    "bytes": lambda lines: [lines[0], "\udcff", *lines[2:]],
}


@pytest.mark.parametrize("harm", DAMAGE)
def test_any_other_damage_is_an_error_that_names_the_line(path, harm):
    lines = DAMAGE[harm](path.read_text().splitlines())
    path.write_bytes("".join(line + "\n" for line in lines).encode(errors="surrogateescape"))
    number = 4 if "end" in harm else 2
    before = path.read_bytes()
    for opened in (read, EventLog):
        with pytest.raises(RunFolderError, match=rf"events\.jsonl:{number}: the event log is damaged.*another --out"):
            opened(path)
    assert path.read_bytes() == before


RESULT = {
    "event": "result", "number": 0, "status": "COMPLETE", "spent_flops": 9.0, "objectives": {"accuracy": 0.5},
    "accuracy": 0.5, "loss": 0.7, "seconds": 1.5, "reason": None,
}  # fmt: skip
POINT = {"step": 4, "flops": 1.0, "train_loss": 2.0, "accuracy": 0.5, "loss": None}
MISTYPED = [  # an event, and what is said of it
    (RESULT | {"objectives": {"accuracy": None}}, "objectives.accuracy is null; must be a number"),
    (RESULT | {"objectives": {"accuracy": 0.5, "flops": "9"}}, 'objectives.flops is "9"; must be a number'),
    (RESULT | {"objectives": {"accuracy": True}}, "objectives.accuracy is true; must be a number"),
    (RESULT | {"objectives": {"flops": 10**400}}, "objectives.flops is 1000.*; must be a number"),
    (RESULT | {"objectives": [0.5]}, r"objectives is \[0.5\]; must be a mapping"),
    (RESULT | {"accuracy": "high"}, 'accuracy is "high"; must be a number or null'),
    (RESULT | {"loss": {}}, "loss is {}; must be a number or null"),
    (RESULT | {"spent_flops": None}, "spent_flops is null; must be a number"),
    (RESULT | {"seconds": [1]}, r"seconds is \[1\]; must be a number or null"),
    (RESULT | {"number": 0.5}, "number is 0.5; must be a whole number or null"),
    (RESULT | {"status": None}, "status is null; must be a text"),
    (RESULT | {"reason": 5}, "reason is 5; must be a text or null"),
    ({"event": "report", "number": 0, "point": POINT | {"step": None}}, "point.step is null; must be a whole number"),
    ({"event": "report", "number": 0, "point": POINT | {"train_loss": None}}, "point.train_loss is null; must be a n"),
    ({"event": "report", "number": 0, "point": None}, "point is null; must be a mapping"),
    ({"event": "ask", "ask": 0, "flops": None}, "flops is null; must be a number"),
    ({"event": "ask", "ask": 0, "parameters": 1.5}, "parameters is 1.5; must be a whole number"),
    ({"event": "confirm", "digest": "d", "seed": None}, "seed is null; must be a whole number"),
    ({"event": "confirm", "digest": "d", "test_accuracy": "0.9"}, 'test_accuracy is "0.9"; must be a number or null'),
]


@pytest.mark.parametrize(("event", "message"), MISTYPED)
def test_a_field_that_does_not_hold_what_it_should_is_named_with_its_line(path, event, message):
    with path.open("a") as file:
        file.write(json.dumps({"seq": 4, **event}) + "\n")
    before = path.read_bytes()
    for opened in (read, EventLog):
        with pytest.raises(
            RunFolderError, match=rf"events\.jsonl:5: the event log is damaged: {message}.*another --out"
        ):
            opened(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "event", [RESULT, {"event": "report", "number": 0, "point": POINT}, {"event": "new", "x": None}]
)
def test_fields_that_hold_what_they_should_pass_and_unknown_ones_too(path, event):
    with path.open("a") as file:
        file.write(json.dumps({"seq": 4, **event}) + "\n")
    assert read(path)[-1] == {"seq": 4, **event}


@pytest.mark.parametrize(
    ("field", "constant"),
    [("loss", "NaN"), ("loss", "1e999"), ("unknown", "NaN"), ("unknown", "Infinity"), ("unknown", "-Infinity")],
)
def test_numbers_that_are_none_are_damage(path, field, constant):
    with path.open("a") as file:
        file.write(f'{{"seq": 4, "event": "result", "{field}": {constant}}}\n')
    with pytest.raises(RunFolderError, match=r"events\.jsonl:5: the event log is damaged: .*another --out"):
        read(path)


def test_a_second_driver_is_kept_out(path):
    first = EventLog(path)
    with pytest.raises(RunFolderError, match="another process is running this search"):
        EventLog(path)
    first.close()
    EventLog(path).close()


def test_what_the_driver_before_us_adds_until_we_hold_the_lock_is_kept(path, monkeypatch):
    lock = events.holder.hold

    def slow(file, where):
        with where.open("a") as other:
            other.write('{"seq": 4, "event": "end"}\n')
        lock(file, where)

    monkeypatch.setattr(events.holder, "hold", slow)
    log = EventLog(path)
    log.close()
    assert [event["event"] for event in log.events] == ["ask"] * 4 + ["end"]
    assert len(read(path)) == 5


@pytest.mark.parametrize("value", [float("nan"), {"deep": [float("inf")]}, {1, 2}, object(), [object()]])
def test_what_json_cannot_hold_is_refused_whole(path, value):
    before = path.read_bytes()
    log = EventLog(path)
    with pytest.raises((ValueError, TypeError)):
        log.append("report", value=value)
    assert path.read_bytes() == before
    assert log.append("end")["seq"] == 4
    log.close()


def test_texts_and_mappings_of_all_kinds_are_kept(path):
    log = EventLog(path)
    given = log.append("result", reason="no such file: \udcff.csv", point=MappingProxyType({"x": 1e-300, "big": 2**70}))
    log.close()
    assert given == read(path)[-1]
    assert given["reason"] == "no such file: \udcff.csv"  # a name that is not UTF-8, as Python writes it
    assert given["point"] == {"x": 1e-300, "big": 2**70}


@settings(max_examples=200)
@drawn(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text()
        | st.just("half a pair \udcff"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_what_json_can_hold_reads_back_as_it_was(value):
    with TemporaryDirectory() as folder:
        log = EventLog(Path(folder, "events.jsonl"))
        given = log.append("note", value=value)
        log.close()
        assert json.dumps(given["value"]) == json.dumps(value)  # the sign of a zero too
        assert read(log.path) == (given,)
        assert json.loads(log.path.read_bytes()) == given  # any reader of JSON


def test_a_full_disk_says_how_to_go_on_and_loses_only_the_line(path):
    before = read(path)
    log = EventLog(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, limits[1]))
    try:
        with pytest.raises(RunFolderError, match=r"cannot be written.*--resume"):
            log.append("result", number=1)
        log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read(path) == before
    again = EventLog(path)
    assert tuple(again.events) == before
    again.close()


def test_an_unreachable_log_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be read: No such file"):
        read(tmp_path / "events.jsonl")
    with pytest.raises(RunFolderError, match="cannot be written: Not a directory"):
        EventLog(tmp_path / "file" / "events.jsonl")


def test_a_line_is_one_json_object(path):
    for number, line in enumerate(path.read_text().splitlines()):
        assert json.loads(line)["seq"] == number


def test_a_log_that_grows_is_read_once(path):
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:5])
    tail = Tail(path)
    found = list(tail.more())
    assert len(found) == 1
    assert tail.more() == ()
    path.write_bytes(whole)
    found += tail.more()
    assert tuple(found) == read(path)
    assert not tail.shrunk
    path.write_bytes(whole + whole)
    with pytest.raises(RunFolderError, match=f":{len(lines) + 1}: the event log is damaged: its seq is 0, not"):
        tail.more()
    path.write_bytes(lines[0])
    assert tail.shrunk
    path.unlink()
    assert not tail.shrunk
    with pytest.raises(RunFolderError, match="cannot be read"):
        tail.more()
