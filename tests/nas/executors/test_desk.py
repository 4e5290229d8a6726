import pickle
import threading

import pytest

from nas.executors.desk import Desk
from nas.jobs import Outcome, Report

LONG = 30.0  # seconds after which a wait that should have ended is a failure


def beside(work):
    """Do ``work`` in a thread; what it returned, once it has."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()

    def result():
        thread.join(LONG)
        assert not thread.is_alive(), "still waiting"
        return found[0]

    return result


def report(number=1, asks=False) -> Report:
    return Report(number, 1, 1.0, 0.5, 0.7, asks)


def test_jobs_go_one_way_and_messages_the_other_in_order():
    desk = Desk()
    for name in ("first", "second"):
        desk.submit(name)
    assert [desk.take(block=True), desk.take(block=False)] == ["first", "second"]
    done = Outcome(1, "complete", 2, 0.1)
    desk.put([report(), done])
    assert [desk.next(), desk.next()] == [report(), done]


def test_who_has_nothing_else_to_do_waits_for_a_job():
    desk = Desk()
    taken = beside(lambda: desk.take(block=True))
    desk.submit("job")
    assert taken() == "job"


def test_who_has_other_things_to_do_waits_only_for_a_study_that_thinks(monkeypatch):
    monkeypatch.setattr("nas.executors.desk.PATIENCE", LONG)
    desk = Desk()
    taken = beside(lambda: desk.take(block=False))  # the study has something to do, and may submit
    desk.submit("job")
    assert taken() == "job"
    taken = beside(lambda: desk.take(block=False))
    waits = beside(desk.next)  # now it has submitted all it wants
    assert taken() is None
    desk.put([report()])
    assert waits() == report()


def test_patience_has_an_end(monkeypatch):
    monkeypatch.setattr("nas.executors.desk.PATIENCE", 0.01)
    assert Desk().take(block=False) is None


def test_an_answer_reaches_the_one_who_asked():
    desk = Desk()
    asked = {number: beside(lambda number=number: desk.ask(number)) for number in (1, 2)}
    desk.answer(2, False)
    desk.answer(1, True)
    assert (asked[1](), asked[2]()) == (True, False)


@pytest.mark.parametrize("wait", ["take", "ask"])
def test_close_lets_everybody_go(wait):
    desk = Desk()
    waits = beside(lambda: desk.take(block=True) if wait == "take" else desk.ask(1))
    desk.submit("job") if wait == "ask" else None
    desk.close()
    assert waits() in (None, False)
    assert desk.take(block=True) is None, "what was submitted is not begun any more"


def test_a_fault_is_raised_after_what_came_before_it():
    desk = Desk()
    desk.put([report()])
    desk.fail(LookupError("first"))
    desk.fail(LookupError("second"))
    assert desk.next() == report()
    for _ in range(2):
        with pytest.raises(LookupError, match="first"):
            desk.next()


def test_all_there_is_can_be_taken_at_once_and_nothing_is_waited_for_in_vain():
    desk = Desk()
    assert desk.gather(0.01) == []
    desk.put([report(), report(2)])
    assert desk.gather(LONG) == [report(), report(2)]
    heard = beside(lambda: desk.gather(LONG))
    assert desk.take(block=False) is None, "who gathers waits, and submits nothing meanwhile"
    desk.put([report(3)])
    assert heard() == [report(3)]
    desk.put([report(4)])
    desk.fail(LookupError("first"))
    assert desk.gather(LONG) == [report(4)]
    with pytest.raises(LookupError, match="first"):
        desk.gather(LONG)


def test_a_study_with_other_things_to_do_looks_whether_there_is_something():
    desk = Desk()
    assert not desk.ready(0.0)
    waits = beside(lambda: desk.ready(2 * LONG))
    desk.put([report()])
    assert waits()
    assert desk.next() == report()
    assert not desk.ready(0.0)
    desk.fail(LookupError("first"))
    assert desk.ready(0.0), "next() raises at once"


def test_a_study_that_looks_has_submitted_all_it_wants(monkeypatch):
    monkeypatch.setattr("nas.executors.desk.PATIENCE", LONG)
    desk = Desk()
    taken = beside(lambda: desk.take(block=False))
    looks = beside(lambda: desk.ready(LONG))
    assert taken() is None
    desk.put([report()])
    assert looks()


def test_nothing_of_it_is_written_where_tune_writes_down_its_settings():
    desk = Desk(lambda text: None)
    desk.submit(lambda: None)
    assert vars(pickle.loads(pickle.dumps(desk))) == {}
