"""A round may take some of the tasks: the next ones, in the order that is asked for."""

import pytest
from small_runs import rows, small

from pper_jax.errors import UserError
from pper_jax.loop import run
from pper_jax.loop.config import TaskSetConfig
from pper_jax.loop.parts import task_set


def tasks_by_round(folder, rounds):
    """The ids of the tasks that each round wrote programs for."""
    samples = [rows(folder.samples(f"round_{index:03d}")) for index in range(1, rounds + 1)]
    return [list(dict.fromkeys(row["task_id"] for row in of_round)) for of_round in samples]


def test_rounds_take_the_next_tasks_in_their_order_and_begin_again(tmp_path, tiny_model_folder):
    asked = {"source": "micro_python", "split": "train_bands", "count": 8, "seed": 3, "order": "reversed"}
    changes = {"rounds": 3, "tasks_per_round": 3, "tasks__train": asked, "train__steps": 1}
    folder = run(small(tmp_path, model=str(tiny_model_folder), tasks__eval={}, **changes))
    ids = [task.task_id for task in task_set(TaskSetConfig(**asked), 0, "tasks.train")]
    assert tasks_by_round(folder, 3) == [ids[:3], ids[3:6], [*ids[6:], ids[0]]]
    assert [task_id.split("/")[1] for task_id in ids] == [f"train_band{band}" for band in (4, 4, 3, 3, 2, 2, 1, 1)]


def test_orders_are_of_the_same_tasks_and_belong_to_the_seed():
    def ids(order, seed=0):
        spec = TaskSetConfig("micro_python", "train", 12, order=order)
        return [task.task_id for task in task_set(spec, seed, "tasks.train")]

    listed = ids("listed")
    assert ids("reversed") == listed[::-1]
    assert ids("shuffled") != listed
    assert sorted(ids("shuffled")) == sorted(listed)
    assert ids("shuffled") == ids("shuffled")
    assert [listed.index(name) for name in ids("shuffled")] != [
        ids("listed", 1).index(name) for name in ids("shuffled", 1)
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tasks_per_round": 5}, "tasks_per_round is 5, and tasks.train has 4; lower it"),
        ({"tasks_per_round": 2, "teacher": "micro"}, "a teacher writes once in a run, for all tasks"),
        ({"tasks_per_round": -1}, "tasks_per_round is -1"),
    ],
)
def test_what_no_round_can_take_is_refused(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        run(small(tmp_path, **changes))
    assert not (tmp_path / "run").exists()
