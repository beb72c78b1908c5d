"""A job's own comparison and limits: they hold for it alone, and what a person asks of the pool holds above them."""

import pytest

from pper_jax.errors import UserError
from pper_jax.execution import Job, Limits, TestPool
from pper_jax.execution.compare import answers_match
from pper_jax.execution.rules import Rules, asked_of_pool

TWO_LINES = {"kind": "stdio", "cases": [{"stdin": "", "stdout": "1\n2"}]}
ONE_LINE = "print(1, 2)"
BUSY = "import time\nend = time.process_time() + 1.2\nwhile time.process_time() < end:\n    pass\nprint(1)\nprint(2)\n"
GREEDY = "x = bytearray(600 << 20)\nprint(1)\nprint(2)\n"
LIMITS = Limits(timeout_s=5.0, memory_mb=1024)


def statuses(pool, *jobs):
    return [verdict.status for verdict in pool.run(jobs)]


def test_a_jobs_own_rules_hold_for_it_alone():
    jobs = [
        Job(ONE_LINE, TWO_LINES),
        Job(ONE_LINE, TWO_LINES, compare="tokens"),
        Job(ONE_LINE, TWO_LINES),  # the same program again, by the pool's rule: no verdict of another rule is its own
        Job(BUSY, TWO_LINES, limits={"seconds": 0.3}),
        Job(BUSY, TWO_LINES),
        Job(GREEDY, TWO_LINES, limits={"memory_mb": 256}),
        Job(GREEDY, TWO_LINES),
        Job("print(1)\nprint(2)", TWO_LINES, limits={"memory_mb": 256, "seconds": 0.5}),
    ]
    expected = ["fail", "pass", "fail", "timeout", "pass", "memory", "pass", "pass"]
    with TestPool(workers=1, limits=LIMITS) as pool:
        assert statuses(pool, *jobs) == expected
        assert statuses(pool, *reversed(jobs)) == expected[::-1]


def test_a_longer_time_of_its_own_is_waited_for():
    with TestPool(workers=1, limits=Limits(timeout_s=0.3)) as pool:
        assert statuses(pool, Job(BUSY, TWO_LINES), Job(BUSY, TWO_LINES, limits={"seconds": 5})) == ["timeout", "pass"]


def test_what_is_asked_of_the_pool_holds_above_what_a_job_has():
    own = {"compare": "tokens", "limits": {"seconds": 9, "memory_mb": 512}}
    job = Job(ONE_LINE, TWO_LINES, **own)
    for named, expected in (
        ((None, None, None), ("tokens", 9, 512)),
        (("official", None, None), ("official", 9, 512)),
        ((None, 1.0, None), ("tokens", 1.0, 512)),
        ((None, None, 64), ("tokens", 9, 64)),
    ):
        pool = TestPool(workers=1, **asked_of_pool(*named, trusted_s=3.0))
        limits, compare, _ = pool.rules.of(job)
        assert (compare, limits.timeout_s, limits.memory_mb) == expected
        assert limits.trusted_s == 3.0
        limits, compare, _ = pool.rules.of(Job(ONE_LINE, TWO_LINES))  # and for one that has nothing
        assert (compare, limits.timeout_s, limits.memory_mb) == (
            named[0] or "strict",
            named[1] or 4.0,
            named[2] or 1024,
        )


def test_verdicts_by_different_rules_have_different_keys():
    rules = Rules(LIMITS, "strict", "all", "program", ())
    jobs = [{}, {"compare": "tokens"}, {"limits": {"seconds": 1}}, {"limits": {"memory_mb": 64}}]
    assert len({rules.of(Job("", TWO_LINES, **own))[2] for own in jobs}) == 4
    assert rules.of(Job("", TWO_LINES, compare="strict")) == rules.of(Job("", TWO_LINES))


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"compare": "number"}, "compare is 'number'; for tests of kind `stdio` use one of strict, tokens, official"),
        ({"limits": {"output_mb": 1}}, "they may hold seconds and memory_mb"),
        ({"limits": {"seconds": -1}}, "limits.timeout_s is -1"),
    ],
)
def test_rules_that_there_are_not_are_refused(own, words):
    with TestPool(workers=1) as pool, pytest.raises(UserError, match=words):
        pool.run([Job(ONE_LINE, TWO_LINES, **own)])
    with pytest.raises(UserError, match="overrule names 'stop'"):
        TestPool(overrule=("stop",))


@pytest.mark.parametrize(
    ("text", "expected", "number", "exact"),
    [
        ("so 3 + 4 = 7", "7", True, False),
        ("#### 7", "7", True, True),
        ("It is $1,234.00.", "1234", True, False),
        ("-$5", "-5", True, False),
        ("#### 7 apples, not 9", "7", True, False),
        ("first #### 1, then #### 2", "2", True, True),
        ("7 apples and 9 pears", "7", False, False),
        ("", "7", False, False),
        ("9 9 3", "1 2 3", True, False),  # by number an order is right whose last number is
        ("  1  2\n3 ", "1 2 3", True, True),
        (" Ada", "Ada", True, True),
        ("Ada.", "Ada", False, False),
        ("1e5", "5", True, False),
    ],
)
def test_an_answer_by_number_and_by_its_exact_words(text, expected, number, exact):
    assert answers_match(text, expected, "number") is number
    assert answers_match(text, expected, "exact") is exact


def test_a_rule_for_answers_is_never_overruled():
    tests = {"kind": "answer", "expected": "1 2 3"}
    with TestPool(workers=1, **asked_of_pool("tokens", None, None)) as pool:
        jobs = [Job("3 3 3", tests), Job("3 3 3", tests, compare="exact"), Job("1 2 3", tests, compare="exact")]
        assert statuses(pool, *jobs) == ["pass", "fail", "pass"]
