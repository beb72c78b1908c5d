"""Where a round's programs come from is a part of its own."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from small_runs import rows, small

from pper_jax.decode import SampleConfig, StochasticBeamConfig
from pper_jax.errors import UserError
from pper_jax.loop import run
from pper_jax.loop.origins import open_source
from pper_jax.loop.sources import ModelSource
from pper_jax.programs import LanguageModel

REFERENCE = "    return 0\n"


def test_a_run_learns_from_a_samples_file_under_its_own_log_probs(tmp_path):
    first = run(small(tmp_path, "first"))
    written = rows(first.samples("round_001"))
    theirs = tmp_path / "theirs.jsonl"
    kept = ("task_id", "completion", "tokens", "stop_reason")
    theirs.write_text("".join(json.dumps({key: row[key] for key in kept}) + "\n" for row in written))
    second = run(small(tmp_path, "second", samples=str(theirs)))
    again = rows(second.samples("round_001"))
    assert [row["tokens"] for row in again] == [row["tokens"] for row in written]
    assert [row["logprob"] for row in again] == pytest.approx([row["logprob"] for row in written], rel=1e-4)
    assert len(rows(second.draws(1))) == 32


def test_programs_may_come_from_any_decoding_method(tmp_path):
    import jax

    method = SampleConfig(num_samples=3, temperature=1.0, max_new_tokens=16)
    folder = run(small(tmp_path), source=ModelSource(method, batch_size=4, key=jax.random.key(5)))
    assert len(rows(folder.samples("round_001"))) == 4 * 3


@dataclass(frozen=True)
class Constant:
    """A source of a user's own: one program for every task."""

    completion: str

    def write(self, model: LanguageModel, tasks, path, *, round_index, label):
        from pper_jax.loop.sources import FileSource

        file = path.with_suffix(".constant")
        file.write_text(
            "".join(json.dumps({"task_id": t.task_id, "completion": self.completion}) + "\n" for t in tasks)
        )
        samples = FileSource(str(file)).write(model, tasks, path, round_index=round_index, label=label)
        file.unlink()
        return [replace(sample, rank=0) for sample in samples]


def test_a_source_of_ones_own(tmp_path):
    folder = run(small(tmp_path), source=Constant(REFERENCE))
    written = rows(folder.samples("round_001"))
    assert {row["completion"] for row in written} == {REFERENCE}
    assert np.isfinite([row["logprob"] for row in written]).all()


@pytest.mark.parametrize(("method", "kind"), [("sample", SampleConfig), ("stochastic-beam", StochasticBeamConfig)])
def test_the_loop_draws_its_programs_where_it_is_asked_to(tmp_path, method, kind):
    def opened(seed):
        config = small(tmp_path, beam__method=method, beam__temperature=0.8, beam__width=3, seed=seed)
        return open_source(config, [], "float32", None)[0]

    assert opened(1).method == kind(num_samples=3, max_new_tokens=40, temperature=0.8)
    assert opened(1).key == opened(1).key != opened(2).key


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"beam__temperature": 0.5}, "temperature is 0.5, and method beam draws nothing"),
        ({"beam__method": "sample", "beam__length_penalty": 1.0}, "length_penalty is 1.0, and method sample has none"),
        ({"beam__method": "sample", "beam__temperature": 0}, "temperature is 0"),
        ({"beam__method": "magic"}, "beam.method is 'magic'; choose one of beam, sample, stochastic-beam"),
    ],
)
def test_numbers_of_another_method_are_refused(tmp_path, changes, said):
    with pytest.raises(UserError) as error:
        small(tmp_path, **changes)
    assert said in str(error.value)
