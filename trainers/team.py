"""Several processes that train one model on the same batches: each takes a part of every batch, gradients are averaged.

The process of rank 0 leads: it alone measures, reports and writes. Gradients are torch's own business: the model's
forward runs in a DistributedDataParallel, which sends them while the backward pass still goes on. A parameter that some
process has not used holds nobody up, and one that nobody has used keeps no gradient, as in a single process. The
wrapper is the team's alone: the model, its state and its hooks are left as they were.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # before there is a group: its defaults keep that of its import alive for ever
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trainers.errors import TeamError, TrainerError
from trainers.seeding import generator

T = TypeVar("T")

WAIT = timedelta(days=7)  # whoever waits for one that is gone is told by its connection; a long validation is none
# What it says of parameters whose gradients come from a backward pass that it could not foresee.
REENTRANT = "Expected to mark a variable ready only once"


class Team:
    """One process of a team, as long as :func:`lead` or :func:`join` holds it.

    Every method is called by all of them at the same point and raises TeamError where another one has gone.
    """

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank = rank
        self.size = size
        self.device = device
        self._wrapped: DistributedDataParallel | None = None

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
        with _lost():  # which are used is not known beforehand: a wiring may draw its edges anew each step
            self._wrapped = DistributedDataParallel(model, find_unused_parameters=True, gradient_as_bucket_view=True)
        # Now that they are the leader's, each keeps its own: as an argument that would leave them alone here too.
        self._wrapped.broadcast_buffers = False
        found: dict[int, dict[str, torch.Tensor]] = {}
        for index, name, shape, dtype in layout:
            tensor = state[index][name] if self.leads else torch.empty(shape, dtype=dtype)
            found.setdefault(index, {})[name] = self._copy(tensor.detach().clone())
        if not self.leads:
            if done:
                optimiser.load_state_dict({"state": found, "param_groups": optimiser.state_dict()["param_groups"]})
            torch.manual_seed(generator("rank", seed, self.rank, done).initial_seed())
        return done

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the model makes of inputs, for one :meth:`backward` of it; behind :meth:`begin`."""
        assert self._wrapped is not None
        output: torch.Tensor = self._wrapped(inputs)
        return output

    def backward(self, loss: torch.Tensor) -> torch.Tensor:
        """Average the gradients, and the loss, which is returned: equal parts, so both are the batch's.

        What the model itself raises is raised as it is. TrainerError where a block has a backward pass of its own.
        """
        passed: list[bool] = []  # the model's part, behind which the gradients of the others are waited for

        def begun(gradient: torch.Tensor) -> None:
            torch.autograd.Variable._execution_engine.queue_callback(lambda: passed.append(True))

        loss.register_hook(begun)  # type: ignore[no-untyped-call]
        try:
            with _lost(lambda error: bool(passed) or isinstance(error, dist.DistError)):
                loss.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if REENTRANT not in str(error):
                raise
            raise TrainerError(
                "several workers cannot train a block that runs a backward pass within the backward pass, as "
                "torch.utils.checkpoint does with use_reentrant=True: use_reentrant=False would be right"
            ) from error
        mean = loss.detach().double().to(self.device)
        with _lost():
            dist.all_reduce(mean)
        return (mean / self.size).to(loss.device, loss.dtype)

    def end(self) -> None:
        """Let go of the connections, so that nobody waits for them, whoever holds the wrapper: a traceback does."""
        if self._wrapped is not None:
            vars(self._wrapped).clear()

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
    team = Team(rank, size, torch.device(device))
    try:
        yield team
    finally:
        sys.excepthook = hook  # torch has put a rank before every traceback's line, and would again next time
        team.end()
        dist.destroy_process_group()


@contextmanager
def _lost(ours: Callable[[RuntimeError], bool] = lambda error: True) -> Iterator[None]:
    """What is raised of the connection, which each backend has words of its own for, as TeamError."""
    try:
        yield
    except RuntimeError as error:
        memory = isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
        if memory or not ours(error):
            raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TeamError(f"another worker of this trial has gone: {first}") from error
