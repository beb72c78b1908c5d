"""The interval of a study: arms that were trained with several seeds each and judged on the same tasks.

Seeds and tasks are both drawn from populations and crossed: a seed's run is judged on all tasks. An interval over tasks
alone says nothing of other seeds, one over seeds alone nothing of other tasks.
``pytest -m slow tests/test_crossed_slow.py -s`` prints how often the interval here covers, and the bootstrap's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pper_jax.evaluation.intervals import LEVEL, Interval, wilson_interval

RESAMPLES = 2000
POWER = 0.8
LEAST_SHARE = 0.25  # of the noise's mean square, that the variance counts for at least
_NAN = float("nan")
_SAME = 1e-9


@dataclass(frozen=True)
class Crossed:
    """Mean difference of an arm from the reference, over seeds and tasks; in the unit of a pass rate, 1 = 100 %.

    Attributes:
        difference: mean over seeds and tasks.
        low: lower end of its interval.
        high: upper end.
        p: two-sided, that a difference so large or larger comes where there is none.
        least_effect: smallest true difference that a study of this size and noise finds in 80 % of its repetitions.
    """

    difference: float
    low: float
    high: float
    p: float
    least_effect: float


def crossed_interval(differences: np.ndarray, *, level: float = LEVEL) -> Crossed:
    """Mean of paired differences over seeds and tasks, with the t interval of the two-way random-effects design.

    With the mean squares of seeds, of tasks and of what neither explains (Searle, Casella and McCulloch 1992, chapter
    4), the mean's variance is estimated by ``(MS_seeds + max(0, MS_tasks - MS_noise)) / (seeds * tasks)``, and by a
    quarter of the noise's share at least, for all seeds may agree by chance. The degrees of freedom are Satterthwaite's
    (1946, Biometrics 2), at least ``seeds - 1``. Nothing is drawn: the same variance under the bootstrap's quantiles
    covered no better than under t's. For 8 seeds and more, 128 tasks and more, it covers 93 to 97 %.

    - *One seed* leaves tasks alone: the interval is over other tasks for this very run, and says nothing of other
      seeds. *One task* leaves seeds alone.
    - *Differences that all agree* show no variance. By Wilson at most so large a share of the tasks' population differs
      (other seeds might agree again), and that by 1 at most: those are the ends, around exactly the difference.
    - *Few tasks that change, all one way*: where 2 % of 128 gain, none loses and no seed differs, it covers 88 %.

    Args:
        differences: ``[seeds, tasks]`` float in -1..1; the arm's pass rate minus the reference's, of the run of one
            seed on one task. NaN: not judged. A task that a seed lacks is left out for all of them.
        level: probability that the interval is to cover.

    Returns:
        All fields NaN where no task is left.

    Raises:
        ValueError: not two axes, or a value outside -1..1.
    """
    values = _judged(differences)
    if values.size == 0:
        return Crossed(_NAN, _NAN, _NAN, _NAN, _NAN)
    from scipy.special import stdtr, stdtrit  # jax brings it; imported late, for few figures need it

    mean = float(values.mean())
    if np.ptp(values) < _SAME:
        mean, error, freedom = float(values[0, 0]), *_agreeing_error(values.shape[1], level)
    else:
        error, freedom = _standard_error(values)
    quantile = float(stdtrit(freedom, (1 + level) / 2))
    return Crossed(
        difference=mean,
        low=max(-1.0, mean - quantile * error),
        high=min(1.0, mean + quantile * error),
        p=float(2 * stdtr(freedom, -abs(mean) / error)),
        least_effect=(quantile + float(stdtrit(freedom, POWER))) * error,
    )


def crossed_bootstrap(
    differences: np.ndarray, *, seed: int, resamples: int = RESAMPLES, level: float = LEVEL
) -> Interval:
    """Percentiles of the mean over seeds and tasks drawn again, both with replacement (Owen 2007, Ann. Appl. Stat. 1).

    For comparison. It counts the noise three times, so that where noise prevails it covers nearly 100 %, and it does
    not know how little few seeds say, so that where 8 seeds prevail it covers 89 to 94 %.

    Args:
        differences: as in :func:`crossed_interval`.
        seed: of the resampling.
        resamples: how many.
        level: probability that the interval is to cover.

    Returns:
        ``(low, high)``; NaN where no task is left.

    Raises:
        ValueError: not two axes, or a value outside -1..1.
    """
    values = _judged(differences)
    if values.size == 0:
        return _NAN, _NAN
    rng = np.random.default_rng(seed)
    of_seeds, of_tasks = (rng.multinomial(size, np.full(size, 1 / size), resamples) / size for size in values.shape)
    low, high = np.quantile(((of_seeds @ values) * of_tasks).sum(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _judged(differences: np.ndarray) -> np.ndarray:
    """``[seeds, tasks]`` of the tasks that every seed's runs were judged on."""
    if differences.ndim != 2:
        raise ValueError(f"differences need the axes [seeds, tasks], not the shape {differences.shape}")
    values = np.asarray(differences, np.float64)[:, ~np.isnan(differences).any(0)]
    if values.size and np.abs(values).max() > 1 + _SAME:
        raise ValueError(
            f"differences of pass rates lie in -1..1; these go from {values.min():g} to {values.max():g}; give shares"
        )
    return values


def _standard_error(values: np.ndarray) -> tuple[float, float]:
    """Standard error of the mean of ``values [seeds, tasks]``, which do not all agree, and its degrees of freedom."""
    seeds, tasks = values.shape
    mean, of_seeds, of_tasks = values.mean(), values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    if seeds == 1 or tasks == 1:
        return float(values.std(ddof=1) / np.sqrt(values.size)), values.size - 1.0
    ours = tasks * np.square(of_seeds - mean).sum() / (seeds - 1)
    theirs = seeds * np.square(of_tasks - mean).sum() / (tasks - 1)
    noise = np.square(values - of_seeds - of_tasks + mean).sum() / ((seeds - 1) * (tasks - 1))
    variance, spread = ours, ours**2 / (seeds - 1)
    if theirs > noise:
        variance = ours + theirs - noise
        spread += theirs**2 / (tasks - 1) + noise**2 / ((seeds - 1) * (tasks - 1))
    freedom = max(seeds - 1.0, variance**2 / spread) if spread > 0 else seeds - 1.0
    return float(np.sqrt(max(variance, LEAST_SHARE * noise) / values.size)), float(freedom)


def _agreeing_error(tasks: int, level: float) -> tuple[float, float]:
    """Standard error whose normal interval is as wide as Wilson's share of what ``tasks`` tasks did not show."""
    from scipy.special import stdtrit

    quantile = float(stdtrit(np.inf, (1 + level) / 2))
    return wilson_interval(0, tasks, quantile)[1] / quantile, np.inf
