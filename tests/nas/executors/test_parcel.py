from dataclasses import replace
from pathlib import Path

import pytest
from odd_trials import job as plain
from odd_trials import outcome

from nas.evaluate import evaluate
from nas.executors.parcel import Parcel, Unpacked
from nas.resources import Share
from trainers.catalogue import Source
from trainers.recipe import Recipe

MINE = """
import beside

def data():
    return beside.data()
"""
BESIDE = """
import numpy as np

def data():
    return np.random.default_rng(0).normal(size=(200, 8, 8)), np.arange(200) % 10
"""


@pytest.fixture
def mine(tmp_path):
    """A user's file of functions, which imports the one beside it."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "beside.py").write_text(BESIDE)
    (folder / "mine.py").write_text(MINE)
    (folder / "notes.txt").write_text("not sent")
    return folder / "mine.py"


def job(data, **changes):
    backbone = {"kind": "mixer", "dim": 8, "patch": 4} | changes
    return replace(plain(), data=data, backbone=backbone, recipe=Recipe(batch=32, threads=1), steps=2)


def test_what_is_named_goes_along_with_the_modules_beside_it(mine, tmp_path):
    (tmp_path / "a.npz").write_bytes(b"arrays")
    sent = Parcel.of(Source("npz", path=str(tmp_path / "a.npz")), {"function": f"{mine}:blocks"})
    assert sorted(sent.files) == sorted(map(str, (tmp_path / "a.npz", mine, mine.parent / "beside.py")))
    assert Parcel.of("digits", {"function": "installed.module:blocks"}).files == {}
    assert Parcel.of("digits", {"function": f"{tmp_path / 'none.py'}:blocks"}).files == {}


def test_a_machine_that_has_the_files_uses_its_own(mine, tmp_path):
    files = Unpacked(Parcel.of(Source("function", function=f"{mine}:data"), {}))
    given = job(Source("function", function=f"{mine}:data"))
    assert files.here(given) is given
    files.close()


@pytest.mark.parametrize("lacking", ["mine.py", "beside.py", "other content"])
def test_one_that_lacks_some_has_them_together_elsewhere(mine, tmp_path, lacking):
    (tmp_path / "a.npz").write_bytes(b"arrays")
    source, function = Source("npz", path=str(tmp_path / "a.npz")), f"{mine}:blocks"
    sent = Parcel.of(source, {"function": function})
    if lacking == "other content":
        mine.write_text(MINE.replace("beside", "besode"))
    else:
        (mine.parent / lacking).unlink()
    files = Unpacked(sent)
    given = job(source, kind="function", function=function)
    here = files.here(given)
    assert here.data == source, "which is there"
    place = here.backbone["function"].removesuffix(":blocks")
    assert place != str(mine)
    assert {path.name: path.read_text() for path in Path(place).parent.iterdir()} == {
        "mine.py": MINE,
        "beside.py": BESIDE,
    }
    assert files.there(here) == given
    files.close()
    assert not Path(place).exists()


@pytest.mark.slow
@pytest.mark.parametrize("share", [Share(1), Share(1, 0, 2)], ids=["one process", "two"])
def test_workers_get_files_that_they_cannot_see(on_ray, mine, share):
    """The files are gone from where the driver had them before any worker starts."""
    source = Source("function", function=f"{mine}:data")
    subject = on_ray(evaluate, share=share, parcel=Parcel.of(source, {}))
    for path in mine.parent.glob("*.py"):
        path.unlink()
    subject.submit(job(source))
    end = outcome(subject)
    assert (end.kind, end.reason) == ("complete", None)
