import numpy as np
import pytest

from mlrun_assets.metrics import over_seeds, seed_scores


def test_the_spread_over_seeds_is_that_of_a_sample() -> None:
    truth = np.array([0, 1, 0, 1, 0, 1])
    guesses = ([0, 1, 0, 1, 0, 1], [0, 1, 0, 1, 0, 0], [0, 1, 0, 1, 1, 0])
    seeds = tuple(seed_scores(seed, truth, np.array(said)) for seed, said in enumerate(guesses))
    assert [seed.accuracy for seed in seeds] == pytest.approx([1.0, 5 / 6, 4 / 6])
    assert seeds[2].f1_macro == pytest.approx(2 / 3)
    spread = over_seeds(seeds)
    assert spread is not None
    assert (spread.accuracy.mean, spread.accuracy.sd) == pytest.approx((5 / 6, 1 / 6))
    assert over_seeds(seeds[:1]) is over_seeds(()) is None
