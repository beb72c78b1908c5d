"""The house rules of DESIGN: imports run one way, pure rooms do not touch the world, execution never loads jax."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pper_jax"

# A room may import rooms of lower rank, and itself.
RANKS = {
    "errors": 0,
    "arguments": 2,
    "folders": 1,
    "types": 0,
    "memory": 0,
    "terminal": 0,
    "evaluation": 1,
    "execution": 1,
    "files": 1,
    "ranges": 1,
    "settings": 2,
    "sharding": 2,
    "tasks": 2,
    "models": 3,
    "text": 3,
    "decode": 4,
    "replay": 4,
    "train": 4,
    "learn": 5,
    "programs": 5,
    "report": 5,
    "loop": 6,
    "plan": 7,
    "study": 7,
    "bench": 8,
    "pretrain": 7,
    "cli": 9,
}
PURE = ("decode", "replay", "train", "learn", "types", "evaluation")
EFFECTS = {
    "os",
    "io",
    "pathlib",
    "subprocess",
    "time",
    "random",
    "logging",
    "shutil",
    "socket",
    "tempfile",
    "threading",
}


def imports_of(path):
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            if node.module == "pper_jax":
                yield from (f"pper_jax.{alias.name}" for alias in node.names)
            else:
                yield node.module


def room_of(module):
    return module.split(".")[1] if module.startswith("pper_jax.") else None


def files_of(room):
    return [PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").exists() else sorted((PACKAGE / room).rglob("*.py"))


def test_every_file_belongs_to_a_known_room():
    rooms = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()} - {
        "__init__",
        "__pycache__",
        "assets",
        "py",  # py.typed
    }
    assert rooms == set(RANKS)


@pytest.mark.parametrize("room", RANKS)
def test_imports_run_one_way(room):
    files = files_of(room)
    assert files
    for path in files:
        for module in imports_of(path):
            other = room_of(module)
            if other in RANKS and other != room:
                assert RANKS[other] < RANKS[room], f"{path.relative_to(ROOT)} imports {module}, which lies above it"


@pytest.mark.parametrize("room", PURE)
def test_pure_rooms_do_not_touch_the_world(room):
    for path in files_of(room):
        for module in imports_of(path):
            assert module.split(".")[0] not in EFFECTS, f"{path.relative_to(ROOT)} imports {module}"


def test_execution_needs_the_standard_library_alone():
    for path in files_of("execution"):
        for module in imports_of(path):
            top = module.split(".")[0]
            known = top in sys.stdlib_module_names or module.startswith(("pper_jax.execution", "pper_jax.errors"))
            known = known or (path.name, top) == ("ray_pool.py", "ray")  # an extra, which nothing else here imports
            assert known, f"{path.relative_to(ROOT)} imports {module}"


def test_kernels_import_jax_alone():
    for path in (ROOT / "kernels").rglob("*.py"):
        for module in imports_of(path):
            top = module.split(".")[0]
            assert top in {"jax", "pper_kernels"} or top in sys.stdlib_module_names, (
                f"{path.relative_to(ROOT)}: {module}"
            )
    assert not (ROOT / "kernels" / "__init__.py").exists()


def test_the_package_itself_loads_nothing_heavy():
    heavy = {"jax", "numpy", "flax", "transformers", "torch"}
    assert not heavy & {m.split(".")[0] for m in imports_of(PACKAGE / "__init__.py")}
    top_level = [
        n
        for n in ast.parse((PACKAGE / "cli" / "__init__.py").read_text()).body
        if isinstance(n, (ast.Import, ast.ImportFrom))
    ]
    names = {alias.name for n in top_level if isinstance(n, ast.Import) for alias in n.names}
    assert not heavy & names


SOURCES = [path for room in (PACKAGE, ROOT / "kernels") for path in sorted(room.rglob("*.py"))]


def test_no_file_is_over_400_lines():
    long = {str(path.relative_to(ROOT)): n for path in SOURCES if (n := len(path.read_text().splitlines())) > 400}
    assert not long


def test_no_function_is_over_60_lines_besides_its_docstring():
    long = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = node.end_lineno - node.lineno + 1
                if ast.get_docstring(node):
                    lines -= node.body[0].end_lineno - node.body[0].lineno + 1
                if lines > 60:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert not long
