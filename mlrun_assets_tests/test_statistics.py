import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import multinomial
from sklearn.metrics import f1_score

from mlrun_assets.records import Score
from mlrun_assets.statistics import (
    accept_threshold,
    bootstrap_f1,
    confusion_matrix,
    f1_of_confusion,
    mcnemar_exact,
    mcnemar_power,
    paired_f1_difference,
    paired_proportion_difference,
    rows_behind_macro_average,
    rows_to_accept,
    rows_to_settle,
    rows_to_show,
    smallest_difference,
    wilson_interval,
)

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(pairs, st.sampled_from(["macro", "weighted"]))
def test_f1_of_a_confusion_is_that_of_scikit_learn_for_labels_with_rows(
    rows: list[tuple[int, int]], average: str
) -> None:
    truth, guess = (np.array(column) for column in zip(*rows, strict=True))
    ours = f1_of_confusion(confusion_matrix(truth, guess, 4), average)  # type: ignore[arg-type]
    theirs = f1_score(truth, guess, labels=np.unique(truth), average=average, zero_division=0)
    assert float(ours) == pytest.approx(theirs)


@pytest.mark.parametrize(("rows", "points"), [(204, 6.5), (294, 5.5), (1000, 3.0)])
def test_smallest_differences_of_the_design(rows: int, points: float) -> None:
    difference = smallest_difference(rows, 0.10)
    assert difference is not None
    assert points - 0.5 < difference * 100 <= points  # the design counts in half points
    assert mcnemar_power(rows, difference, 0.10) == pytest.approx(0.8, abs=0.001)


def test_few_rows_show_no_difference_or_just_a_large_one() -> None:
    assert smallest_difference(0, 0.10) is smallest_difference(5, 0.10) is None
    assert (smallest_difference(20, 0.10) or 0.0) > 0.3


def test_rare_labels_weigh_balanced_rows_count_whole_and_absent_labels_not_at_all() -> None:
    by_hand = 9 / (1 / 380 + 1 / 40 + 1 / 40)
    assert rows_behind_macro_average(np.array([380, 40, 40])) == pytest.approx(by_hand)
    assert rows_behind_macro_average(np.array([50, 50, 0])) == pytest.approx(100)
    assert rows_behind_macro_average(np.array([0, 0])) == 0.0


@pytest.mark.parametrize("right", [(0.9, 0.75, 0.8), (0.98, 0.97, 0.99)])
@pytest.mark.parametrize("shares", [(1 / 3, 1 / 3, 1 / 3), (0.7, 0.2, 0.1)])
def test_bootstrap_interval_covers_the_true_f1_in_simulation(
    shares: tuple[float, ...], right: tuple[float, ...]
) -> None:
    """A test split is drawn whole: how many rows a label has is chance as well."""
    generator, trials, covered = np.random.default_rng(1), 400, 0
    wrong = (1 - np.array(right)) / 2
    chances = np.diag(right) + (1 - np.eye(3)) * wrong[:, None]
    chances *= np.array(shares)[:, None]
    true_f1 = float(f1_of_confusion(np.rint(chances * 1e6).astype(np.int64), "macro"))
    for trial in range(trials):
        confusion = generator.multinomial(150, chances.ravel()).reshape(3, 3)
        low, high = bootstrap_f1(confusion, "macro", 500, 0.95, trial)
        covered += low <= true_f1 <= high
    assert covered / trials >= 0.93


@given(
    st.lists(st.integers(0, 12), min_size=2, max_size=4).filter(any),
    st.sampled_from(["macro", "weighted"]),
    st.booleans(),
)
@example([1, 1], "macro", True)
def test_rows_that_are_all_right_or_all_wrong_leave_a_doubt(
    support: list[int], average: str, right: bool
) -> None:
    confusion = np.diag(support) if right else np.roll(np.diag(support), 1, axis=1)
    low, high = bootstrap_f1(confusion, average, 500, 0.95, 0)  # type: ignore[arg-type]
    assert (0 <= low < high == 1) if right else (0 == low < high <= 1)


def test_thirty_rows_that_are_all_right_say_no_more_than_wilson() -> None:
    low, _ = bootstrap_f1(np.diag([10, 10, 10]), "macro", 4000, 0.95, 0)
    assert low == pytest.approx(wilson_interval(30, 30, 0.95)[0], abs=0.02)


def test_bootstrap_is_the_same_for_the_same_seed() -> None:
    confusion = np.array([[8, 2], [3, 7]])
    one, again = (bootstrap_f1(confusion, "macro", 2000, 0.95, 3) for _ in range(2))
    assert one == again


def test_many_labels_take_little_memory() -> None:
    """2,000 matrices of 100 labels would take 160 MB, all pairs for each of 300 labels 216 MB."""
    labels, drawn = 100, np.random.default_rng(0)
    truth = np.arange(200) % labels
    guess, other = (np.where(drawn.random(200) < 0.7, truth, each) for each in (0, 1))
    tracemalloc.start()
    one = bootstrap_f1(confusion_matrix(truth, guess, labels), "macro", 2000, 0.95, 3)
    difference = paired_f1_difference(truth, (guess, other), "macro", (2000, 0.95, 3))
    every = np.arange(300)
    paired_f1_difference(every, (every, every), "macro", (10, 0.95, 3))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 80e6
    # As when all were drawn at once.
    assert one == pytest.approx((0.5895670703, 0.7084380341))
    assert (difference.low, difference.high) == pytest.approx((-0.0828178373, 0.0480973159))


def test_multinomial_bootstrap_is_that_of_drawn_rows() -> None:
    generator = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [50, 30, 20])
    guess = np.where(generator.random(100) < 0.8, truth, (truth + 1) % 3)
    ours = bootstrap_f1(confusion_matrix(truth, guess, 3), "macro", 8000, 0.95, 0)
    drawn = []
    for _ in range(600):
        rows = generator.integers(0, 100, 100)
        drawn.append(f1_score(truth[rows], guess[rows], average="macro"))
    assert ours == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.025)


def test_a_model_is_as_good_as_itself_and_more_rows_make_that_surer() -> None:
    half_widths = []
    for times in (10, 100):
        truth = np.tile([0, 1, 2, 1, 0], times)
        guess = np.tile([0, 1, 1, 1, 2], times)
        difference = paired_f1_difference(truth, (guess, guess), "macro", (4000, 0.95, 0))
        assert difference.value == 0.0
        assert difference.low < 0 < difference.high
        half_widths.append((difference.high - difference.low) / 2)
    # What one row each way may do: 1.96 times the root of two rows, as in Bonett and Price (2012).
    assert half_widths[0] == pytest.approx(0.06, abs=0.03)
    assert half_widths[1] < half_widths[0] / 5


@pytest.mark.parametrize("absent", [0, 1, 2, 3])
def test_a_label_without_rows_makes_no_difference_whichever_it_is(absent: int) -> None:
    present = np.delete(np.arange(4), absent)
    truth, said = np.repeat(present, 300), np.tile([0, 1, 2, 0, 1, 2, 0, 1, 2, 2], 90)
    guess = np.where(np.arange(900) % 5 == 0, present[said], truth)
    difference = paired_f1_difference(truth, (guess, guess), "macro", (2000, 0.95, 1))
    assert -0.005 < difference.low < 0 < difference.high < 0.005


def test_paired_difference_has_the_sign_of_the_better_model_and_swaps() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 300)
    good = np.where(generator.random(300) < 0.9, truth, (truth + 1) % 3)
    poor = np.where(generator.random(300) < 0.6, truth, (truth + 1) % 3)
    better = paired_f1_difference(truth, (good, poor), "macro", (4000, 0.95, 0))
    worse = paired_f1_difference(truth, (poor, good), "macro", (4000, 0.95, 1))
    assert better.low > 0.0
    assert worse.value == pytest.approx(-better.value)
    assert worse.high == pytest.approx(-better.low, abs=0.02)


def test_paired_proportions_have_the_interval_of_newcombe() -> None:
    difference = paired_proportion_difference((36, 12, 2, 0), 0.95)
    assert difference.value == pytest.approx(0.2)
    assert (difference.low, difference.high) == pytest.approx((0.0569, 0.3404), abs=1e-4)


counts = st.integers(0, 50)


@given(st.tuples(counts, counts, counts, counts).filter(any))
def test_an_interval_of_paired_proportions_holds_their_difference_and_keeps_within_one(
    outcomes: tuple[int, int, int, int],
) -> None:
    loss = paired_proportion_difference(outcomes, 0.95)
    assert -1 - 1e-9 <= loss.low <= loss.value <= loss.high <= 1 + 1e-9
    assert loss.high - loss.low > 0.01


def test_intervals_of_paired_proportions_cover_the_true_difference_in_simulation() -> None:
    generator = np.random.default_rng(0)
    for shares in ([0.75, 0.12, 0.05, 0.08], [0.94, 0.03, 0.02, 0.01], [0.5, 0.2, 0.2, 0.1]):
        drawn, times = np.unique(
            generator.multinomial(40, shares, size=4000), axis=0, return_counts=True
        )
        intervals = [paired_proportion_difference(tuple(each), 0.95) for each in drawn.tolist()]
        true = shares[1] - shares[2]
        covered = np.array([each.low <= true <= each.high for each in intervals])
        assert times[covered].sum() / times.sum() >= 0.94


def test_intervals_and_power_are_those_of_statsmodels() -> None:
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.proportion import proportion_confint

    for first, second in ((0, 0), (0, 5), (3, 11), (12, 12), (40, 21)):
        theirs = mcnemar([[7, first], [second, 9]], exact=True).pvalue
        assert mcnemar_exact(first, second) == pytest.approx(theirs)
    for right, rows in ((0, 5), (5, 5), (86, 100), (235, 294)):
        theirs = proportion_confint(right, rows, alpha=0.05, method="wilson")
        assert wilson_interval(right, rows, 0.95) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(("rows", "difference", "discordance"), [(12, 0.3, 0.5), (20, 0.4, 0.4)])
def test_power_is_that_of_all_outcomes(rows: int, difference: float, discordance: float) -> None:
    first, second = (discordance + difference) / 2, (discordance - difference) / 2
    power = sum(
        multinomial.pmf([one, other, rows - one - other], rows, [first, second, 1 - discordance])
        for one in range(rows + 1)
        for other in range(rows + 1 - one)
        if mcnemar_exact(one, other) <= 0.05
    )
    assert mcnemar_power(rows, difference, discordance) == pytest.approx(power, abs=1e-9)


def test_smallest_difference_and_rows_answer_each_other() -> None:
    rows = rows_to_show(0.05, 0.10)
    assert smallest_difference(rows, 0.10) == pytest.approx(0.05, abs=0.001)


def test_rows_to_settle_are_close_to_those_of_mcnemar() -> None:
    rows, difference, discordance = 300, 0.03, 0.10
    half = 1.96 * np.sqrt((discordance - difference**2) / rows)
    interval = Score(value=difference, low=difference - half, high=difference + half)
    settled = rows_to_settle(rows, interval, 0.0, 0.95)
    assert settled == pytest.approx(rows_to_show(difference, discordance), rel=0.1)


def test_rows_to_settle_grow_near_the_limit_and_end_there() -> None:
    interval = Score(value=0.0, low=-0.04, high=0.04)
    further, nearer = (rows_to_settle(300, interval, limit, 0.95) for limit in (-0.02, -0.01))
    assert further is not None and nearer is not None
    assert 300 < further < nearer
    assert rows_to_settle(300, interval, 0.0, 0.95) is None


@pytest.mark.parametrize("rows", [100, 294])
def test_paired_interval_covers_and_seldom_passes_a_model_worse_by_the_margin(rows: int) -> None:
    """Three balanced labels; only production is right on 2.5 % of the rows, only ours on 0.5 %."""
    generator, trials, margin = np.random.default_rng(5), 250, 0.02
    covered = passed = 0
    for trial in range(trials):
        truth = generator.integers(0, 3, rows)
        wrong = (truth + generator.integers(1, 3, rows)) % 3
        chance = generator.random(rows)
        ours = np.where((chance < 0.825) | (chance > 0.995), truth, wrong)
        theirs = np.where(chance < 0.85, truth, wrong)
        difference = paired_f1_difference(truth, (ours, theirs), "macro", (500, 0.95, trial))
        covered += difference.low <= -margin <= difference.high
        passed += difference.low > -margin
    assert covered / trials >= 0.93
    assert passed / trials <= 0.05


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("min_precision", [0.9, 0.95])
def test_the_precision_of_new_accepted_rows_is_what_was_shown(
    sharpness: float, min_precision: float
) -> None:
    """Whether the model's confidence is too low, right or too high."""
    generator = np.random.default_rng(5)
    chance = generator.beta(4, 1, 200_000)  # of being right, for rows that will come
    confidence = chance ** (1 / sharpness)
    draws, broken, found = 400, 0, 0
    for _ in range(draws):
        rows = generator.integers(0, len(chance), 600)
        right = generator.random(600) < chance[rows]
        threshold = accept_threshold(confidence[rows], right, min_precision)
        found += threshold is not None
        broken += threshold is not None and chance[confidence >= threshold].mean() < min_precision
    assert found > draws / 10
    # 5 % are allowed; 36 or more of 400 would come with a chance of 0.0004.
    assert broken <= 35


def test_a_threshold_needs_rows_and_few_errors() -> None:
    sure = np.full(72, 0.9)
    all_right = np.ones(72, dtype=bool)
    assert accept_threshold(sure, all_right, 0.95) == 0.01  # 0.95 to the power of 72 is 0.0249
    assert rows_to_accept(sure, all_right, 0.95) == 72
    assert accept_threshold(sure[1:], all_right[1:], 0.95) is None
    assert 72 <= (rows_to_accept(sure[1:], all_right[1:], 0.95) or 0) <= 75
    half = np.arange(72) % 2 == 0
    assert accept_threshold(sure, half, 0.95) is None
    assert rows_to_accept(sure, half, 0.95) is None
    mixed = np.concatenate([sure, np.full(72, 0.4)])
    assert accept_threshold(mixed, np.concatenate([all_right, half]), 0.95) == 0.41


def test_wrong_labels_among_the_surest_rows_do_not_hide_all_others() -> None:
    confidences = np.concatenate([np.full(50, 0.99), np.full(250, 0.9)])
    right = np.ones(300, dtype=bool)
    right[:3] = False
    assert accept_threshold(confidences[:50], right[:50], 0.9) is None
    assert accept_threshold(confidences, right, 0.9) == 0.01
