"""Files larger than memory are converted: what is held does not grow with them. Prints the memory that it took."""

import json
import subprocess
import sys

import pytest
from published import CODECONTESTS_ROW

pytestmark = pytest.mark.slow
LINES = 1_000_000
GIB = 1 << 30
PEAK_MIB = 400  # of a process that has Python, pyarrow and a few rows in memory; the sources have 280 MB and 2 GiB


def converted(name, source, out):
    """Convert in a process of its own; how many tasks, and the most memory that it had, in MiB."""
    script = (
        "import resource, sys\nfrom pper_jax.cli import main\n"
        f"code = main(['tasks', 'convert', {name!r}, {str(source)!r}, {str(out)!r}])\n"
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\nsys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, peak = (int(word) for word in done.stdout.split() if word.isdigit())
    print(f"{name}: {source.stat().st_size / 1e6:.0f} MB, {count} tasks, peak {peak} MiB of resident memory")
    return count, peak


def test_a_tasks_file_of_a_million_lines(tmp_path):
    source = tmp_path / "tasks.jsonl"
    row = {"prompt": "p" * 150, "tests": {"kind": "answer", "expected": "4"}, "stop": [], "source": "made"}
    with source.open("w") as file:
        for number in range(LINES):
            file.write(json.dumps({"task_id": f"made/{number}", **row}) + "\n")
    count, peak = converted("tasks", source, tmp_path / "out.jsonl")
    assert count == LINES
    assert peak < PEAK_MIB
    assert (tmp_path / "out.jsonl").stat().st_size == source.stat().st_size


def test_a_parquet_file_of_two_gib(tmp_path):
    import random

    import pyarrow
    import pyarrow.parquet

    source = tmp_path / "train.parquet"
    rng = random.Random(0)
    rows, schema = 0, None
    size = 1 << 18
    with source.open("wb") as file:
        writer = None
        while file.tell() < 2 * GIB:
            batch = []
            for _ in range(64):
                text = rng.randbytes(size // 2).hex()
                tests = {"input": [text], "output": ["1"]}
                batch.append({**CODECONTESTS_ROW, "name": f"made {rows}", "generated_tests": tests})
                rows += 1
            table = pyarrow.Table.from_pylist(batch, schema=schema)
            if writer is None:
                schema = table.schema
                writer = pyarrow.parquet.ParquetWriter(file, schema, compression="none", use_dictionary=False)
            writer.write_table(table, row_group_size=64)
        writer.close()
    count, peak = converted("codecontests", source, tmp_path / "out.jsonl")
    assert count == rows
    assert peak < PEAK_MIB
