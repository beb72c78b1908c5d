"""GSM8K (Cobbe et al., 2110.14168): grade-school sums in words; the answer is the number behind ``####``."""

from __future__ import annotations

from pper_jax.tasks.left_out import LeftOut
from pper_jax.tasks.rows import Row, require
from pper_jax.tasks.task import Task

FORMS = ({"question": str, "answer": str},)
STOPS = ("\nQuestion:", "\n\n\n")


def problem(row: Row) -> Task | LeftOut:
    """The task of a row of the published files, or of the hub's ``main`` and ``socratic``.

    A program is the text of an answer: judged is the number behind its ``####``, else its last one, but for thousands
    separators, a currency sign, a trailing period and zeros behind the point (:mod:`pper_jax.execution.compare`).
    """
    fields = require(row, FORMS, "GSM8K problem")
    task_id = f"gsm8k/{row.split or 'all'}/{row.number}"
    _, mark, answer = fields["answer"].rpartition("####")
    if not mark or not answer.strip():
        return LeftOut(task_id, "its answer has no number behind ####", fault=True)
    question = fields["question"].strip()
    return Task(
        task_id=task_id,
        prompt=f"Question: {question}\nAnswer:",
        tests={"kind": "answer", "expected": answer.strip().replace(",", "")},
        stop=STOPS,
        reference=" " + fields["answer"].strip(),
        source="gsm8k",
        split=row.split,
        compare="number",
        statement=question,
    )
