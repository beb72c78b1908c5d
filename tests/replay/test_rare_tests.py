"""A pass rate whose tests count by how few programs pass them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pper_jax.loop.store import rare_pass_rates


def verdict(task, *passed, status=None):
    tests = [{"status": "pass" if one else "fail"} for one in passed]
    rate = sum(passed) / len(passed)
    return {"task_id": task, "status": status or ("pass" if rate == 1 else "fail"), "pass_rate": rate, "tests": tests}


def test_a_test_counts_by_the_share_of_the_tasks_programs_that_fail_it():
    programs = ("a", (1, 1, 0)), ("a", (1, 0, 0)), ("b", (1, 0)), ("a", (1, 1, 1)), ("a", (1, 0, 0))
    rows = [verdict(task, *passed) for task, passed in programs]
    # of four programs for a and one that fails all, 1/5, 3/5 and 4/5 fail the first, second and third test
    assert rare_pass_rates(rows) == pytest.approx([4 / 8, 1 / 8, 0.5 / 1.5, 1, 1 / 8])


def test_a_fault_of_ours_judges_no_test():
    rows = [verdict("a", 1, 0), verdict("a", 0, 1), verdict("a", 0, 0, status="infrastructure")]
    assert rare_pass_rates(rows) == [0.5, 0.5, 0]


def test_who_passes_all_has_1_and_who_passes_none_0_whatever_the_others_do():
    assert rare_pass_rates([verdict("a", 1, 1), verdict("a", 1, 1), verdict("a", 0, 0)]) == [1, 1, 0]
    assert rare_pass_rates([verdict("a", 0, 0)]) == [0]


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=8))
def test_rates_are_shares_and_one_is_a_program_that_passes_all(table):
    rates = np.array(rare_pass_rates([verdict("a", *row) for row in table]))
    assert ((rates >= 0) & (rates <= 1)).all()
    assert ((rates == 1) == np.array(table).all(1)).all()
    assert ((rates == 0) == ~np.array(table).any(1)).all()
    for better, row in zip(rates, table, strict=True):  # who passes all that the other passes has no less
        for worse, other in zip(rates, table, strict=True):
            assert better >= worse - 1e-12 or not all(a >= b for a, b in zip(row, other, strict=True))
