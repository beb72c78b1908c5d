"""Programs broken on purpose, and what a fresh interpreter says of a program and its tests."""

from __future__ import annotations

import ast
import copy
import json
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from task_sets import Reference

from pper_jax.execution import Job
from pper_jax.execution.checks import as_text
from pper_jax.execution.compare import outputs_match

Site = tuple[str, int, str, int | None, Any]  # kind, place of the parent node, its field, place in the field, new node


def listed(text: str) -> list[str]:
    """The pieces of a text that semicolons or lines part."""
    return [piece.strip() for piece in text.replace("\n", ";").split(";") if piece.strip()]


OPERATORS: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add, ast.Pow),
    ast.Div: (ast.FloorDiv, ast.Mult),
    ast.FloorDiv: (ast.Div, ast.Mod),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitXor,),
    ast.BitXor: (ast.BitAnd,),
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt,),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt,),
    ast.Eq: (ast.NotEq, ast.GtE),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot, ast.Eq),
    ast.IsNot: (ast.Is,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.USub: (ast.UAdd, ast.Invert),
}
# What a function may return in the place of X. Names that begin with "_" are modules that PRELUDES bring.
RETURNS = """
None; tuple(X); list(X); (i for i in X); iter(X); map(lambda i: i, X); set(X); frozenset(X); sorted(X); X[::-1]
reversed(X); dict.fromkeys(X); dict.fromkeys(X).keys(); dict(enumerate(X)).values(); X.items(); X.keys(); str(X)
float(X); int(X); bool(X); complex(X); bytes(X); (X,); [X]; X[0]; {X}; {0: X}; X[:]; X.copy(); type(X)(X)
_copy.deepcopy(X); range(len(X)); _collections.deque(X); _collections.Counter(X); _collections.OrderedDict(X)
lambda: X; print(X); _collections.defaultdict(list, X); _collections.namedtuple('P', 'a b')(*X)
_fractions.Fraction(X); _decimal.Decimal(X); _types.MappingProxyType(X); _types.SimpleNamespace(x=X)
_array.array('i', X); _np.array(X); memoryview(X); _np.int64(X); _np.float64(X); _np.bool_(X); float('nan'); -X; not X
X or None; X and X; abs(X); round(X); round(X, 1); f'{X}'; type('T', (type(X),), {})(X); type('L', (list,), {})(X)
type('S', (str,), {})(X); type('I', (int,), {})(X); ...; NotImplemented; X.__class__; X + X; X * 1; X * 1.0; X + 0
[*X]; [*X, *X]; {**X}; zip(X, X); enumerate(X); filter(None, X); _itertools.chain(X); _enum.IntEnum('E', {'A': X})(X)
bytearray(X); chr(X); ord(X); X.strip(); X.lower(); tuple(map(tuple, X)); [list(i) for i in X]; [tuple(i) for i in X]
[str(i) for i in X]; [float(i) for i in X]; [int(i) for i in X]; [i for i in X if i]
"""
# Returned objects that are no data, and have a say of their own in what they are equal to.
OWN_EQUALITIES = """
type('E', (), {'__eq__': lambda s, o: True, '__hash__': None})(); _mock.ANY; _collections.UserList(X)
_collections.UserString(X); type('L', (list,), {'__eq__': lambda s, o: True, '__ne__': lambda s, o: False})(X)
type('S', (str,), {'__eq__': lambda s, o: True, '__hash__': str.__hash__})(X)
type('I', (int,), {'__eq__': lambda s, o: True, '__hash__': int.__hash__, '__sub__': lambda s, o: 0})(X)
"""
OWN_EQUALITY = {f"return {text}" for text in listed(OWN_EQUALITIES)}
PRELUDES = {"_np": "numpy", "_mock": "unittest.mock"}
ARGUMENT_CHANGES = (
    "A.sort(); A.reverse(); A.clear(); A.append(0); A.pop(); A[0] = A[-1]; A.remove(A[0]); A += A; del A[0]"
)
STARTS = """
raise ValueError('no'); raise AssertionError; raise SystemExit(0); raise KeyboardInterrupt; raise StopIteration
exit(); raise type('Odd', (Exception,), {'__str__': lambda s: 1 / 0})(); raise MemoryError; raise GeneratorExit
assert False, 'no'; print('noise'); _os._exit(0); F(*[]); return None; yield 1; F = None; del F; 'x' + 1; [][0]
"""
FIRST = """
sorted = list; len = lambda x: 0; abs = lambda x: x; sum = lambda x: 1; set = list; round = lambda x, n=0: x
print = None; isinstance = lambda a, b: True; str = repr; list = tuple; dict = list; math = None; int = float
candidate = None; tuple = list
"""
LAST = """
F = None; F = F,; del F; F = len; F = _functools.partial(F); F = _functools.lru_cache(F); F = staticmethod(F)
F = type('C', (), {'__call__': lambda self, *a, **k: F.f(*a, **k), 'f': staticmethod(F)})
F = type('C', (), {'f': F})().f; candidate = None; check = None; raise SystemExit; raise SystemExit(1); exit(0)
print('noise'); __name__ = 'x'; 1 / 0; _sys.setrecursionlimit(60); _sys.modules.clear(); _builtins.len = lambda x: 0
_sys.stdout = None; _random.seed = None; F.x = 1
"""
ATTRIBUTES = {
    "append": "extend",
    "lower": "upper",
    "upper": "lower",
    "keys": "values",
    "values": "keys",
    "items": "keys",
}
ATTRIBUTES |= {"add": "discard", "popleft": "pop", "appendleft": "append", "extend": "append", "sort": "reverse"}
ATTRIBUTES |= {"find": "index", "isdigit": "isalpha", "index": "count", "count": "index", "union": "intersection"}
DROPPED = {
    "sorted",
    "list",
    "tuple",
    "set",
    "reversed",
    "dict",
    "str",
    "int",
    "abs",
    "float",
    "deque",
    "len",
    "Counter",
}
STATEMENTS = (ast.Assign, ast.AugAssign, ast.Expr, ast.Return, ast.If, ast.For, ast.While, ast.Break, ast.Continue)


@dataclass(frozen=True)
class Mutant:
    name: str
    kind: str
    job: Job


def mutants(reference: Reference, count: int, seed: int, cases: int = 3) -> list[Mutant]:
    """Return up to ``count`` mutants of a reference, each of another kind; of ``stdio`` tests the first ``cases``."""
    chance = random.Random(f"{seed}:{reference.name}")
    tree = ast.parse(reference.body)
    sites: dict[str, list[Site]] = {}
    for site in all_sites(tree, reference.head):
        sites.setdefault(site[0], []).append(site)
    tests = reference.tests
    if tests["kind"] == "stdio":
        tests = tests | {"cases": tests["cases"][:cases]}
    shorter = Reference(reference.name, reference.head, reference.body, tests, reference.entry_point, reference.tail)
    found: list[Mutant] = []
    same = ast.unparse(tree)
    for kind in chance.sample(sorted(sites), len(sites)):
        if len(found) == count:
            break
        site = chance.choice(sites[kind])
        try:
            head, body = apply(tree, shorter.head, site)
            compile(body, "<mutant>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue
        if (head, body) != (shorter.head, same):
            found.append(Mutant(f"{reference.name} {kind} {len(found)}", kind, shorter.job(head, body)))
    return found


def apply(tree: ast.Module, head: str, site: Site) -> tuple[str, str]:
    """Return head and body of the program in which one node is another."""
    kind, parent, name, place, new = site
    if kind == "head import missing":
        lines = head.split("\n")
        return "\n".join(lines[:parent] + lines[parent + 1 :]), ast.unparse(tree)
    changed = copy.deepcopy(tree)
    node = list(ast.walk(changed))[parent]
    new = copy.deepcopy(new)
    if place is None:
        setattr(node, name, new)
    elif kind.startswith(("first:", "last:")):
        getattr(node, name)[place:place] = new
    else:
        getattr(node, name)[place] = new
    names = {n.id for n in ast.walk(changed) if isinstance(n, ast.Name)} - {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name)
    }
    body = ast.unparse(ast.fix_missing_locations(changed))
    modules = sorted(n for n in names if n in PRELUDES or n.removeprefix("_") in sys.stdlib_module_names - {n})
    imports = "".join(f"import {PRELUDES.get(name, name[1:])} as {name}\n" for name in modules)
    futures = [line for line in body.split("\n") if line.startswith("from __future__")]
    if futures:
        body = "\n".join(line for line in body.split("\n") if line not in futures)
    return "\n".join([*futures, ""])[bool(not futures) :] + head, imports + body


def all_sites(tree: ast.Module, head: str) -> Iterator[Site]:
    for number, line in enumerate(head.split("\n")):
        if line.startswith(("import ", "from ")):
            yield "head import missing", number, "", None, None
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in [node for node in tree.body if isinstance(node, ast.FunctionDef)]:
        for text in listed(LAST):
            yield f"last: {text}", 0, "body", len(tree.body), statements(text, F=function.name)
    for text in listed(FIRST):
        yield f"first: {text}", 0, "body", 0, statements(text)
    inside = {node: function for function in functions for node in ast.walk(function)}
    for number, parent in enumerate(ast.walk(tree)):
        for name, value in ast.iter_fields(parent):
            for place, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                for kind, new in changes(node, parent, inside.get(node)):
                    yield kind, number, name, place, new


def changes(node: Any, parent: ast.AST, function: ast.FunctionDef | None) -> Iterator[tuple[str, Any]]:
    """What may stand in the place of a node, by kind."""
    if isinstance(node, ast.stmt):
        yield from statement_changes(node, function)
    elif isinstance(node, ast.expr):
        yield from expression_changes(node, parent, function)
    for other in OPERATORS.get(type(node), ()):
        yield f"{type(node).__name__} -> {other.__name__}", other()


def statement_changes(node: ast.stmt, function: ast.FunctionDef | None) -> Iterator[tuple[str, Any]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield "import missing", ast.Pass()
    if isinstance(node, STATEMENTS):
        yield f"{type(node).__name__} deleted", ast.Pass()
    if isinstance(node, ast.If | ast.While):
        yield f"{type(node).__name__} negated", replaced(node, test=ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.Break):
        yield "break -> continue", ast.Continue()
    if isinstance(node, ast.Return) and node.value is not None:
        for text in listed(RETURNS + OWN_EQUALITIES):
            yield f"return {text}", ast.Return(expression(text, node.value))
        yield "return -> yield", ast.Expr(ast.Yield(node.value))
        yield "return raised", statements("raise StopIteration(X)", X=node.value)[0]
        for name in [a.arg for a in function.args.args if a.arg != "self"] if function else []:
            for text in listed(ARGUMENT_CHANGES):
                yield f"changes its argument: {text}", block([*statements(text, A=name), node])
            assign = statements(f"{name}[:] = X", X=node.value)
            yield "returns its argument, changed", block([*assign, *statements(f"return {name}")])
            yield "returns its argument", ast.Return(ast.Name(name))
    if isinstance(node, ast.FunctionDef):
        yield from function_changes(node)


def function_changes(node: ast.FunctionDef) -> Iterator[tuple[str, Any]]:
    arguments = node.args
    own = [a for a in arguments.args if a.arg == "self"]
    rest = [a for a in arguments.args if a.arg != "self"]
    yield "renamed", replaced(node, name=node.name + "_")
    for text in listed(STARTS):
        yield f"start: {text}", replaced(node, body=[*statements(text, F=node.name), *node.body])
    if len(rest) > 1:
        yield "parameters swapped", replaced(node, args=replaced(arguments, args=own + rest[::-1]))
        yield "parameter dropped", replaced(node, args=replaced(arguments, args=own + rest[:-1], defaults=[]))
    only = replaced(arguments, args=own, kwonlyargs=rest, kw_defaults=[None] * len(rest), defaults=[])
    yield "keywords only", replaced(node, args=only)
    yield "by place only", replaced(node, args=replaced(arguments, posonlyargs=arguments.args, args=[]))
    state = replaced(arguments, kwonlyargs=[ast.arg("_calls")], kw_defaults=[ast.List([])])
    for text in ("return None", "raise ValueError('twice')", "return _calls"):
        start = f"_calls.append(0)\nif len(_calls) > 1:\n    {text}"
        yield f"second call: {text}", replaced(node, args=state, body=[*ast.parse(start).body, *node.body])
    yield "async", ast.AsyncFunctionDef(**dict(ast.iter_fields(node)))
    for name in ("_functools.lru_cache", "staticmethod", "property", "_contextlib.contextmanager", "list", "repr"):
        yield f"decorated by {name}", replaced(node, decorator_list=[ast.parse(name, mode="eval").body])


def expression_changes(node: ast.expr, parent: ast.AST, function: ast.FunctionDef | None) -> Iterator[tuple[str, Any]]:
    if isinstance(node, ast.Constant) and not isinstance(parent, ast.Expr | ast.JoinedStr | ast.MatchValue):
        yield from constant_changes(node.value)
    if isinstance(node, ast.Call):
        if len(node.args) > 1:
            yield "arguments swapped", replaced(node, args=node.args[::-1])
        if len(node.args) == 1 and isinstance(node.func, ast.Name) and node.func.id in DROPPED:
            yield f"{node.func.id} removed", node.args[0]
        if node.keywords:
            yield "keyword dropped", replaced(node, keywords=node.keywords[1:])
        if isinstance(node.func, ast.Attribute) and node.func.attr in ATTRIBUTES:
            other = ATTRIBUTES[node.func.attr]
            yield f"{node.func.attr} -> {other}", replaced(node, func=replaced(node.func, attr=other))
    if isinstance(node, ast.ListComp):
        yield "list -> generator", ast.GeneratorExp(node.elt, node.generators)
        yield "list -> set", ast.SetComp(node.elt, node.generators)
    if isinstance(node, ast.GeneratorExp):
        yield "generator -> list", ast.ListComp(node.elt, node.generators)
    if isinstance(node, ast.List) and not isinstance(node.ctx, ast.Store):
        yield "list -> tuple", ast.Tuple(node.elts, ast.Load())
    if isinstance(node, ast.Tuple) and not isinstance(node.ctx, ast.Store) and not isinstance(parent, ast.Subscript):
        yield "tuple -> list", ast.List(node.elts, ast.Load())
        yield "tuple reversed", ast.Tuple(node.elts[::-1], ast.Load())
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and isinstance(node.slice, ast.Slice):
        yield "slice -> whole", node.value
    if isinstance(node, ast.IfExp):
        yield "branches swapped", ast.IfExp(node.test, node.orelse, node.body)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not removed", node.operand
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and function:
        others = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for other in sorted(others - {node.id})[:2]:
            yield "another name", ast.Name(other)


def constant_changes(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, bool):
        yield "constant inverted", ast.Constant(not value)
        yield "constant as int", ast.Constant(int(value))
    elif isinstance(value, int):
        yield "constant + 1", ast.Constant(value + 1)
        yield "constant - 1", ast.Constant(value - 1)
        yield "constant as float", ast.Constant(float(value) if abs(value) < 1 << 50 else value)
    elif isinstance(value, float):
        yield "constant + 1", ast.Constant(value + 1)
        yield "constant by a little", ast.Constant(value + 1e-9)
    elif isinstance(value, str):
        yield "text longer", ast.Constant(value + " ")
        yield "text of other case", ast.Constant(value.swapcase())
        yield "text as bytes", ast.Constant(value.encode())


def replaced(node: Any, **fields: Any) -> Any:
    """Return the node with other fields."""
    return type(node)(**(dict(ast.iter_fields(node)) | fields))


class Filled(ast.NodeTransformer):
    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        new = self.names.get(node.id, node)
        return ast.Name(new, node.ctx) if isinstance(new, str) else copy.deepcopy(new)

    def visit_Global(self, node: ast.Global) -> ast.AST:
        return ast.Global([self.names.get(name, name) for name in node.names])


def expression(text: str, value: ast.expr) -> ast.expr:
    return Filled({"X": value}).visit(ast.parse(text, mode="eval").body)


def statements(text: str, **names: Any) -> list[ast.stmt]:
    return [Filled(names).visit(node) for node in ast.parse(text).body]


def block(body: list[ast.stmt]) -> ast.stmt:
    return ast.If(ast.Constant(True), body, [])


# ---- what a fresh interpreter says

# Runs a program and its tests in one namespace, as one file would; says of each test how it ended.
DRIVER = """
import json, os, random, sys, types
job, results = json.load(open(sys.argv[1])), os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
def say(*result, write=os.write, dumps=json.dumps): write(results, (dumps(result) + "\\n").encode())
def told(error):
    try: return f"{type(error).__name__}: {error}"[:200]
    except Exception: return type(error).__name__
def deepest(depth):
    try: return deepest(depth + 1)
    except RecursionError: return depth
def run(text, names):
    exec(compile(text, "program.py", "exec", dont_inherit=True), names)
here = dict(deepest=deepest)
run("found = deepest(0)", here)
limit = sys.getrecursionlimit() + deepest(0) - here["found"]
sys.setrecursionlimit(limit)
module = sys.modules["program"] = types.ModuleType("program")
names = module.__dict__
tests, instances = job["tests"], []
def match(case):
    from pper_jax.execution.compare import results_match
    function = tests["fn_name"]
    if not instances:
        instances.append(getattr(names["Solution"](), function) if "Solution" in names else names[function])
    assert results_match(instances[0](*case["args"]), case["expected"], job["compare"])
def check():
    names["candidate"] = eval(job["entry_point"], names)
    run(tests["code"] + "\\n\\ncheck(candidate)\\n", names)
random_seed, leave = random.seed, os._exit
try:
    random_seed(0)
    run(job["program"], names)
    run(tests.get("setup") or "", names)
except BaseException as error:
    say(-1, "error", told(error))
    leave(0)
if tests["kind"] == "asserts":
    steps = [lambda text=text: run(text, names) for text in tests["asserts"]]
elif tests["kind"] == "call":
    steps = [lambda case=case: match(case) for case in tests["cases"]]
else:
    steps = [check]
if sys.getrecursionlimit() == limit:
    sys.setrecursionlimit(limit + 1)  # for the frame of a step
for place, step in enumerate(steps):
    try:
        random_seed(0)
        step()
    except AssertionError as error:
        say(place, "fail", told(error))
    except BaseException as error:
        say(place, "error", told(error))
    else:
        say(place, "pass", None)
leave(0)
"""
ROOT = Path(__file__).parents[2]


def fresh(job: Job, compare: str, cpu_s: int) -> list[tuple[str, str | None]]:
    """Return status and detail of each test, by a fresh interpreter: ``pass``, ``fail``, ``error``, ``timeout``."""
    with tempfile.TemporaryDirectory() as folder:
        if job.tests["kind"] == "stdio":
            return [script(job.program, case, compare, cpu_s, Path(folder)) for case in job.tests["cases"]]
        path = Path(folder, "job.json")
        request = {"program": job.program.replace("\r\n", "\n"), "tests": job.tests, "entry_point": job.entry_point}
        path.write_text(json.dumps(request | {"compare": compare}))
        done = interpreter(["-c", DRIVER, str(path)], b"", cpu_s, Path(folder))
    count = len(job.tests.get("asserts") or job.tests.get("cases") or [None])
    results = {place: (status, detail) for place, status, detail in map(json.loads, done.stdout.splitlines())}
    if -1 in results:
        return [results[-1]] * count
    rest = ended(done.returncode)
    return [results.get(place, rest) for place in range(count)]


def script(program: str, case: dict[str, Any], compare: str, cpu_s: int, folder: Path) -> tuple[str, str | None]:
    path = folder / "main.py"
    path.write_text(program, encoding="utf-8")
    done = interpreter([str(path)], as_text(case["stdin"]).encode(), cpu_s, folder)
    if done.returncode != 0:
        status, _ = ended(done.returncode)
        return status, done.stderr.decode(errors="replace")[-200:]
    right = outputs_match(done.stdout.decode("utf-8", "replace"), as_text(case["stdout"]), compare)
    return ("pass", None) if right else ("fail", repr(done.stdout[:100]))


def ended(status: int) -> tuple[str, str]:
    over = -status in (signal.SIGXCPU, signal.SIGKILL) or status - 128 in (signal.SIGXCPU, signal.SIGKILL)
    return ("timeout" if over else "error"), f"the process ended with {status}"


def interpreter(arguments: list[str], stdin: bytes, cpu_s: int, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a fresh interpreter under limits of its memory and CPU time."""
    limited = ["sh", "-c", f'ulimit -v {1 << 20}; ulimit -t {cpu_s}; exec "$@"', "sh"]
    command = [*limited, sys.executable, "-B", "-X", "utf8", "-X", "int_max_str_digits=0", *arguments]
    environment = {"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "HOME": str(folder)}
    try:
        return subprocess.run(
            command, input=stdin, capture_output=True, cwd=folder, env=environment, timeout=8 * cpu_s + 20
        )
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(command, -signal.SIGKILL, error.stdout or b"", error.stderr or b"")
