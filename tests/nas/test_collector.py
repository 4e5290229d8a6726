import gc
import weakref

import pytest

from nas.collector import OFTEN, SELDOM, spared


class _Loop:
    def __init__(self) -> None:
        self.own = self


def test_what_was_there_is_left_alone_until_the_end():
    assert gc.get_freeze_count() == 0
    before = gc.get_threshold()
    with spared():
        held = gc.get_freeze_count()
        assert held > 1000
        assert gc.get_threshold() == (OFTEN, SELDOM, before[2])
        fresh = [[] for _ in range(1000)]
        with spared():  # the count may fall: what is left alone can still be freed, by whoever else runs here
            assert gc.get_freeze_count() <= held, "what is new is not left alone as well"
        assert gc.get_freeze_count() > held - len(fresh), "the outer one ends it"
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == before


def test_garbage_of_the_inside_is_collected():
    with spared():
        gone = weakref.ref(_Loop())
        gc.collect()
        assert gone() is None


def test_it_ends_with_an_error():
    with pytest.raises(KeyError), spared():
        raise KeyError
    assert gc.get_freeze_count() == 0


def test_each_call_of_a_function_is_a_new_one():
    @spared()
    def held() -> int:
        return gc.get_freeze_count()

    assert held() > 1000
    assert held() > 1000
    assert gc.get_freeze_count() == 0
