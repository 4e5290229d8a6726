"""Several processes that train one model on the same batches: each takes a part of every batch, gradients are averaged.

The process of rank 0 leads: it alone measures, reports and writes. Nothing hooks into the model or its backward pass:
gradients are summed when that is over, so a parameter that some process has not used holds nobody up. One that nobody
has used keeps no gradient, as in a single process.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from trainers.errors import TeamError, TrainerError
from trainers.seeding import generator

T = TypeVar("T")

WAIT = timedelta(days=7)  # whoever waits for one that is gone is told by its connection; a long validation is none
BUCKET = 2**24  # gradients are sent in pieces of about so many numbers


class Team:
    """One process of a team, as long as :func:`lead` or :func:`join` holds it.

    Every method is called by all of them at the same point and raises TeamError where another one has gone.
    """

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank = rank
        self.size = size
        self.device = device

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def part(self, chosen: torch.Tensor) -> torch.Tensor:
        """The part of a batch (n,) that is this process's; the parts in order of rank are the batch."""
        own = len(chosen) // self.size
        return chosen[self.rank * own : (self.rank + 1) * own]

    def begin(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, own: dict[str, str], done: int, seed: int
    ) -> int:
        """Bring all to the leader's weights and state of the optimiser; how many steps are done.

        ``own`` must be the same everywhere: TrainerError where it is not. The global generator of the others starts
        from (seed, rank, steps done): what they draw for their parts of a batch is not what the leader draws.
        """
        state = optimiser.state_dict()["state"]
        layout = [(index, name, each.shape, each.dtype) for index, of in state.items() for name, each in of.items()]
        theirs, done, layout = self._object((own, done, layout))
        for name, value in theirs.items():
            if own.get(name) != value:
                raise TrainerError(
                    f"{name} is {own.get(name)} on worker {self.rank} of a trial and {value} on its first"
                )
        with torch.no_grad():
            for tensor in chain(model.parameters(), model.buffers()):
                self._copy(tensor)
        found: dict[int, dict[str, torch.Tensor]] = {}
        for index, name, shape, dtype in layout:
            tensor = state[index][name] if self.leads else torch.empty(shape, dtype=dtype)
            found.setdefault(index, {})[name] = self._copy(tensor.detach().clone())
        if not self.leads:
            if done:
                optimiser.load_state_dict({"state": found, "param_groups": optimiser.state_dict()["param_groups"]})
            torch.manual_seed(generator("rank", seed, self.rank, done).initial_seed())
        return done

    def average(self, parameters: Sequence[nn.Parameter], loss: torch.Tensor) -> torch.Tensor:
        """Average the gradients in place, and the loss, which is returned: equal parts, so both are the batch's."""
        used = torch.tensor([each.grad is not None for each in parameters], dtype=torch.float64)
        facts = torch.cat((loss.detach().double().reshape(1), used.to(loss.device))).to(self.device)
        self._sum(facts)
        present = facts[1:].tolist()
        for each, count in zip(parameters, present, strict=True):
            if count and each.grad is None:
                each.grad = torch.zeros_like(each)
        for bucket in _buckets([each.grad for each in parameters if each.grad is not None]):
            flat = torch.cat([each.reshape(-1) for each in bucket])
            self._sum(flat)
            flat /= self.size
            means = torch.split(flat, [each.numel() for each in bucket])
            for gradient, mean in zip(bucket, means, strict=True):
                gradient.copy_(mean.view_as(gradient))
        return (facts[0] / self.size).to(loss.device, loss.dtype)

    def tell(self, go_on: bool) -> None:
        """The leader's word at a report; :meth:`heed` is what the others do there."""
        self._copy(torch.tensor(float(go_on)))

    def heed(self) -> bool:
        return bool(self._copy(torch.tensor(0.0)))

    def _copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """The leader's tensor, in place."""
        sent = tensor.contiguous().to(self.device)
        with _lost():
            dist.broadcast(sent, src=0)
        return tensor.copy_(sent)

    def _sum(self, tensor: torch.Tensor) -> None:
        with _lost():
            dist.all_reduce(tensor)

    def _object(self, value: T) -> T:
        held = [value]
        with _lost():
            dist.broadcast_object_list(held, src=0, device=self.device)
        return held[0]


@contextmanager
def lead(size: int, device: str, start: Callable[[int], None]) -> Iterator[Team]:
    """Lead a team of ``size`` processes: ``start`` is given the port on this machine at which the others join.

    Raises TeamError where they do not come to be.
    """
    with _lost():
        store = dist.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1", 0, size, is_master=True, timeout=WAIT, wait_for_workers=False
        )
    start(store.port)
    with _joined(store, 0, size, device) as team:
        yield team


@contextmanager
def join(host: str, port: int, rank: int, size: int, device: str) -> Iterator[Team]:
    """Join the team whose leader is at ``host`` and ``port``, as number ``rank``; raises TeamError."""
    with _lost():
        store = dist.TCPStore(  # type: ignore[attr-defined]
            host, port, size, is_master=False, timeout=WAIT
        )
    with _joined(store, rank, size, device) as team:
        yield team


@contextmanager
def _joined(store: Any, rank: int, size: int, device: str) -> Iterator[Team]:
    backend = "gloo" if device == "cpu" else "nccl"
    hook = sys.excepthook
    with _lost():
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=WAIT)
    try:
        yield Team(rank, size, torch.device(device))
    finally:
        sys.excepthook = hook  # torch has put a rank before every traceback's line, and would again next time
        dist.destroy_process_group()


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # of the connection: each backend has words of its own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TeamError(f"another worker of this trial has gone: {first}") from error


def _buckets(gradients: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Gradients in their order, cut where a piece is full or the type changes."""
    bucket: list[torch.Tensor] = []
    for each in gradients:
        if bucket and (each.dtype != bucket[0].dtype or sum(one.numel() for one in bucket) >= BUCKET):
            yield bucket
            bucket = []
        bucket.append(each)
    if bucket:
        yield bucket
