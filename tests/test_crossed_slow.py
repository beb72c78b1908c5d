"""How often the interval of a study covers, on 2,000 simulated studies a design; ``-s`` prints the tables.

A study is an arm's paired differences over seeds x tasks. Claimed, and asked for 93 to 97 %, is every design of at
least 8 seeds and 128 tasks whose seeds' means differ by a standard deviation of at most 6 points; but for one: where
hardly anything changes except a few tasks that gain, and seeds do not differ at all. The others are printed.
"""

import numpy as np
import pytest

from pper_jax.evaluation import crossed_bootstrap, crossed_interval, holm

STUDIES, AT_ONCE, RESAMPLES = 2000, 200, 400
BAND = (0.93, 0.97)
LEAST, LEAST_OF_FEW_GAINS = 0.92, 0.88  # in the designs that are not claimed
SIZES = ((3, 64), (5, 64), (5, 128), (8, 64), (8, 128), (8, 320), (12, 128), (12, 320))
SPREADS = (0.0, 0.03, 0.06, 0.1)
FRACTIONS = np.array([0.2, 0.4, 0.6, 0.8, 1.0])  # of a task's five tests


def asked(draw, effect, seeds, tasks, spread):
    if draw is rare and effect == 0.03 and spread == 0:
        return LEAST_OF_FEW_GAINS, 1.0
    return BAND if seeds >= 8 and tasks >= 128 and spread <= 0.06 else (LEAST, 1.0)


def mixed(rng, seeds, tasks):
    """Half of the tasks never change, a tenth changes in every seed alike, the rest anew in every seed."""
    size = (AT_ONCE, seeds, tasks)
    kind = rng.random((AT_ONCE, 1, tasks))
    anew = (rng.binomial(5, 0.3, size) - rng.binomial(5, 0.3, size)) / 5
    return np.where(kind < 0.5, 0, np.where(kind < 0.6, either_way(rng, tasks), anew))


def noise_alone(rng, seeds, tasks):
    """No task differs from another: each seed gains a tenth of them and loses a tenth."""
    return rng.choice([-1.0, 0.0, 1.0], (AT_ONCE, seeds, tasks), p=[0.1, 0.8, 0.1])


def tasks_alone(rng, seeds, tasks):
    """A fifth of the tasks changes, in four of five seeds and always alike."""
    changes = (rng.random((AT_ONCE, 1, tasks)) < 0.2) & (rng.random((AT_ONCE, seeds, tasks)) < 0.8)
    return np.where(changes, either_way(rng, tasks), 0.0)


def rare(rng, seeds, tasks):
    """Each seed gains one task of a hundred and loses one."""
    return rng.choice([-1.0, 0.0, 1.0], (AT_ONCE, seeds, tasks), p=[0.01, 0.98, 0.01])


def none(rng, seeds, tasks):
    return np.zeros((AT_ONCE, seeds, tasks))


def either_way(rng, tasks):
    return rng.choice(FRACTIONS, (AT_ONCE, 1, tasks)) * rng.choice([-1, 1], (AT_ONCE, 1, tasks))


def studies(draw, seeds, tasks, spread, effect):
    """Differences ``[studies, seeds, tasks]`` in -1..1, some at a time, and their mean in the population.

    ``effect`` is made by tasks that gain, 60 points in the mean. Then a seed's run gains (or loses, by the sign of the
    seed's normal draw) as large a share of all tasks as that draw's size.
    """
    rng = np.random.default_rng([seeds, tasks, round(1000 * spread), round(1000 * effect)])
    mean = effect * (1 - spread * np.sqrt(2 / np.pi))
    for _ in range(STUDIES // AT_ONCE):
        values = draw(rng, seeds, tasks)
        gains = rng.random((AT_ONCE, 1, tasks)) < effect / FRACTIONS.mean()
        values = np.where(gains, rng.choice(FRACTIONS, (AT_ONCE, 1, tasks)), values)
        shift = rng.normal(0, spread, (AT_ONCE, seeds, 1))
        yield np.where(rng.random(values.shape) < np.abs(shift), np.sign(shift), values), mean


def coverage(draw, seeds, tasks, spread, effect, ends):
    hits = 0
    for values, mean in studies(draw, seeds, tasks, spread, effect):
        for study in values:
            low, high = ends(study)
            hits += low - 1e-12 <= mean <= high + 1e-12
    return hits / STUDIES


def of_t(study):
    result = crossed_interval(study)
    return result.low, result.high


def of_bootstrap(study):
    return crossed_bootstrap(study, seed=0, resamples=RESAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 0.03, 0.1])
@pytest.mark.parametrize("draw", [mixed, noise_alone, tasks_alone, rare])
def test_the_interval_covers(draw, effect):
    outside = []
    for seeds, tasks in SIZES:
        row = [coverage(draw, seeds, tasks, spread, effect, of_t) for spread in SPREADS]
        print(f"\n| {draw.__name__} | {effect} | {seeds} x {tasks} |", *(f"{100 * each:.1f} |" for each in row), end="")
        for spread, each in zip(SPREADS, row, strict=True):
            least, most = asked(draw, effect, seeds, tasks, spread)
            outside += [] if least <= each <= most else [(seeds, tasks, spread, each)]
    assert not outside


@pytest.mark.slow
@pytest.mark.parametrize("draw", [mixed, noise_alone, tasks_alone, rare])
def test_the_bootstrap_covers_no_better(draw):
    ours = [coverage(draw, 8, 128, spread, 0.0, of_t) for spread in SPREADS]
    theirs = [coverage(draw, 8, 128, spread, 0.0, of_bootstrap) for spread in SPREADS]
    print(f"\n| {draw.__name__}, bootstrap | 0.0 | 8 x 128 |", *(f"{100 * each:.1f} |" for each in theirs), end="")
    assert max(abs(each - 0.95) for each in theirs) > max(abs(each - 0.95) for each in ours)


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.012, 0.03])
def test_gains_of_few_tasks_alone_are_covered_less(effect):
    """No claim but a known limit: no noise, no losses, 2 or 5 % of the tasks gain."""
    row = []
    for seeds, tasks in ((8, 128), (8, 320), (12, 320)):
        row.append(coverage(none, seeds, tasks, 0.0, effect, of_t))
        print(f"\n| gains alone | {effect} | {seeds} x {tasks} | {100 * row[-1]:.1f} |", end="")
    assert min(row) >= 0.86


@pytest.mark.slow
@pytest.mark.parametrize("spread", SPREADS)
def test_holm_keeps_the_false_alarms_of_eight_arms_that_share_their_reference(spread):
    """Nine arms that are one in truth, 8 seeds, 128 tasks; half of the tasks take to each arm in their own way."""
    rng, arms, seeds, tasks, single, family = np.random.default_rng(round(1000 * spread)), 9, 8, 128, 0, 0
    for _ in range(STUDIES):
        base, own = rng.beta(0.5, 0.5, (1, 1, tasks)), rng.beta(0.5, 0.5, (arms, 1, tasks))
        chance = np.where(rng.random((arms, 1, tasks)) < 0.5, own, base)
        shift = rng.normal(0, spread, (arms, seeds, 1))
        rates = rng.binomial(5, np.broadcast_to(chance, (arms, seeds, tasks))) / 5
        rates = np.where(rng.random(rates.shape) < np.abs(shift), shift > 0, rates)
        p_values = [crossed_interval(arm - rates[0]).p for arm in rates[1:]]
        single += sum(p <= 0.05 for p in p_values)
        family += min(holm(p_values)) <= 0.05
    alone, together = single / STUDIES / 8, family / STUDIES
    print(f"\n| {spread} | one arm {100 * alone:.1f} | any of 8 after Holm {100 * together:.1f} |", end="")
    assert together <= 0.05 + 1.96 * np.sqrt(0.05 * 0.95 / STUDIES)
    assert 0.03 <= alone <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize("draw", [mixed, tasks_alone])
def test_the_least_effect_is_found_four_times_in_five(draw):
    alike = [0.9 * study for values, _ in studies(draw, 8, 128, 0.03, 0.0) for study in values]
    effect = np.mean([crossed_interval(study).least_effect for study in alike])
    found = np.mean([crossed_interval(study + effect).p <= 0.05 for study in alike])
    print(f"\n| {draw.__name__} | least effect {100 * effect:.1f} | found {100 * found:.1f} |", end="")
    assert 0.78 <= found <= 0.84
