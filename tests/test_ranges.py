import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pper_jax.errors import UserError, shown
from pper_jax.ranges import check_file_name, check_number, check_seed


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), True, "1", None, [1], 10**400, 1 + 0j])
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(UserError, match=r"^x is .* it must be a finite number$"):
        check_number("x", value)


@pytest.mark.parametrize(
    ("bounds", "right", "wrong", "words"),
    [
        ({"least": 0, "most": 1}, (0, 1, 0.5), (-0.1, 1.1), "between 0 and 1"),
        ({"above": 0}, (1e-300, 5), (0, -1), "above 0"),
        ({"above": 0, "most": 2}, (2,), (0, 2.1), "above 0 and at most 2"),
        ({"least": 1, "whole": True}, (1, 2**31 - 1), (0, 1.0, True), "a whole number at least 1"),
        ({"least": 1, "whole": True}, (1,), (2**31, 10**400), "at least 1 and below 2147483648"),
        ({"least": 0, "most": 10**12, "whole": True}, (10**12,), (10**12 + 1,), "at most 1000000000000"),
    ],
)
def test_bounds_are_said(bounds, right, wrong, words):
    for value in right:
        check_number("x", value, **bounds)
    for value in wrong:
        with pytest.raises(UserError, match=words):
            check_number("x", value, **bounds)


def test_seeds_are_what_jax_tells_apart():
    import jax

    for seed in (0, 1, 2**32 - 1):
        check_seed("seed", seed)
    for seed in (-1, 2**32, 2**64, 1.0, True):
        with pytest.raises(UserError, match="seed"):
            check_seed("seed", seed)
    first, again = (np.asarray(jax.random.key_data(jax.random.key(seed))) for seed in (1, 2**32 + 1))
    assert (first == again).all()  # why greater seeds are refused


@given(st.text(max_size=250))
def test_a_name_that_is_taken_can_be_a_file(tmp_path_factory, name):
    try:
        check_file_name("name", name)
    except UserError as error:
        assert len(str(error)) < 250  # noqa: PT017
        return
    path = tmp_path_factory.getbasetemp() / f"eval_001_{name}.jsonl.0123456789abcdef"
    path.touch()
    path.unlink()


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "a\0b", "a\nb", "\ud800", "x" * 201, "ü" * 101, 5, None])
def test_a_name_that_cannot_be_a_file_is_refused(name):
    with pytest.raises(UserError, match="name is"):
        check_file_name("name", name)


def test_what_is_shown_is_short():
    endless = []
    endless.append(endless)
    for value in ("x" * 10**6, 16**6000, [[1] * 10**5], endless, b"\0" * 10**6, {"a": "\n" * 100}):
        assert len(shown(value)) <= 80
        assert "\n" not in shown(value)
