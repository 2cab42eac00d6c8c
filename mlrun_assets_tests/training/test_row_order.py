from __future__ import annotations


def test_the_order_is_that_of_the_seed_and_the_epoch() -> None:
    import torch

    from mlrun_assets.training.trainer import SeededLengthGroups

    def order(seed: int, epoch: int) -> list[int]:
        torch.manual_seed(len(seen))  # what others draw does not matter
        sampler = SeededLengthGroups(lengths, 4, seed)
        sampler.set_epoch(epoch)
        seen.append(list(sampler))
        return seen[-1]

    seen: list[list[int]] = []
    lengths = [row % 7 for row in range(50)]
    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(1, 0)), tuple(order(1, 1)), tuple(order(7, 0))}) == 3
    assert all(sorted(each) == list(range(50)) for each in seen)


def test_rows_of_like_length_stand_together() -> None:
    from mlrun_assets.training.trainer import SeededLengthGroups

    lengths = [row % 10 for row in range(80)]
    order = [lengths[row] for row in SeededLengthGroups(lengths, 8, 1)]
    spread = [max(order[at : at + 8]) - min(order[at : at + 8]) for at in range(8, 80, 8)]
    assert sum(spread) / len(spread) < 6
