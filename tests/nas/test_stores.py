import pytest

from nas.stores import NullStore, chunks, clean
from nas.tracking import MlflowStore


def test_the_null_store_has_every_method_of_the_real_one():
    def public(kind):
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(MlflowStore) == public(NullStore)


def test_the_null_store_remembers_runs_and_makes_no_files():
    store = NullStore()
    run = store.run("key", "a name", tags={"a": "1"})
    assert store.run("key", "another") is run
    store.write(run, [("loss", 1.0, 0)], params={"depth": 4}, tags={"b": "2"})
    store.mark(run, "FINISHED")
    assert (run.tags, run.status, store.points(run)) == ({"a": "1", "b": "2"}, "FINISHED", {})
    store.attach(run, lambda: pytest.fail("a file was made"))
    store.refresh()
    store.register(run, "name", {}, "")
    assert store.known == {"key": run}
    store.delete(run)
    assert store.known == {}


@pytest.mark.parametrize(
    ("name", "cleaned"), [("a+b", "a_b"), ("auc log/x-1.5: y", "auc log/x-1.5: y"), ("é" * 300, "é" * 250)]
)
def test_names_have_nothing_that_a_store_refuses(name, cleaned):
    assert clean(name) == cleaned


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (1, [1]), (4, [4]), (5, [4, 1]), (9, [4, 4, 1])])
def test_pieces(count, sizes):
    points = [("loss", float(step), step) for step in range(count)]
    found = list(chunks(points, 4))
    assert [len(part) for part in found] == sizes
    assert [one for part in found for one in part] == points
