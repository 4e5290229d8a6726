import threading
from pathlib import Path

import pytest

from graphs import families
from nas.errors import RunFolderError
from nas.executors.worker import Worker, fetch, shares
from nas.jobs import Job, Outcome, Report
from nas.storage import StorageError
from trainers.recipe import Recipe


def job(number=0, **changes) -> Job:
    return Job(number, families.residual(depth=2).to_dict(), "digits", {}, Recipe(), 0, 9, 1.0, (), **changes)


def report(step, asks=False) -> Report:
    return Report(0, step, 1.0, 0.5, 0.7, asks)


DONE = Outcome(0, "complete", 9, 0.1)


def to_end(worker):
    """Every message of a job, and its last batch."""
    messages = []
    while not (batch := worker.step()).done:
        messages += batch.messages
    return [*messages, *batch.messages], batch


def trial(steps, *, error=None, content=None):
    def run(job):
        for step in steps:
            yield report(step)
        if error is not None:
            raise error
        if content is not None:
            job.weights.write_bytes(content)
        return DONE

    return run


def test_quick_messages_travel_together():
    worker = Worker(trial(range(5)), shared=True)
    worker.take(job())
    messages, last = to_end(worker)
    assert messages == [*map(report, range(5)), DONE]
    assert last.weights is None


def test_a_message_does_not_wait_for_a_slow_one_after_it():
    go = threading.Event()

    def run(job):
        yield report(1)
        go.wait(30)
        return DONE

    worker = Worker(run, shared=True)
    worker.take(job())
    assert worker.step().messages == (report(1),)
    go.set()
    assert worker.step().messages == (DONE,)


@pytest.mark.parametrize("answer", [None, True, False])
def test_a_report_that_asks_comes_last_and_waits_for_the_answer(answer):
    answers = []

    def run(job):
        yield report(1)
        answers.append((yield report(2, asks=True)))
        answers.append((yield report(3)))
        return DONE

    worker = Worker(run, shared=True)
    worker.take(job())
    messages = []
    while not (batch := worker.step()).asks:
        messages += batch.messages
    assert [*messages, *batch.messages] == [report(1), report(2, asks=True)]
    assert answers == []
    if answer is not None:
        worker.answer(answer)
    assert to_end(worker)[0] == [report(3), DONE]
    assert answers == [answer is not False, True]


def test_a_users_error_is_said_and_another_one_raised():
    worker = Worker(trial([1], error=RunFolderError("no room")), shared=True)
    worker.take(job())
    messages, last = to_end(worker)
    assert (messages, last.error) == ([report(1)], "no room")
    worker = Worker(trial([], error=LookupError("what")), shared=True)
    worker.take(job())
    with pytest.raises(LookupError, match="what"):
        worker.step()


@pytest.mark.parametrize("shared", [True, False])
def test_weights_are_written_in_place_or_fetched_piece_by_piece(tmp_path, shared, monkeypatch):
    monkeypatch.setattr("nas.executors.worker.PIECE", 7)
    content = bytes(range(50))
    place = tmp_path / "weights.safetensors"
    worker = Worker(trial([], content=content), shared=shared)
    worker.take(job(weights=place))
    _, last = to_end(worker)
    assert place.exists() == shared
    assert last.weights == (None if shared else len(content))
    if last.weights is not None:
        fetch(worker.read, place, last.weights)
    assert place.read_bytes() == content
    left = worker._folder
    worker.close()
    assert left is None or not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == [place.name]


def test_a_fetch_that_fails_leaves_nothing(tmp_path):
    def read(offset, size):
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        fetch(read, tmp_path / "w", 10)
    assert list(tmp_path.iterdir()) == []


def test_the_next_job_takes_the_place_of_one_that_was_left():
    ended = threading.Event()

    def run(job):
        try:
            yield report(1, asks=True)
        finally:
            ended.set()
        return DONE

    worker = Worker(run, shared=True)
    worker.take(job())
    worker.step()
    worker.take(job())
    assert ended.wait(30), "the first was let go of"
    assert worker.step().asks


def test_each_job_is_prepared_in_its_own_thread_and_told_its_device():
    seen = []

    def run(job):
        seen.append((threading.get_ident(), job.device))
        return DONE
        yield

    worker = Worker(run, shared=True, device="cuda", prepare=lambda: seen.append(threading.get_ident()))
    worker.take(job())
    assert to_end(worker)[0] == [DONE]
    assert seen == [seen[0], (seen[0], "cuda")]


def test_a_folder_is_shared_where_its_token_is_seen(tmp_path):
    probe = tmp_path / "probe"
    assert not shares(probe, "token")
    assert not shares(None, "token")
    probe.write_text("token")
    assert shares(probe, "token")
    assert not shares(probe, "other")
    assert not shares(Path("/proc/nothing"), "token")


class Shelf:
    """A store in this process."""

    def __init__(self, **files: bytes) -> None:
        self.files = files

    def put(self, local: Path, name: str) -> None:
        self.files[name] = local.read_bytes()

    def get(self, name: str, local: Path) -> bool:
        if name in self.files:
            local.write_bytes(self.files[name])
        return name in self.files

    def delete(self, name: str) -> None:
        self.files.pop(name, None)


def outcome_of(evaluate, folder: Path, **place) -> Outcome:
    """The end of a job with a checkpoint, on a worker of its own."""
    worker = Worker(evaluate, **place)
    worker.take(job(keep=folder / "trial.safetensors"))
    messages, _ = to_end(worker)
    worker.close()
    return messages[-1]


def going_on(job, written=None):
    """Adds a letter to its checkpoint, if it is to have one, and says how long it is."""
    length = 0
    if job.keep is not None:
        content = (job.keep.read_bytes() if job.keep.exists() else b"") + b"x"
        job.keep.write_bytes(content)
        length = len(content)
        if written is not None:
            written(job.keep)
    return Outcome(job.number, "complete", length, 0.1)
    yield


def test_a_stored_checkpoint_that_cannot_be_read_is_deleted_and_the_trial_begins_again(tmp_path):
    """As nas.evaluate does with one that is damaged inside: the trial is lost once, and not each time it is run."""

    def reading(job, written):
        if job.keep.exists():
            job.keep.unlink()
            return Outcome(job.number, "lost", 0, 0.0, reason="cannot read the checkpoint")
        return DONE
        yield

    store = Shelf(**{"trial.safetensors": b"damaged"})
    ends = [outcome_of(reading, tmp_path, shared=False, store=store).kind for _ in range(2)]
    assert ends == ["lost", "complete"]
    assert store.files == {}


def test_a_trial_that_is_lost_otherwise_keeps_its_stored_checkpoint(tmp_path):
    def dying(job, written):
        job.keep.write_bytes(b"x")
        written(job.keep)
        return Outcome(job.number, "lost", 0, 0.0, reason="another process of it died")
        yield

    store = Shelf()
    outcome_of(dying, tmp_path, shared=False, store=store)
    assert store.files == {"trial.safetensors": b"x"}


def test_a_stored_checkpoint_that_could_not_be_had_is_kept(tmp_path):
    class Fading(Shelf):
        def get(self, name: str, local: Path) -> bool:
            raise StorageError("the storage is away")

    def dying(job, written):
        return Outcome(job.number, "lost", 0, 0.0, reason="another process of it died")
        yield

    store = Fading(**{"trial.safetensors": b"good"})
    outcome_of(dying, tmp_path, shared=False, store=store)
    assert store.files == {"trial.safetensors": b"good"}


class Away:
    """A store that is out of reach."""

    def put(self, local: Path, name: str) -> None:
        raise StorageError("the storage is away")

    def get(self, name: str, local: Path) -> bool:
        raise StorageError("the storage is away")


def test_a_store_that_fails_costs_the_checkpoint_alone_and_is_said(tmp_path):
    worker = Worker(going_on, shared=False, store=Away())
    worker.take(job(keep=tmp_path / "trial.safetensors"))
    messages, last = to_end(worker)
    assert [message.kind for message in messages] == ["complete"]
    assert last.note == "a checkpoint is not kept, and the search goes on: the storage is away"


@pytest.mark.parametrize(
    ("shared", "store", "lengths"),
    [(True, Shelf(), [1, 2]), (False, Shelf(), [1, 2]), (False, None, [0, 0])],
    ids=["shared", "store", "neither"],
)
def test_a_checkpoint_outlives_its_worker_where_there_is_a_place_for_it(tmp_path, shared, store, lengths):
    found = [outcome_of(going_on, tmp_path, shared=shared, store=store).step for _ in range(2)]
    assert found == lengths
    assert (tmp_path / "trial.safetensors").exists() == shared
    assert store is None or store.files == ({} if shared else {"trial.safetensors": b"xx"})
