import torch

from trainers.seeding import generator


def test_a_generator_depends_on_its_key_alone() -> None:
    def draw(*key: int | str) -> list[int]:
        return torch.randint(1 << 30, (4,), generator=generator(*key)).tolist()

    assert draw("a", 1) == draw("a", 1)
    assert draw("a", 1) != draw("a", 2)
    # Joining the parts of a key without a separator would make these two equal.
    assert draw("a", 11, 1) != draw("a", 1, 11)
