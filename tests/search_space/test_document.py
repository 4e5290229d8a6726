import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphs
from search_space.document import MAX_BYTES, dump, read, read_topology
from search_space.errors import SpaceError


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "file.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read(path)

    return load


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4", 1e-4),
        ("2.0e-3", 2e-3),
        ("200_000", 200_000),
        ("1_000.5", 1000.5),
        ("010", 10),
        ("0o17", 15),
        ("0xff", 255),
        ("-3", -3),
        (".5", 0.5),
        ("3.", 3.0),
        ("-.Inf", -math.inf),
        ("no", "no"),
        ("yes", "yes"),
        ("off", "off"),
        ("On", "On"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("_1", "_1"),
        ("1_", "1_"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1e-4'", "1e-4"),
        ('"true"', "true"),
        ("|-\n  7", "7"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(load, text, expected):
    value = load(f"key: {text}\n").data["key"]
    assert value == expected
    assert type(value) is type(expected)


def test_nan_is_read_as_a_number(load):
    assert math.isnan(load("key: .nan").data["key"])


def test_lines_of_keys_items_and_missing_keys(load):
    document = load("a:\n  b: 1\n  c:\n    - 1\n    - d: 2\n")
    assert [document.line(key) for key in [(), ("a",), ("a", "b"), ("a", "c", 1), ("a", "c", 1, "d")]] == [
        1,
        1,
        2,
        5,
        5,
    ]
    assert document.line(("a", "c", "absent")) == 3
    assert str(document.error(("a", "b"), "bad")) == f"{document.path}:2: a.b: bad"


def test_a_byte_order_mark_and_windows_line_ends_are_fine(load):
    document = load(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert document.data == {"a": 1, "b": 2}
    assert document.line(("b",)) == 2


REFUSED = [
    ("", None, "", "the file is empty"),
    ("# only a comment\n", None, "", "the file is empty"),
    ("---\n", None, "", "the file is empty"),
    ("\n- 1\n- 2\n", 2, "", "the file holds a list"),
    ("just words\n", 1, "", "the file holds the single value 'just words'"),
    ("a: 1\nb: 2\na: 3\n", 3, "a", "duplicate key, first on line 1; keep one"),
    ("a:\n  b: 1\n  b: 1\n", 3, "a.b", "duplicate key"),
    ("a: {b: 1, 'b': 2}\n", 1, "a.b", "duplicate key"),
    ("a: &x 1\nb: *x\n", 1, "a", "anchors and aliases"),
    ("b: *x\n", 1, "b", "anchors and aliases"),
    ("a: 1\n<<: {b: 2}\n", 2, "", "merge keys (<<)"),
    ("a: 1\n\nb: !!python/object/apply:os.system [ls]\n", 3, "b", "python/object/apply:os.system' is not allowed"),
    ("b: !!str 1\n", 1, "b", "the tag"),
    ("a: 1\n---\nb: 2\n", 2, "", "a second YAML document"),
    ("a: 1\n1: 2\n", 2, "", "the key '1' is not a name"),
    ("? [a]\n: 2\n", 1, "", "a key must be a plain name"),
    ("a:\n\tb: 1\n", 2, "", "not valid YAML: while scanning for the next token, found character '\\t' that cannot"),
    ("a:\n\tb: 1\n", 2, "", "; indent with spaces, not tabs"),
    ("a: 1\nb: [1, 2\n", 3, "", "not valid YAML: while parsing a flow sequence"),
    ("a: b: c\n", 1, "", "not valid YAML: mapping values are not allowed here"),
    ("a: 1\nb: 'open\n", 3, "", "not valid YAML"),
    ("a: 1\nb: \x07\n", 2, "", "not valid YAML: special characters are not allowed"),
    (b"a: 1\nb: caf\xe9\n", 2, "", "not UTF-8 text (byte 0xe9); save the file as UTF-8"),
    ("a: 1\n".encode("utf-16"), 1, "", "not UTF-8 text"),
    ("a: " + "[" * 60 + "]" * 60, 1, "a[0][0]", "nested deeper than 50 levels"),
    ("a: " + "9" * 5000, 1, "a", "too many digits"),
]


@pytest.mark.parametrize(("text", "line", "key", "problem"), REFUSED)
def test_refuses(load, tmp_path, text, line, key, problem):
    with pytest.raises(SpaceError) as caught:
        load(text)
    place = f"{tmp_path / 'file.yaml'}" + (f":{line}" if line else "")
    assert str(caught.value).startswith(f"{place}: {key}: " if key else f"{place}: ")
    assert problem in str(caught.value)


def test_deep_nesting_and_many_aliases_end_in_an_error_and_not_in_a_crash(load):
    with pytest.raises(SpaceError, match="nested deeper"):
        load("a: " + "{a: " * 100_000)
    laughs = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    with pytest.raises(SpaceError, match="anchors"):
        load(laughs)


def test_missing_file_names_the_nearest_one(tmp_path):
    (tmp_path / "digits.yaml").write_text("a: 1")
    with pytest.raises(SpaceError) as caught:
        read(tmp_path / "digit.yml")
    assert str(caught.value) == (
        f"{tmp_path / 'digit.yml'}: there is no such file; did you mean '{tmp_path / 'digits.yaml'}'?"
    )
    with pytest.raises(SpaceError, match=r"there is no such file$"):
        read(tmp_path / "quite_other")


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(SpaceError, match=r"no such file; its folder .*absent' does not exist"):
        read(tmp_path / "absent" / "a.yaml")


def test_folder_is_not_a_file(tmp_path):
    with pytest.raises(SpaceError, match="this is a folder; give a YAML file"):
        read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1")
    path.chmod(0)
    with pytest.raises(SpaceError, match="cannot be read: Permission denied"):
        read(path)


def test_paths_that_cannot_be_opened(tmp_path):
    (tmp_path / "file").write_text("a: 1")
    with pytest.raises(SpaceError, match="cannot be read: Not a directory"):
        read(tmp_path / "file" / "a.yaml")
    with pytest.raises(SpaceError, match="cannot be read"):
        read("a\0b")


def test_huge_file(load):
    with pytest.raises(SpaceError, match="too large; at most 1,048,576 bytes"):
        load("#" * (MAX_BYTES + 1))


def test_read_topology_takes_what_topology_saves(tmp_path):
    topology = graphs.families.hyper(3, streams=2)
    path = topology.save(tmp_path / "topology.yaml")
    read_back = read_topology(path)
    assert read_back.to_dict() == topology.to_dict()


def test_read_topology_names_the_file(tmp_path):
    path = tmp_path / "topology.yaml"
    path.write_text("nonsense: 1\n")
    with pytest.raises(SpaceError) as caught:
        read_topology(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert isinstance(caught.value.__cause__, graphs.TopologyError)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=("Cs", "Cc")))
    | st.sampled_from(["1e-4", "no", "0o7", "12:30", "", "~", "1_0", "=", "<<", "- a", "a: b", "#", "a\nb", ".inf"])
)
NAMES = st.text(min_size=1, max_size=5).filter(str.isidentifier) | st.sampled_from(["no", "1e-4", "y", "0o7"])


@given(st.dictionaries(NAMES, st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner))))
def test_dump_is_read_back_exactly(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(dump(data), encoding="utf-8", newline="")
    if data:
        assert repr(read(path).data) == repr(data)


def test_dump_keeps_order_and_writes_shared_parts_out(load):
    shared = [1]
    text = dump({"b": shared, "a": shared})
    assert text == "b:\n- 1\na:\n- 1\n"
    assert load(text).data == {"b": [1], "a": [1]}
