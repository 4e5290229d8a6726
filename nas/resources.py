"""What one trial takes of a machine."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """CPUs and GPUs of one trial; below 1 a part of one."""

    cpu: float = 1.0
    gpu: float = 0.0

    def __str__(self) -> str:
        return f"{{cpu: {self.cpu:g}" + (f", gpu: {self.gpu:g}}}" if self.gpu else "}")

    def enforce(self) -> None:
        """Hold this process to its share. Needs torch."""
        import torch

        torch.set_num_threads(max(1, int(self.cpu)))
        if 0 < self.gpu < 1 and torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(self.gpu)
