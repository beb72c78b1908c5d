"""Honest programs and tests, right and wrong, each of which CPython itself can judge (see ``test_oracle``).

Tables make the rows on values: a type, in a direction, by what is done with it. The rest is text in which ``=== name``
begins a program, ``>>> `` an assert that holds (``... `` goes on with it), ``!>> `` one that does not, and ``!!! old =>
new`` names a change that makes the program wrong: its tests are run on that program too.
"""

# ruff: noqa: E501  (programs as text)
from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A program, its tests, and whether we believe that all of them pass."""

    section: str
    name: str
    program: str
    tests: dict[str, Any]
    entry_point: str | None
    passes: bool


ROWS: list[Row] = []


def add(section: str, name: str, program: str, tests: dict[str, Any], passes: bool, entry: str | None = None) -> None:
    ROWS.append(Row(section, name, program, tests, entry, passes))


def asserts(section: str, name: str, program: str, *texts: str, passes: bool = True) -> None:
    add(section, name, program, {"kind": "asserts", "asserts": list(texts)}, passes)


def blocks(text: str) -> Iterator[tuple[str, str, list[str], list[str], list[str]]]:
    """Split a text into name, program, asserts that hold, asserts that do not, and changes."""
    for block in text.split("\n=== ")[1:]:
        name, *lines = block.split("\n")
        program: list[str] = []
        good: list[str] = []
        bad: list[str] = []
        changes: list[str] = []
        into = good
        for line in lines:
            if line.startswith((">>> ", "!>> ")):
                into = good if line[0] == ">" else bad
                into.append(line[4:])
            elif line.startswith("... "):
                into[-1] += "\n" + line[4:]
            elif line.startswith("!!! "):
                changes.append(line[4:])
            elif line or not good + bad:
                program.append(line)
        yield name, "\n".join(program), good, bad, changes


def changed(name: str, program: str, change: str) -> str:
    old, _, new = change.replace("\\n", "\n").partition(" =>")
    assert old in program, f"{name} has no {old!r}"
    return program.replace(old, new.removeprefix(" "))


def written(section: str, text: str) -> None:
    for name, program, good, bad, changes in blocks(text):
        if good:
            asserts(section, name, program, *good)
        for number, test in enumerate(bad):
            asserts(section, f"{name}, not so {number}", program, test, passes=False)
        for number, change in enumerate(changes):
            asserts(section, f"{name}, wrong {number}", changed(name, program, change), *good, passes=False)


# ---- values, returned and handed in: name, imports, type, right, wrong (of the same type), like (of another type), and
# what is so of the right one only

VALUES = r"""
int            |                                 | int          | -(2**70)               | 1 - 2**70           | -(2.0**70)            | x.bit_length() == 71
small int      |                                 | int          | 7                      | 8                   | 7.0                   | x % 4 == 3
bool           |                                 | bool         | True                   | False               | 1                     | x is True
float          |                                 | float        | 0.1 + 0.2              | 0.3                 | '0.30000000000000004' | x.hex() == '0x1.3333333333334p-2'
negative zero  | import math                     | float        | -0.0                   | 1.0                 | 0                     | math.copysign(1, x) == -1
nan            | import math                     | float        | float('nan')           | 1.0                 | 'nan'                 | math.isnan(x)
infinity       |                                 | float        | float('-inf')          | float('inf')        | '-inf'                | x < -1e308
complex        |                                 | complex      | complex(1, -2)         | complex(1, 2)       | 1.0                   | x.conjugate().imag == 2
str            |                                 | str          | 'é\ud800\n'            | 'e\ud800\n'         | b'\xe9'               | ord(x[0]) == 233 and len(x) == 3
bytes          |                                 | bytes        | b'\x00\xff'            | b'\x00\xfe'         | bytearray(b'\x00\xff') | x[1] == 255 and x.hex() == '00ff'
bytearray      |                                 | bytearray    | bytearray(b'abc')      | bytearray(b'abd')   | b'abc'                | x.upper() == b'ABC' and x[2] == 99
list           |                                 | list         | [1, [2.5, None], 'a']  | [1, [2.5], 'a']     | (1, [2.5, None], 'a') | x[1].count(None) == 1
tuple          |                                 | tuple        | (1, ('a', [2]))        | (1, ('a', [3]))     | [1, ('a', [2])]       | x[1][1] == [2]
dict           |                                 | dict         | {'b': 1, 'a': {2: 3}}  | {'a': {2: 3}, 'b': 2} | [('b', 1)]          | list(x) == ['b', 'a'] and x['a'][2] == 3
dict keys      |                                 | dict         | {1: 0, (1, 2): 1, None: 2, 2.5: 3} | {'1': 0, (1, 2): 1} | [1, 2]    | (x.get((1, 2)), x.get(None), x.get(1)) == (1, 2, 0)
set            |                                 | set          | {1, (2, 3), 'x'}       | {1, (2, 4), 'x'}    | frozenset({1, (2, 3), 'x'}) | (2, 3) in x and len(x) == 3
frozenset      |                                 | frozenset    | frozenset({1, frozenset({2})}) | frozenset({1}) | {1, frozenset({2})} | {x: 5}.get(frozenset({1, frozenset({2})})) == 5
range          |                                 | range        | range(2, 20, 3)        | range(2, 20, 4)     | [2, 5, 8, 11, 14, 17] | x.step == 3 and 17 in x and x[1] == 5 and len(x) == 6
slice          |                                 | slice        | slice(1, None, 2)      | slice(1, None, 3)   | (1, None, 2)          | 'abcdef'[x] == 'bdf'
Ellipsis       |                                 | type(...)    | ...                    | NotImplemented      | '...'                 | x is Ellipsis
NotImplemented |                                 | type(NotImplemented) | NotImplemented | ...                 | 'NotImplemented'      | x is NotImplemented
None           |                                 | type(None)   | None                   | 0                   | 'None'                | x is None
Fraction       | from fractions import Fraction  | Fraction     | Fraction(-1, 3)        | Fraction(1, 3)      | -1 / 3                | x.denominator == 3 and x * 3 == -1
Decimal        | from decimal import Decimal     | Decimal      | Decimal('1.10')        | Decimal('1.11')     | 1.1                   | str(x) == '1.10' and x.as_tuple().exponent == -2
Decimal nan    | from decimal import Decimal     | Decimal      | Decimal('-0')          | Decimal('NaN')      | 0.0                   | x.is_signed() and x.is_zero()
date           | from datetime import date       | date         | date(2024, 2, 29)      | date(2024, 3, 1)    | '2024-02-29'          | x.isoformat() == '2024-02-29' and x.weekday() == 3
time           | from datetime import time       | time         | time(23, 59, 1, 5)     | time(23, 59, 1)     | '23:59:01.000005'     | x.microsecond == 5
datetime       | from datetime import datetime, date | datetime | datetime(2024, 2, 29, 1, 2, 3, 4) | datetime(2024, 2, 29) | date(2024, 2, 29) | x.tzinfo is None and x.microsecond == 4
datetime utc   | from datetime import datetime, timezone | datetime | datetime(2024, 1, 1, 12, tzinfo=timezone.utc) | datetime(2024, 1, 1, 12) | '2024' | x.tzinfo is timezone.utc and x.isoformat().endswith('+00:00')
datetime zone  | from datetime import datetime, timedelta; from zoneinfo import ZoneInfo | datetime | datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo('Europe/Berlin'), fold=1) | datetime(2024, 10, 27, 2, 31, tzinfo=ZoneInfo('Europe/Berlin')) | None | x.fold == 1 and x.utcoffset() == timedelta(hours=1) and x.tzinfo.key == 'Europe/Berlin'
timedelta      | from datetime import timedelta  | timedelta    | timedelta(days=-1, seconds=5) | timedelta(days=1) | -86395.0             | x.days == -1 and x.total_seconds() == -86395
timezone       | from datetime import timedelta, timezone | timezone | timezone(timedelta(hours=2), 'X') | timezone(timedelta(hours=3)) | timedelta(hours=2) | x.tzname(None) == 'X'
deque          | from collections import deque   | deque        | deque([1, 2, 3], maxlen=3) | deque([1, 2], maxlen=3) | [1, 2, 3]       | x.maxlen == 3 and (x.append(4) or list(x)) == [2, 3, 4]
Counter        | from collections import Counter | Counter      | Counter('abca')        | Counter('abc')      | {'a': 2}              | x.most_common(1) == [('a', 2)] and x['z'] == 0
OrderedDict    | from collections import OrderedDict | OrderedDict | OrderedDict([('b', 1), ('a', 2)]) | OrderedDict([('a', 2), ('b', 1)]) | {'b': 1, 'a': 2} | next(iter(x)) == 'b' and x.popitem(last=False) == ('b', 1)
defaultdict    | from collections import defaultdict | defaultdict | defaultdict(list, {1: [2]}) | defaultdict(list, {1: [3]}) | {1: [2]}  | x[1] == [2] and x[9] == [] and x.default_factory is list
ChainMap       | from collections import ChainMap | ChainMap    | ChainMap({'a': 1}, {'a': 2, 'b': 3}) | ChainMap({'a': 1}) | {'a': 1, 'b': 3} | len(x.maps) == 2 and x['b'] == 3 and x.parents['a'] == 2
array          | from array import array         | array        | array('h', [1, -2])    | array('h', [1, 2])  | [1, -2]               | x.typecode == 'h' and x.itemsize == 2 and x[1] == -2
PurePath       | from pathlib import PurePosixPath | PurePosixPath | PurePosixPath('/a/b.txt') | PurePosixPath('/b/b.txt') | '/a/b.txt'    | x.suffix == '.txt' and x.parent.name == 'a'
Path           | from pathlib import Path        | type(Path()) | Path('a') / 'b.py'     | Path('a/c.py')      | 'a/b.py'              | x.stem == 'b' and not x.is_absolute()
UUID           | from uuid import UUID           | UUID         | UUID(int=7)            | UUID(int=8)         | 7                     | x.int == 7 and str(x).endswith('-000000000007')
Pattern        | import re                       | re.Pattern   | re.compile('a+', re.I) | re.compile('b+')    | 'a+'                  | x.flags & re.I and x.fullmatch('AaA') is not None
HTTPStatus     | from http import HTTPStatus     | HTTPStatus   | HTTPStatus.NOT_FOUND   | HTTPStatus.OK       | 404                   | x.name == 'NOT_FOUND' and x.value == 404 and x.phrase == 'Not Found'
RegexFlag      | import re                       | re.RegexFlag | re.I                   | re.M                | 2                     | x.name == 'IGNORECASE' and x.value == 2
class          |                                 | type         | dict                   | list                | 'dict'                | x([(1, 2)]) == {1: 2} and x.__name__ == 'dict'
exception class |                                | type         | KeyError               | ValueError          | 'KeyError'            | issubclass(x, LookupError)
abstract class | from collections.abc import Mapping | type(Mapping) | Mapping           | list                | 'Mapping'             | issubclass(dict, x) and not issubclass(list, x)
exception      |                                 | ValueError   | ValueError('a', 1)     | ValueError('b')     | ('a', 1)              | x.args == ('a', 1) and isinstance(x, Exception)
address        | from ipaddress import IPv4Address | IPv4Address | IPv4Address('10.0.0.1') | IPv4Address('10.0.0.2') | '10.0.0.1'     | x.is_private and int(x) == 167772161 and str(x) == '10.0.0.1'
namespace      | from types import SimpleNamespace | SimpleNamespace | SimpleNamespace(a=1, b=[2]) | SimpleNamespace(a=2) | {'a': 1}   | x.a == 1 and x.b == [2] and vars(x) == {'a': 1, 'b': [2]}
mapping proxy  | from types import MappingProxyType | MappingProxyType | MappingProxyType({'a': 1}) | MappingProxyType({'a': 2}) | {'a': 1} | x['a'] == 1 and not hasattr(x, 'clear')
memoryview     |                                 | memoryview   | memoryview(b'abc')     | memoryview(b'abd')  | b'abc'                | x.nbytes == 3 and bytes(x) == b'abc'
UserDict       | from collections import UserDict | UserDict    | UserDict(a=1)          | UserDict(a=2)       | {'a': 1}              | x['a'] == 1 and x.data == {'a': 1}
keys           |                                 | type({}.keys()) | {2: 1, 1: 2}.keys() | {2: 1}.keys()       | [2, 1]                | x & {1} == {1} and list(x) == [2, 1] and len(x) == 2
items          |                                 | type({}.items()) | {2: 1}.items()     | {2: 2}.items()      | [(2, 1)]              | (2, 1) in x and sorted(x) == [(2, 1)]
iterator       |                                 | type(iter([]))  | iter([1, 2])        | iter([1, 3])        | [1, 2]                | next(x) == 1 and list(x) == [2]
"""
BY_VALUE_ONLY = (
    "nan",
    "iterator",
    "exception",
    "class",
    "exception class",
    "abstract class",
    "namespace",
)  # what == does not tell


def values() -> None:
    for line in VALUES.strip().splitlines():
        name, imports, kind, right, wrong, like, holds = (cell.strip() for cell in line.split(" | "))
        imports = imports.replace("; ", "\n")
        look = f"{imports}\nx = f()\nassert type(x) is {kind} and {holds}"
        same = [f"assert f() == {right} and not f() != {right}"] if name not in BY_VALUE_ONLY else []
        give = f"{imports}\ndef f(): return {right}"
        asserts("values returned", name, give, look, *same)
        asserts("values returned", f"{name}, another type", give.replace(right, like), look, passes=False)
        asserts("values returned", f"{name}, another", give.replace(right, wrong), look, *same, passes=False)
        judge = f"bool(type(x) is {kind} and {holds})"
        take = f"{imports}\ndef f(x, *y): return {judge}\ndef g(x, *, key): return {{'a': [x, (key,)]}}"
        looks = [f"{imports}\nassert f({given}) is {given is right}" for given in (right, wrong, like)]
        looks += [f"x = {right}\nx = g(0, key=x)['a'][1][0]\nassert {judge}"]
        asserts("values handed in", name, take, *looks)
        asserts("values handed in", f"{name}, wrong", take.replace(judge, f"not {judge}"), *looks[:2], passes=False)


# ---- changed in place: name, imports, value, change, value afterwards

CHANGES = r"""
list append     |                                     | [1]                   | x.append(2)                     | [1, 2]
list sort       |                                     | [3, 1, 2]             | x.sort(reverse=True)            | [3, 2, 1]
list slice      |                                     | [1, 2, 3, 4]          | x[1:3] = []                     | [1, 4]
list clear      |                                     | [1, 2]                | x.clear()                       | []
list iadd       |                                     | [1]                   | x += [2]                        | [1, 2]
list of lists   |                                     | [[1], [2]]            | x[0].append(9); x.reverse()     | [[2], [1, 9]]
dict set        |                                     | {'a': 1}              | x['b'] = [2]; x['b'].append(3)  | {'a': 1, 'b': [2, 3]}
dict pop        |                                     | {'a': 1, 'b': 2}      | x.pop('a')                      | {'b': 2}
dict nested     |                                     | {'a': {'b': []}}      | x['a']['b'].append(x['a'].get('c')) | {'a': {'b': [None]}}
dict update     |                                     | {1: 1}                | x |= {2: 2}                     | {1: 1, 2: 2}
set add         |                                     | {1}                   | x.add((2,))                     | {1, (2,)}
set remove      |                                     | {1, 2, 3}             | x -= {1, 3}                     | {2}
bytearray       |                                     | bytearray(b'abc')     | x.extend(b'd'); x[0] = 65       | bytearray(b'Abcd')
array           | from array import array             | array('d', [1.5])     | x.append(2)                     | array('d', [1.5, 2.0])
deque           | from collections import deque       | deque([1, 2, 3], 3)   | x.appendleft(0); x.rotate(1)    | deque([2, 0, 1], 3)
Counter         | from collections import Counter     | Counter('ab')         | x.update('bc'); x.subtract('a') | Counter({'b': 2, 'c': 1, 'a': 0})
OrderedDict     | from collections import OrderedDict | OrderedDict(a=1, b=2) | x.move_to_end('a')              | OrderedDict(b=2, a=1)
defaultdict     | from collections import defaultdict | defaultdict(list)     | x['a'].append(1); x['b']        | {'a': [1], 'b': []}
ChainMap        | from collections import ChainMap    | ChainMap({}, {'a': 1}) | x['b'] = 2; del x.maps[1]['a']  | ChainMap({'b': 2}, {})
in a tuple      |                                     | ([1], {2: 3})         | x[0].pop(); x[1][2] = 4         | ([], {2: 4})
in a namespace  | from types import SimpleNamespace   | SimpleNamespace(a=[]) | x.a.append(1); x.b = 2          | SimpleNamespace(a=[1], b=2)
UserList        | from collections import UserList    | UserList([1])         | x.append(2)                     | UserList([1, 2])
dict subclass   | class D(dict): pass                 | D(a=1)                | x['b'] = 2                      | {'a': 1, 'b': 2}
list subclass   | class L(list): pass                 | L([2, 1])             | x.sort()                        | [1, 2]
heap            | import heapq                        | [5, 3, 1]             | heapq.heapify(x); heapq.heappop(x) | [3, 5]
StringIO        | import io                           | io.StringIO()         | x.write('a'); print('b', file=x)   | None
numpy           | import numpy as np                  | np.zeros((2, 2))      | x[0, 1] = 3; x += 1             | None
"""
AFTER = {"StringIO": "x.getvalue() == 'ab\\n'", "numpy": "x.tolist() == [[1, 4], [1, 1]]"}


def changes() -> None:
    for line in CHANGES.strip().splitlines():
        name, imports, value, change, after = (cell.strip() for cell in line.split(" | "))
        needed = "" if imports.startswith("class") else imports
        program = f"{needed}\ndef f(x, y=0):\n    {change}\n    return y"
        test = f"{imports}\nx = {value}\nsame = x\nassert f(%s, y=1) == 1 and x is same and {AFTER.get(name, f'x == {after}')}"
        asserts("changes in place", name, program, test % "x", test % "x=x")
        copied = program.replace("    " + change, "    import copy; x = copy.deepcopy(x); " + change)
        asserts("changes in place", f"{name}, of a copy", copied, test % "x", passes=False)


# ---- exceptions: what is raised, as what it is caught, what is so of it; and something else that is raised

RAISED = r"""
message          | raise ValueError('no %d' % 3)                      | ValueError          | str(e) == 'no 3'                                  | raise ValueError('no')
no message       | raise ValueError                                   | ValueError          | e.args == () and str(e) == ''                     | raise ValueError('')
arguments        | raise KeyError('a', [1])                           | KeyError            | e.args == ('a', [1])                              | raise KeyError('a')
key              | {}['missing']                                      | KeyError            | e.args[0] == 'missing' and str(e) == "'missing'"  | {}['other']
base class       | [][3]                                              | LookupError         | type(e) is IndexError                             | raise LookupError
type             | 1 + 'a'                                            | TypeError           | 'unsupported operand' in str(e)                   | raise ValueError
type message     | len(5)                                             | TypeError           | str(e) == "object of type 'int' has no len()"     | len(5, 5)
missing argument | g()                                                | TypeError           | "missing 1 required positional argument: 'a'" in str(e) | g(1, 2)
zero             | 1 // 0                                             | ZeroDivisionError   | str(e) == 'integer division or modulo by zero'    | 1 / 0
arithmetic       | 2.0 ** 10000                                       | ArithmeticError     | isinstance(e, OverflowError)                      | 1 / 0
attribute        | g.missing                                          | AttributeError      | e.name == 'missing'                               | g.other
name             | missing_name                                       | NameError           | e.name == 'missing_name'                          | raise NameError('missing_name')
unbound          | print(y); y = 1                                    | UnboundLocalError   | 'y' in str(e)                                     | print(z)
conversion       | int('x1')                                          | ValueError          | "invalid literal for int() with base 10: 'x1'" == str(e) | int('x2')
unpack           | a, b = [1]                                         | ValueError          | 'not enough values' in str(e)                     | a, b = [1, 2, 3]
errno            | open('/nowhere/at/all')                            | FileNotFoundError   | e.errno == 2 and e.filename == '/nowhere/at/all'  | raise FileNotFoundError
OS error         | raise OSError(13, 'no', 'file')                    | PermissionError     | e.strerror == 'no' and e.filename == 'file' and str(e) == "[Errno 13] no: 'file'" | raise OSError(2, 'no', 'file')
errno of a base  | raise ConnectionResetError(104, 'x')               | OSError             | e.errno == 104 and isinstance(e, ConnectionError) | raise OSError(5, 'x')
JSON             | import json; json.loads('{"a": ]}')                | json.JSONDecodeError | e.pos == 6 and e.lineno == 1 and e.doc == '{"a": ]}' and 'Expecting value' in e.msg | import json; json.loads('[')
JSON as value    | import json; json.loads('[1,')                     | ValueError          | 'char 3' in str(e)                                | raise ValueError('x')
unicode decode   | b'\xffa'.decode('utf-8')                           | UnicodeDecodeError  | e.start == 0 and e.object == b'\xffa' and e.encoding == 'utf-8' | b'a\xff'.decode('utf-8')
unicode encode   | 'aé'.encode('ascii')                               | UnicodeEncodeError  | (e.start, e.end) == (1, 2) and e.reason == 'ordinal not in range(128)' | 'é'.encode('ascii')
stop             | next(iter([]))                                     | StopIteration       | e.value is None                                   | raise StopIteration(5)
stop with value  | raise StopIteration([1])                           | StopIteration       | e.value == [1]                                    | raise StopIteration
exit             | import sys; sys.exit(3)                            | SystemExit          | e.code == 3                                       | import sys; sys.exit(4)
exit message     | raise SystemExit('bye')                            | SystemExit          | e.code == 'bye' and not isinstance(e, Exception)  | raise SystemExit
interrupt        | raise KeyboardInterrupt                            | KeyboardInterrupt   | e.args == ()                                      | raise KeyboardInterrupt(1)
assertion        | assert 1 == 2, 'odd'                               | AssertionError      | str(e) == 'odd'                                   | assert 1 == 2
not implemented  | raise NotImplementedError('later')                 | RuntimeError        | type(e) is NotImplementedError                    | raise RuntimeError('later')
recursion        | r = lambda n: r(n + 1); r(0)                       | RecursionError      | 'maximum recursion depth exceeded' in str(e)      | raise RecursionError('deep')
import           | import no_such_module                              | ImportError         | type(e) is ModuleNotFoundError and e.name == 'no_such_module' | import other_missing_module
syntax           | compile('a b', 'x.py', 'exec')                     | SyntaxError         | e.lineno == 1 and e.filename == 'x.py' and e.text == 'a b\n' | compile('a b', 'y.py', 'exec')
decimal          | from decimal import Decimal; Decimal('x')          | decimal.InvalidOperation | isinstance(e, ArithmeticError)               | raise ArithmeticError
regex            | import re; re.compile('a(')                        | re.error            | e.pos == 1 and e.pattern == 'a('                  | import re; re.compile('(')
struct           | import struct; struct.unpack('i', b'1')            | struct.error        | '4 bytes' in str(e)                               | import struct; struct.pack('zz', 1)
queue            | import queue; queue.Queue().get_nowait()           | queue.Empty         | e.args == ()                                      | raise LookupError
statistics       | import statistics; statistics.mean([])             | statistics.StatisticsError | isinstance(e, ValueError)                  | raise ValueError
subprocess       | import subprocess; raise subprocess.CalledProcessError(3, ['a']) | subprocess.CalledProcessError | e.returncode == 3 and e.cmd == ['a'] | import subprocess; raise subprocess.CalledProcessError(4, ['a'])
timeout          | import asyncio; raise asyncio.TimeoutError         | asyncio.TimeoutError | True                                             | raise ValueError
HTTP             | import urllib.error; raise urllib.error.HTTPError('u', 404, 'm', {}, None) | urllib.error.HTTPError | e.code == 404 and e.reason == 'm' | import urllib.error; raise urllib.error.HTTPError('u', 500, 'm', {}, None)
frozen           | import dataclasses; D = dataclasses.dataclass(frozen=True)(type('D', (), {})); D().x = 1 | dataclasses.FrozenInstanceError | isinstance(e, AttributeError) | raise AttributeError
own              | raise Own('a', code=5)                             | Own                 | e.code == 5 and e.args == ('a',) and str(e) == 'own a' and isinstance(e, ValueError) | raise Own('a', code=6)
own as base      | raise Own('a')                                     | ValueError          | type(e) is Own and type(e).__name__ == 'Own' and e.code == 0 | raise ValueError('a')
own, derived     | raise Derived('b')                                 | Own                 | type(e) is Derived and e.shout() == 'OWN B' and isinstance(e, Derived) | raise Own('b')
from             | raise RuntimeError('outer') from KeyError('inner') | RuntimeError        | type(e.__cause__) is KeyError and e.__cause__.args == ('inner',) | raise RuntimeError('outer')
context          | raised_while()                                     | RuntimeError        | isinstance(e.__context__, ZeroDivisionError) and e.__cause__ is None | raise RuntimeError
traceback        | int('q')                                           | ValueError          | e.__traceback__ is not None and e.__traceback__.tb_next is not None | raise TypeError
note             | noted()                                            | ValueError          | e.__notes__ == ['a note']                         | raise ValueError
group            | raise ExceptionGroup('g', [ValueError(1), KeyError(2)]) | ExceptionGroup | e.message == 'g' and [type(x) for x in e.exceptions] == [ValueError, KeyError] | raise ExceptionGroup('g', [KeyError(2)])
property         | Thing().size                                       | Own                 | e.code == 7                                       | Thing().other
bare             | raise Exception('x')                               | Exception           | type(e) is Exception and repr(e) == "Exception('x')" | raise Exception('y')
warning          | raise UserWarning('w')                             | Warning             | type(e) is UserWarning                            | raise Warning('w')
"""
RAISERS = """
class Own(ValueError):
    def __init__(self, text, code=0):
        super().__init__(text)
        self.code = code
    def __str__(self): return 'own ' + self.args[0]
class Derived(Own):
    def shout(self): return str(self).upper()
class Thing:
    @property
    def size(self): raise Own('size', code=7)
    @property
    def other(self): raise Own('other', code=8)
def g(a): return a
def raised_while():
    try: 1 // 0
    except ZeroDivisionError: raise RuntimeError('second')
def noted():
    error = ValueError('n')
    error.add_note('a note')
    raise error
"""


def exceptions() -> None:
    for line in RAISED.strip().splitlines():
        name, raising, kind, holds, other = (cell.strip() for cell in line.split(" | "))
        module = kind.rpartition(".")[0]
        imports = f"import {module}\n" if module else ""
        test = f"{imports}try:\n    f()\nexcept {kind} as e:\n    assert {holds}\nelse:\n    assert False, 'nothing raised'"
        for passes, what in ((True, raising), (False, other)):
            program = f"{RAISERS}def f():\n    {what}\n"
            asserts("exceptions raised", name if passes else f"{name}, another", program, test, passes=passes)


OWN_CLASSES = r"""
=== dataclass
from dataclasses import dataclass, field
@dataclass(order=True)
class P:
    x: int
    y: list = field(default_factory=list, compare=False)
    def norm(self): return self.x * 2
>>> a, b = P(1), P(2, [3])
... assert a < b and a == P(1, [9]) and a != b and b.norm() == 4 and max(a, b) is b
>>> assert repr(P(1, [2])) == 'P(x=1, y=[2])' and P(1).y is not P(1).y
>>> import dataclasses
... assert dataclasses.is_dataclass(P) and dataclasses.asdict(P(1, [2])) == {'x': 1, 'y': [2]}
>>> import dataclasses
... assert [f.name for f in dataclasses.fields(P)] == ['x', 'y'] and dataclasses.astuple(P(4)) == (4, [])
>>> import dataclasses
... assert dataclasses.replace(P(1, [2]), x=5).x == 5
!!! order=True => order=False
!!! self.x * 2 => self.x * 3
!!! field(default_factory=list, compare=False) => 0
=== frozen dataclass as key
from dataclasses import dataclass
@dataclass(frozen=True)
class K:
    a: int
    b: str = 'b'
>>> assert {K(1): 2}[K(1)] == 2 and len({K(1), K(1), K(2)}) == 2 and hash(K(1)) == hash(K(1, 'b'))
>>> try:
...     K(1).a = 2
... except AttributeError as e:
...     assert 'cannot assign' in str(e)
... else:
...     assert False
!!! frozen=True => eq=False
!!! b: str = 'b' => b: str = 'c'
=== ordering
from functools import total_ordering
@total_ordering
class V:
    def __init__(self, *n): self.n = n
    def __eq__(self, o): return self.n == o.n
    def __lt__(self, o): return self.n < o.n
    def __hash__(self): return hash(self.n)
>>> vs = [V(2), V(1, 5), V(1, 3)]
... assert [v.n for v in sorted(vs)] == [(1, 3), (1, 5), (2,)] and vs.index(V(2)) == 0 and V(1) <= V(1) and V(2) >= V(1, 9)
>>> assert max(V(1), V(3), V(2)).n == (3,) and V(3) in [V(1), V(3)] and V(3) in {V(3)} and V(1) != V(2)
>>> import bisect, heapq
... h = [V(3), V(1), V(2)]
... heapq.heapify(h)
... assert heapq.heappop(h).n == (1,) and bisect.bisect([V(1), V(3)], V(2)) == 1
!!! self.n < o.n => self.n > o.n
!!! self.n == o.n => self is o
=== arithmetic
class Vec:
    def __init__(self, x, y): self.x, self.y = x, y
    def __add__(self, o): return Vec(self.x + o.x, self.y + o.y)
    def __mul__(self, k): return Vec(self.x * k, self.y * k)
    __rmul__ = __mul__
    def __radd__(self, o): return self if o == 0 else NotImplemented
    def __neg__(self): return Vec(-self.x, -self.y)
    def __abs__(self): return (self.x ** 2 + self.y ** 2) ** 0.5
    def __matmul__(self, o): return self.x * o.x + self.y * o.y
    def __eq__(self, o): return isinstance(o, Vec) and (self.x, self.y) == (o.x, o.y)
    def __repr__(self): return f'Vec({self.x}, {self.y})'
    def __iadd__(self, o):
        self.x += o.x
        self.y += o.y
        return self
    def __bool__(self): return bool(self.x or self.y)
>>> assert Vec(1, 2) + Vec(3, 4) == Vec(4, 6) and Vec(1, 2) * 3 == 3 * Vec(1, 2) == Vec(3, 6)
>>> assert abs(Vec(3, 4)) == 5 and -Vec(1, -1) == Vec(-1, 1) != Vec(1, 1) and Vec(1, 2) @ Vec(3, 4) == 11
>>> assert sum([Vec(1, 1), Vec(2, 2)]) == Vec(3, 3) and str([Vec(0, 1)]) == '[Vec(0, 1)]'
>>> v = w = Vec(1, 1)
... v += Vec(1, 2)
... assert v is w and w == Vec(2, 3) and bool(v) and not Vec(0, 0)
>>> import functools, operator
... assert functools.reduce(operator.add, [Vec(1, 0)] * 3) == Vec(3, 0)
>>> try:
...     Vec(1, 1) + 'a'
... except AttributeError:
...     pass
... else:
...     assert False
>>> try:
...     'a' + Vec(1, 1)
... except TypeError:
...     pass
... else:
...     assert False
!!! self.x + o.x => self.x - o.x
!!! __rmul__ = __mul__ => pass
!!!         return self\n => \n
!!! (self.x, self.y) == (o.x, o.y) => True
=== conversions
class M:
    def __init__(self, v): self.v = v
    def __int__(self): return int(self.v)
    def __float__(self): return float(self.v)
    def __index__(self): return int(self.v)
    def __round__(self, n=None): return round(self.v, n) if n is not None else round(self.v)
    def __floor__(self): return -1
    def __trunc__(self): return -2
    def __complex__(self): return complex(self.v, 1)
    def __bytes__(self): return b'%d' % int(self.v)
    def __format__(self, spec): return f'<{spec}|{self.v}>'
    def __str__(self): return f'M{self.v}'
    def __repr__(self): return f'M({self.v!r})'
    def __divmod__(self, o): return divmod(self.v, o)
    def __hash__(self): return 17
>>> m = M(2.75)
... assert int(m) == 2 and float(m) == 2.75 and round(m) == 3 and round(m, 1) == 2.8 and complex(m) == 2.75 + 1j
>>> assert [10, 20, 30][m] == 30 and bytes(m) == b'2' and f'{m:>5}' == '<>5|2.75>' and '%s %r' % (m, m) == 'M2.75 M(2.75)'
>>> import math
... assert math.floor(m) == -1 and math.trunc(m) == -2 and divmod(m, 2) == (1.0, 0.75) and hash(m) == 17 and hex(m) == '0x2'
>>> assert '{0.v} {0}'.format(m) == '2.75 <|2.75>' and str(m) == 'M2.75' and ', '.join(map(str, [m, m])) == 'M2.75, M2.75'
!!! b'%d' => b'x%d'
!!! return 17 => return 18
!!! return f'M{self.v}' => return 'M'
=== container
class Bag:
    def __init__(self, items=()): self.items = list(items)
    def __len__(self): return len(self.items)
    def __getitem__(self, i): return Bag(self.items[i]) if isinstance(i, slice) else self.items[i]
    def __setitem__(self, i, v): self.items[i] = v
    def __delitem__(self, i): del self.items[i]
    def __contains__(self, x): return x in self.items
    def __iter__(self): return iter(self.items)
    def __reversed__(self): return iter(self.items[::-1])
    def __eq__(self, o): return isinstance(o, Bag) and self.items == o.items
>>> b = Bag('abcd')
... assert len(b) == 4 and b[1] == 'b' and b[-1] == 'd' and b[1:3] == Bag('bc') and 'c' in b and 'z' not in b
>>> b[0] = [1]
... b[0].append(2)
... del b[1:3]
... assert list(b) == [[1, 2], 'd'] and list(reversed(b)) == ['d', [1, 2]] and b[0] is b.items[0]
>>> x, *rest = Bag('xyz')
... assert x == 'x' and rest == ['y', 'z'] and [*Bag('ab'), *Bag('c')] == ['a', 'b', 'c'] and dict(zip(Bag('ab'), Bag([1, 2]))) == {'a': 1, 'b': 2}
>>> assert not Bag() and bool(Bag('a')) and sorted(Bag('ba')) == ['a', 'b'] and max(Bag([1, 5, 2])) == 5
>>> try:
...     b[10]
... except IndexError:
...     pass
... else:
...     assert False
>>> import collections.abc
... assert isinstance(b, collections.abc.Sized) and isinstance(b, collections.abc.Iterable) and isinstance(b, collections.abc.Container)
... assert not isinstance(b, collections.abc.Sequence) and not isinstance(b, collections.abc.Hashable) and not callable(b)
!!! self.items[::-1] => self.items
!!! Bag(self.items[i]) if isinstance(i, slice) else self.items[i] => self.items[i]
!!! def __contains__ => def contains
!!! def __len__ => def size
=== old iteration
class Seq:
    def __getitem__(self, i):
        if i >= 3: raise IndexError(i)
        return i * i
>>> assert list(Seq()) == [0, 1, 4] and 4 in Seq() and 5 not in Seq() and [x for x in Seq()] == [0, 1, 4] and sum(Seq()) == 5
!!! i >= 3 => i >= 4
=== multi-dimensional items
class Grid:
    def __init__(self): self.d = {}
    def __getitem__(self, k): return self.d.get(k, 0)
    def __setitem__(self, k, v): self.d[k] = v
>>> g = Grid()
... g[1, 2] = 3
... g[...] = 4
... g['a', None] = 5
... assert g[1, 2] == 3 and g[...] == 4 and g[2, 1] == 0
!>> g = Grid()
... g[1, 2] = 3
... assert g[2, 1] == 3
=== context manager
log = []
class C:
    def __init__(self, quiet): self.quiet = quiet
    def __enter__(self):
        log.append('in')
        return self
    def __exit__(self, kind, value, tb):
        log.append(kind.__name__ if kind else None)
        return self.quiet
>>> c = C(True)
... with c as d:
...     assert d is c
...     raise ValueError
... assert log == ['in', 'ValueError']
>>> try:
...     with C(False):
...         1 // 0
... except ZeroDivisionError:
...     assert log[2:] == ['in', 'ZeroDivisionError']
... else:
...     assert False
>>> with C(False): pass
... assert log[-1] is None
!!! return self.quiet => return True
!!! kind.__name__ if kind else None => 1
=== contextmanager function
from contextlib import contextmanager
events = []
@contextmanager
def f(x):
    events.append('start')
    try:
        yield [x]
    except KeyError as e:
        events.append(e.args[0])
    finally:
        events.append('end')
>>> with f(1) as v:
...     v.append(2)
... assert v == [1, 2] and events == ['start', 'end']
>>> with f(1): raise KeyError('k')
... assert events[2:] == ['start', 'k', 'end']
!!! except KeyError => except ValueError
!!! yield [x] => yield x
=== properties and methods
class Temp:
    count = 0
    def __init__(self, c):
        self._c = c
        Temp.count += 1
    @property
    def f(self): return self._c * 9 / 5 + 32
    @f.setter
    def f(self, v): self._c = (v - 32) * 5 / 9
    @f.deleter
    def f(self): self._c = None
    @classmethod
    def freezing(cls): return cls(0)
    @staticmethod
    def valid(c): return c > -273.15
>>> t = Temp(100)
... assert t.f == 212 and Temp.freezing().f == 32 and Temp.valid(0) and not t.valid(-300) and Temp.count == 2
>>> t.f = 50
... assert t._c == 10
... t._c = 20
... assert t.f == 68
>>> del t.f
... assert t._c is None
>>> assert isinstance(Temp.f, property) and 'f' in dir(t) and 'freezing' in dir(Temp)
>>> Temp.count = 10
... Temp(1)
... assert Temp.count == 11 and t.count == 11
>>> try:
...     t.new = [1]
...     assert t.new == [1] and vars(t)['new'] == [1] and t.__dict__['new'] is t.new
...     del t.new
...     t.new
... except AttributeError as e:
...     assert 'new' in str(e) and "'Temp' object has no attribute 'new'" == str(e)
... else:
...     assert False
!!! * 9 / 5 => * 9 // 5 + 1
!!! return cls(0) => return cls
!!! @staticmethod =>
!!! Temp.count += 1 => self.count += 1
=== read-only property
class R:
    @property
    def x(self): return 5
>>> try:
...     R().x = 6
... except AttributeError as e:
...     assert 'has no setter' in str(e)
... else:
...     assert False
!!! @property =>
=== slots
class S:
    __slots__ = ('a',)
    def __init__(self): self.a = 1
>>> s = S()
... s.a = 2
... try:
...     s.b = 3
... except AttributeError:
...     assert s.a == 2 and not hasattr(s, '__dict__') and S.__slots__ == ('a',)
... else:
...     assert False
!!! __slots__ = ('a',) => pass
=== inheritance
class Animal:
    kind = 'animal'
    def __init__(self, name): self.name = name
    def speak(self): return f'{self.name} {self.sound()}'
    def sound(self): raise NotImplementedError
class Dog(Animal):
    kind = 'dog'
    def sound(self): return 'woof'
class Puppy(Dog):
    def speak(self): return super().speak() + '!'
>>> p = Puppy('Rex')
... assert p.speak() == 'Rex woof!' and isinstance(p, Animal) and isinstance(p, Dog) and issubclass(Puppy, Animal) and p.kind == 'dog'
>>> assert Puppy.__mro__ == (Puppy, Dog, Animal, object) and Puppy.__bases__ == (Dog,) and type(p) is Puppy and p.__class__ is Puppy
>>> assert type(p).__name__ == 'Puppy' and Puppy.__qualname__ == 'Puppy' and not isinstance(Dog('a'), Puppy) and not issubclass(Dog, Puppy)
>>> assert Dog.speak(p) == 'Rex woof' and getattr(p, 'name') == 'Rex' and getattr(p, 'nope', 5) == 5 and Puppy.speak is not Dog.speak
>>> assert isinstance(p, (int, Animal)) and not isinstance(p, (int, str)) and Animal in Puppy.mro() and Animal.__subclasses__() == [Dog]
>>> try:
...     Animal('a').speak()
... except NotImplementedError:
...     pass
... else:
...     assert False
!!! class Dog(Animal): => class Dog(Animal, dict):
!!! super().speak() + '!' => self.name + ' woof?'
=== a diamond
class A:
    def go(self): return ['A']
class B(A):
    def go(self): return ['B'] + super().go()
class C(A):
    def go(self): return ['C'] + super().go()
class D(B, C):
    def go(self): return ['D'] + super().go()
>>> assert D().go() == ['D', 'B', 'C', 'A'] and [k.__name__ for k in D.__mro__] == ['D', 'B', 'C', 'A', 'object']
!!! class D(B, C) => class D(C, B)
=== abstract base class
from abc import ABC, abstractmethod
class Shape(ABC):
    @abstractmethod
    def area(self): ...
    @property
    def double(self): return 2 * self.area()
class Square(Shape):
    def __init__(self, s): self.s = s
    def area(self): return self.s ** 2
>>> assert Square(3).area() == 9 and Square(3).double == 18 and isinstance(Square(1), Shape)
>>> try:
...     Shape()
... except TypeError as e:
...     assert 'abstract' in str(e)
... else:
...     assert False
>>> class Circle(Shape):
...     def area(self): return 3
... assert Circle().double == 6 and isinstance(Circle(), Shape)
>>> import inspect
... assert inspect.isabstract(Shape) and not inspect.isabstract(Square)
!!! @abstractmethod =>
!!! self.s ** 2 => self.s * 2
=== a test derives from a class of the program
class Base:
    registry = []
    def __init_subclass__(cls, **kw): Base.registry.append(cls.__name__)
    def __init__(self, v): self.v = v
    def template(self): return self.step() + 1
    def step(self): return 0
>>> class Mine(Base):
...     def step(self): return self.v * 10
... m = Mine(2)
... assert m.template() == 21 and isinstance(m, Base) and issubclass(Mine, Base) and m.v == 2
>>> class Two(Base):
...     def __init__(self):
...         super().__init__(7)
... assert Two().v == 7 and Base.registry == ['Mine', 'Two']
!!! self.step() + 1 => self.step() + 2
=== exceptions derived by a test
class Failure(Exception):
    level = 1
def f(g):
    try: g()
    except Failure as e: return e.level
>>> class Worse(Failure):
...     level = 2
... def g(): raise Worse('x')
... assert f(g) == 2
!!! except Failure as e: return e.level => except Exception: return 1
=== list subclass
class Stack(list):
    def push(self, x): self.append(x)
    def peek(self): return self[-1]
    def __contains__(self, x): return list.__contains__(self, x)
>>> s = Stack([1])
... s.push([2])
... s.peek().append(3)
... assert s == [1, [2, 3]] and isinstance(s, list) and len(s) == 2 and type(s) is Stack and s[1:] == [[2, 3]]
>>> s.pop()
... s.extend([5, 4])
... s.sort()
... s.note = 'x'
... assert list(s) == [1, 4, 5] and sorted(s, reverse=True) == [5, 4, 1] and s.note == 'x' and sum(s) == 10 and s + [1] == [1, 4, 5, 1]
!!! self[-1] => self[0]
!!! self.append(x) => self.insert(0, x)
!!! class Stack(list): => class Stack(__import__('collections').UserList):
=== dict subclass
class Default(dict):
    def __missing__(self, key):
        self[key] = [key]
        return self[key]
    def total(self): return sum(len(v) for v in self.values())
>>> d = Default(a=[1])
... d['b'].append(2)
... assert d == {'a': [1], 'b': ['b', 2]} and d.total() == 3 and isinstance(d, dict) and list(d) == ['a', 'b'] and d.get('c') is None
>>> d.update(c=[])
... assert {**d} == {'a': [1], 'b': ['b', 2], 'c': []} and 'c' in d and len(d) == 3 and d.pop('a') == [1] and d | {'x': 1} == {'b': ['b', 2], 'c': [], 'x': 1}
!!! [key] => []
!!! self[key] = [key] => return [key]
=== overridden item access
class Lower(dict):
    def __setitem__(self, k, v): super().__setitem__(k.lower(), v)
    def __getitem__(self, k): return super().__getitem__(k.lower())
>>> d = Lower()
... d['ABC'] = 1
... assert d['aBc'] == 1 and list(d) == ['abc'] and d == {'abc': 1} and 'ABC' not in d
!!! (k.lower(), v) => (k, v)
=== int, str, float and tuple subclasses
class Celsius(float):
    def f(self): return self * 9 / 5 + 32
class Name(str):
    def initials(self): return ''.join(w[0] for w in self.split())
    def __add__(self, o): return Name(str.__add__(self, o))
class Pair(tuple):
    def __new__(cls, a, b): return super().__new__(cls, (a, b))
    @property
    def first(self): return self[0]
class Mod(int):
    def __add__(self, o): return Mod(int(self) + int(o) & 7)
    def __repr__(self): return f'Mod({int(self)})'
>>> assert Celsius(100).f() == 212 and Celsius(1.5) == 1.5 and isinstance(Celsius(1), float) and Celsius(1) + 1 == 2
>>> n = Name('ab cd')
... assert n.initials() == 'ac' and n == 'ab cd' and n.upper() == 'AB CD' and {n: 1}['ab cd'] == 1 and type(n + 'x') is Name and f'{n:>7}' == '  ab cd'
>>> a, b = Pair(1, [2])
... assert Pair(1, 2) == (1, 2) and Pair(1, 2).first == 1 and b == [2] and len(Pair(1, 2)) == 2 and type(Pair(1, 2)) is Pair
>>> assert Mod(7) + 5 == 4 and repr(Mod(3)) == 'Mod(3)' and str([Mod(3)]) == '[Mod(3)]' and Mod(3) * 2 == 6 and [5, 6][Mod(1)] == 6 and type(Mod(1) + Mod(1)) is Mod
!!! & 7 => & 3
!!! w[0] => w[1]
!!! self * 9 / 5 => self * 9 // 5 - 1
!!! return self[0] => return self[1]
=== named tuples
from collections import namedtuple
from typing import NamedTuple
P = namedtuple('P', 'x y', defaults=[0])
class Q(NamedTuple):
    a: int
    b: str = 'z'
    def both(self): return f'{self.a}{self.b}'
def f(p): return p._replace(x=p.x + 1)
>>> p = P(1, [2])
... p.y.append(3)
... assert p == (1, [2, 3]) and p._asdict() == {'x': 1, 'y': [2, 3]} and P._fields == ('x', 'y') and isinstance(p, tuple) and repr(P(1)) == 'P(x=1, y=0)'
>>> assert f(P(1, 2)) == P(2, 2) and f(P(1, 2)).x == 2 and type(f(P(1, 2))) is P and P._make([1, 2]) == (1, 2) and p._fields == ('x', 'y')
>>> assert Q(1).both() == '1z' and Q(1) == (1, 'z') and Q(a=2, b='b').b == 'b' and Q._field_defaults == {'b': 'z'} and hash(Q(1)) == hash((1, 'z'))
>>> x, y = P(1, 2)
... assert (x, y) == (1, 2) and P(1, 2) < P(1, 3) and P(1, 2)[1] == 2 and P(1, 2).index(2) == 1 and P(5, 6) + (7,) == (5, 6, 7)
!!! p.x + 1 => p.x + 2
!!! {self.a}{self.b} => {self.b}{self.a}
!!! defaults=[0] => defaults=[1]
=== enums
from enum import Enum, IntEnum, Flag, auto
class Color(Enum):
    RED = 1
    GREEN = 'g'
    CRIMSON = 1
    @property
    def nice(self): return self.name.lower()
    @classmethod
    def default(cls): return cls.RED
class Level(IntEnum):
    LOW = 1
    HIGH = 5
class Perm(Flag):
    R = auto()
    W = auto()
class S(str, Enum):
    A = 'a'
def f(): return Color.RED
def g(c): return c is Color.GREEN
>>> assert f() is Color.RED and f() == Color.RED and Color(1) is Color.RED and Color['GREEN'] is Color.GREEN and Color.CRIMSON is Color.RED
>>> assert f().name == 'RED' and f().value == 1 and str(f()) == 'Color.RED' and repr(f()) == '<Color.RED: 1>' and f().nice == 'red'
>>> assert [c.name for c in Color] == ['RED', 'GREEN'] and len(Color) == 2 and Color.RED in Color and list(Color.__members__) == ['RED', 'GREEN', 'CRIMSON']
>>> assert g(Color.GREEN) and not g(Color.RED) and {Color.RED: 1}[f()] == 1 and Color.default() is Color.RED and isinstance(f(), Color)
>>> assert Level.HIGH > Level.LOW and Level.HIGH > 3 and Level(5) == 5 and Level.HIGH + 1 == 6 and max(Level) is Level.HIGH and sorted([Level.HIGH, Level.LOW])[0] is Level.LOW
>>> assert (Perm.R | Perm.W) & Perm.W == Perm.W and Perm.R in (Perm.R | Perm.W) and not (Perm.R & Perm.W) and (Perm.R | Perm.W).value == 3
>>> assert S.A == 'a' and S('a') is S.A and S.A.upper() == 'A' and isinstance(S.A, str)
>>> try:
...     Color(7)
... except ValueError as e:
...     assert str(e) == '7 is not a valid Color'
... else:
...     assert False
!!! RED = 1 => RED = 2
!!! HIGH = 5 => HIGH = 0
!!! return Color.RED => return Color.GREEN
!!! A = 'a' => A = 'b'
=== attributes made up
class Dyn:
    def __init__(self): self.__dict__['data'] = {}
    def __getattr__(self, name):
        if name.startswith('_'): raise AttributeError(name)
        return f'<{name}>'
    def __setattr__(self, name, value): self.data[name] = value * 2
>>> d = Dyn()
... d.x = 4
... assert d.y == '<y>' and d.data == {'x': 8} and not hasattr(d, '_z') and getattr(d, 'any') == '<any>'
!!! value * 2 => value
!!! f'<{name}>' => name
=== descriptors
class Typed:
    def __init__(self, kind): self.kind = kind
    def __set_name__(self, owner, name): self.name = '_' + name
    def __get__(self, obj, owner=None): return self if obj is None else getattr(obj, self.name)
    def __set__(self, obj, v):
        if not isinstance(v, self.kind): raise TypeError(f'{self.name} wants {self.kind.__name__}')
        setattr(obj, self.name, v)
class Point:
    x = Typed(int)
    def __init__(self, x): self.x = x
>>> p = Point(3)
... p.x = 4
... try:
...     p.x = 'a'
... except TypeError as e:
...     assert str(e) == '_x wants int' and p.x == 4
... else:
...     assert False
>>> assert isinstance(Point.__dict__['x'], Typed) and Point.x.kind is int
>>> class Mine:
...     y = Typed(str)
... m = Mine()
... m.y = 'ok'
... assert m.y == 'ok' and m._y == 'ok'
!!! if not isinstance(v, self.kind): => if False:
=== callables
class Adder:
    def __init__(self, n): self.n, self.calls = n, 0
    def __call__(self, x, *rest, k=0, **kw):
        self.calls += 1
        return self.n + x + sum(rest) + k + len(kw)
>>> a = Adder(10)
... assert a(1) == 11 and a(1, 2, k=3, z=0) == 17 and callable(a) and list(map(a, [1, 2])) == [11, 12] and a.calls == 4
>>> m = a.__call__
... assert m(5) == 15 and not callable(5)
!!! self.calls += 1 => pass
!!! k + len(kw) => len(kw)
=== closures
def counter(start=0):
    n = start
    def step(by=1):
        nonlocal n
        n += by
        return n
    step.reset = lambda: None
    return step
>>> a, b = counter(), counter(10)
... assert [a(), a(), a(5)] == [1, 2, 7] and b() == 11 and a.reset() is None and a.__name__ == 'step' and a.__closure__ is not None
!!! nonlocal n => n = start
=== decorators
import functools
calls = []
def logged(func):
    @functools.wraps(func)
    def inner(*a, **k):
        calls.append((func.__name__, a, k))
        return func(*a, **k)
    return inner
@logged
def f(x, y=2):
    'Adds.'
    return x + y
@functools.lru_cache(maxsize=None)
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
part = functools.partial(f, 10, y=5)
>>> assert f(1, y=3) == 4 and calls == [('f', (1,), {'y': 3})] and f.__name__ == 'f' and f.__doc__ == 'Adds.' and f.__wrapped__(1) == 3
>>> assert fib(50) == 12586269025 and fib.cache_info().hits == 48 and fib.cache_info().currsize == 51
... fib.cache_clear()
... assert fib.cache_info().currsize == 0
>>> assert part() == 15 and part.args == (10,) and part.keywords == {'y': 5} and part.func is f
>>> @logged
... def mine(z): return z * 2
... assert mine(4) == 8 and calls[-1][0] == 'mine' and mine.__name__ == 'mine'
!!! @functools.wraps(func) =>
!!! calls.append((func.__name__, a, k)) => pass
!!! y=5 => y=6
=== a decorator with arguments and one of a class
def repeat(n):
    def deco(g):
        def inner(*a): return [g(*a) for _ in range(n)]
        return inner
    return deco
def singleton(cls):
    made = {}
    def get(*a):
        if cls not in made: made[cls] = cls(*a)
        return made[cls]
    return get
@singleton
class Config:
    def __init__(self): self.v = []
>>> @repeat(3)
... def f(x): return x + 1
... assert f(1) == [2, 2, 2]
>>> assert Config() is Config()
... Config().v.append(1)
... assert Config().v == [1]
>>> @singleton
... class Mine:
...     x = 1
... assert Mine() is Mine() and Mine().x == 1
!!! range(n) => range(n + 1)
!!! if cls not in made: => if True:
=== functions as objects
def f(a: int, /, b: str = 'x', *c, d=[], **e) -> list:
    '''Doc of f.'''
    return [a, b, c, d, e]
>>> import inspect
... s = inspect.signature(f)
... assert list(s.parameters) == ['a', 'b', 'c', 'd', 'e'] and s.parameters['b'].default == 'x' and s.parameters['d'].kind.name == 'KEYWORD_ONLY'
>>> import inspect
... assert str(inspect.signature(f)) == "(a: int, /, b: str = 'x', *c, d=[], **e) -> list"
>>> import inspect
... assert inspect.signature(f).return_annotation is list and inspect.isfunction(f) and inspect.getdoc(f) == 'Doc of f.'
>>> import inspect
... assert inspect.getfullargspec(f).args == ['a', 'b'] and inspect.getsource(f).startswith('def f(')
>>> assert f.__name__ == 'f' and f.__doc__ == 'Doc of f.' and f.__defaults__ == ('x',) and f.__kwdefaults__ == {'d': []} and f.__annotations__ == {'a': int, 'b': str, 'return': list}
>>> assert f.__code__.co_argcount == 2 and f.__code__.co_varnames[:2] == ('a', 'b') and f.__code__.co_name == 'f'
>>> import types, typing
... assert isinstance(f, types.FunctionType) and typing.get_type_hints(f)['b'] is str and type(f).__name__ == 'function' and callable(f)
>>> f.tag = 5
... assert f.tag == 5 and f.__dict__ == {'tag': 5} and repr(f).startswith('<function f at 0x')
!!! b: str = 'x' => b: str = 'y'
!!! '''Doc of f.''' => pass
!!! -> list => -> dict
=== a module's names
LIMIT, _hidden = 5, 6
table = {'a': [1]}
def f():
    global LIMIT
    LIMIT += 1
    table['n'] = LIMIT
>>> assert LIMIT == 5 and _hidden == 6
... f()
... assert LIMIT == 6 and table == {'a': [1], 'n': 6}
>>> table['a'].append(2)
... t = table
... f()
... assert t is table and t['a'] == [1, 2] and t['n'] == 7
>>> assert 'f' in globals() and callable(globals()['f']) and eval('LIMIT') == 7
!!! LIMIT += 1 => LIMIT += 2
=== a test rebinds a name of the program
factor = 2
def helper(x): return x + 1
def f(x): return helper(x) * factor
>>> assert f(1) == 4
... factor = 10
... assert f(1) == 20
>>> helper = lambda x: 0
... assert f(5) == 0
!!! * factor => * 2
=== a test changes a class of the program
class A:
    def go(self): return 1
    def twice(self): return 2 * self.go()
>>> A.go = lambda self: 21
... assert A().twice() == 42
>>> a = A()
... a.go = lambda: 5
... assert a.twice() == 10 and A().twice() == 42
>>> del A.twice
... assert not hasattr(a, 'twice')
!!! 2 * self.go() => 2
=== __new__ and a metaclass
class Meta(type):
    made = []
    def __new__(m, name, bases, ns):
        Meta.made.append(name)
        return super().__new__(m, name, bases, ns)
    @property
    def size(cls): return len(cls.__name__)
    def __len__(cls): return 3
    def __contains__(cls, x): return x == 1
class Only(metaclass=Meta):
    _one = None
    def __new__(cls):
        if cls._one is None: cls._one = super().__new__(cls)
        return cls._one
>>> assert Only() is Only() and Only.size == 4 and Meta.made == ['Only'] and type(Only) is Meta and isinstance(Only, Meta) and len(Only) == 3 and 1 in Only
>>> class Mine(metaclass=Meta): pass
... assert Meta.made == ['Only', 'Mine'] and Mine.size == 4
!!! cls._one = super().__new__(cls) => return super().__new__(cls)
=== linked list
class Node:
    def __init__(self, val=0, next=None): self.val, self.next = val, next
def build(xs):
    head = None
    for x in reversed(xs): head = Node(x, head)
    return head
def rev(head):
    prev = None
    while head: head.next, prev, head = prev, head, head.next
    return prev
>>> def items(n):
...     out = []
...     while n:
...         out.append(n.val)
...         n = n.next
...     return out
... assert items(rev(build([1, 2, 3]))) == [3, 2, 1] and rev(None) is None
>>> a = Node(1)
... a.next = Node(2)
... b = a.next
... r = rev(a)
... assert r is b and r.next is a and a.next is None
>>> class Own:
...     def __init__(self, v): self.val, self.next = v, None
... a, b = Own(1), Own(2)
... a.next = b
... assert rev(a) is b and b.next is a and a.next is None
>>> assert items(rev(build(list(range(300)))))[:3] == [299, 298, 297]
!!! return prev => return head
!!! reversed(xs) => xs
=== a tree, cyclic and doubly linked
class T:
    def __init__(self, v, parent=None):
        self.v, self.kids, self.parent = v, [], parent
        if parent: parent.kids.append(self)
def depth(t): return 1 + max(map(depth, t.kids), default=0)
>>> r = T(1)
... k = T(2, r)
... g = T(3, k)
... assert depth(r) == 3 and g.parent.parent is r and r.kids[0] is k and r.kids[0].kids == [g]
>>> k.kids.remove(g)
... assert depth(r) == 2 and g in [g] and g not in r.kids
!!! 1 + max => 2 + max
!!! parent.kids.append(self) => parent.kids.append(T(v))
=== copies
import copy
class A:
    def __init__(self): self.xs = [1]
    def clone(self): return copy.deepcopy(self)
>>> import copy
... a = A()
... b, c = copy.copy(a), copy.deepcopy(a)
... a.xs.append(2)
... assert b.xs == [1, 2] and c.xs == [1] and type(c) is A and a.clone().xs == [1, 2] and a.clone() is not a
>>> import copy
... d = copy.deepcopy({'k': [a, a]})
... assert d['k'][0] is d['k'][1] and d['k'][0] is not a
!!! self.xs = [1] => self.xs = (1,)
=== pickles
class A:
    def __init__(self, v): self.v = v
>>> import pickle
... assert pickle.loads(pickle.dumps(A([1]))).v == [1]
!>> import pickle
... assert pickle.loads(pickle.dumps(A([1]))).v == [2]
=== matching
class P:
    __match_args__ = ('x', 'y')
    def __init__(self, x, y): self.x, self.y = x, y
def f(n): return {'kind': n, 'args': [1, 2]}
>>> match P(1, [2, 3]):
...     case P(2, _): r = 'no'
...     case P(1, [a, b]): r = a + b
...     case _: r = None
... assert r == 5
>>> match f('x'):
...     case {'kind': 'x', 'args': [first, *_]}: r = first
...     case _: r = None
... assert r == 1
!!! ('x', 'y') => ('y', 'x')
=== hashing and equality among objects
class E:
    def __init__(self, k): self.k = k
    def __eq__(self, o): return isinstance(o, E) and self.k % 10 == o.k % 10
    def __hash__(self): return self.k % 10
class Plain: pass
>>> assert {E(1), E(11), E(2)} == {E(21), E(12)} and len({E(1): 1, E(11): 2}) == 1 and [E(1), E(2)].count(E(11)) == 1
>>> from collections import Counter
... assert Counter([E(1), E(11), E(2)])[E(31)] == 2 and list(dict.fromkeys([E(3), E(13)]))[0].k == 3
>>> a, b = Plain(), Plain()
... assert a != b and a == a and len({a, b, a}) == 2 and {a: 1}[a] == 1 and [a, b].index(b) == 1
>>> assert E(1) != 1 and not E(1) == 'x' and E(1) not in [1, 2] and Plain() != Plain
!!! return self.k % 10\n => return id(self)\n
!!! self.k % 10 == o.k % 10 => self.k == o.k
=== unhashable
class U:
    def __eq__(self, o): return True
>>> try:
...     {U(): 1}
... except TypeError as e:
...     assert 'unhashable type' in str(e)
... else:
...     assert False
!!! def __eq__ => def eq
=== ordering against plain values
class Money:
    def __init__(self, n): self.n = n
    def __lt__(self, o): return self.n < getattr(o, 'n', o)
    def __gt__(self, o): return self.n > getattr(o, 'n', o)
>>> assert Money(3) < 5 and Money(3) > 2 and 5 > Money(3)
!!! self.n < getattr => self.n > getattr
=== protocols and generics
from typing import Generic, Protocol, TypeVar, runtime_checkable
T = TypeVar('T')
class Box(Generic[T]):
    def __init__(self, v: T): self.v = v
    def get(self) -> T: return self.v
@runtime_checkable
class HasGet(Protocol):
    def get(self): ...
>>> b = Box[int](5)
... assert b.get() == 5 and isinstance(b, Box) and isinstance(b, HasGet) and not isinstance(5, HasGet) and issubclass(Box, HasGet)
!!! def get(self) -> T: return self.v => pass
=== coroutines
import asyncio
async def f(x):
    await asyncio.sleep(0)
    return x + 1
async def many(xs): return await asyncio.gather(*map(f, xs))
async def ticks(n):
    for i in range(n): yield i
class A:
    async def __aenter__(self): return 5
    async def __aexit__(self, *a): return False
>>> import asyncio
... assert asyncio.run(f(1)) == 2 and asyncio.run(many([1, 2])) == [2, 3]
>>> import asyncio, inspect
... async def go():
...     async with A() as v:
...         return [v] + [i async for i in ticks(3)] + [await f(v)]
... assert asyncio.run(go()) == [5, 0, 1, 2, 6] and inspect.iscoroutinefunction(f) and asyncio.iscoroutinefunction(f)
!!! return x + 1 => return x + 2
!!! range(n) => range(n + 1)
=== abstract classes of the library
from collections.abc import Mapping, Iterator, Callable
class M(Mapping):
    def __init__(self, d): self.d = d
    def __getitem__(self, k): return self.d[k]
    def __len__(self): return len(self.d)
    def __iter__(self): return iter(self.d)
class I:
    def __iter__(self): return self
    def __next__(self): raise StopIteration
def f(x): return isinstance(x, Callable)
>>> from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sized, MutableMapping
... m = M({'a': 1})
... assert isinstance(m, Mapping) and not isinstance(m, MutableMapping) and isinstance(m, Sized) and m.get('b', 2) == 2 and dict(m) == {'a': 1} and {**m} == {'a': 1}
>>> assert isinstance(I(), Iterator) and isinstance(I(), Iterable) and list(I()) == [] and isinstance(f, Callable) and isinstance(I, Hashable)
>>> assert 'a' in m and list(m.items()) == [('a', 1)] and m == {'a': 1} and len(m) == 1 and list(m.keys()) == ['a']
>>> assert f(len) and f(lambda: 0) and f(int) and f(M) and not f(5) and not f(I())
!!! class M(Mapping): => class M:
!!! isinstance(x, Callable) => x is len
=== numbers of its own
from numbers import Number
import numbers
class Z(Number):
    def __hash__(self): return 1
>>> import numbers
... assert isinstance(Z(), numbers.Number) and not isinstance(Z(), numbers.Real)
!!! class Z(Number): => class Z:
=== finalizers and weak references
import weakref
class W: pass
>>> import weakref
... w = W()
... r = weakref.ref(w)
... assert r() is w
... del w
... assert r() is None
!>> import weakref
... w = W()
... assert weakref.ref(w)() is None
=== default repr
class D: pass
def f(): return D()
>>> assert repr(f()).startswith('<') and ' object at 0x' in repr(f()) and D.__name__ in str(f())
!!! return D() => return 'D'
=== state in class attributes
class Acc:
    total = 0
    seen = []
    def add(self, n):
        self.total += n
        self.seen.append(n)
        return self
>>> a, b = Acc(), Acc()
... a.add(1).add(2)
... assert (a.total, b.total, Acc.total) == (3, 0, 0) and Acc.seen == b.seen == [1, 2] and a.seen is b.seen and vars(a) == {'total': 3}
!!! self.total += n => Acc.total += n
!!! return self => return Acc()
=== string methods of objects
class N:
    def __init__(self, n): self.n = n
    def __str__(self): return str(self.n)
    def __repr__(self): return f'N<{self.n}>'
>>> assert f'{N(1)} {N(2)!r} {N(3)!s:>4}' == '1 N<2>    3' and '%5s' % N(7) == '    7' and str({'k': N(1)}) == "{'k': N<1>}" and ascii(N(1)) == 'N<1>'
!!! N<{self.n}> => N({self.n})
=== bank account
class InsufficientFunds(Exception):
    def __init__(self, need, have):
        super().__init__(f'need {need}, have {have}')
        self.need, self.have = need, have
class Account:
    def __init__(self, owner, balance=0): self.owner, self.balance, self.history = owner, balance, []
    def deposit(self, n):
        if n <= 0: raise ValueError('positive')
        self.balance += n
        self.history.append(('in', n))
    def withdraw(self, n):
        if n > self.balance: raise InsufficientFunds(n, self.balance)
        self.balance -= n
        self.history.append(('out', n))
>>> a = Account('x')
... a.deposit(5)
... a.withdraw(3)
... assert a.balance == 2 and a.history == [('in', 5), ('out', 3)]
... try:
...     a.withdraw(10)
... except InsufficientFunds as e:
...     assert (e.need, e.have) == (10, 2) and str(e) == 'need 10, have 2' and a.balance == 2
... else:
...     assert False
>>> try:
...     a.deposit(-1)
... except ValueError as e:
...     assert 'positive' in str(e)
... else:
...     assert False
!!! self.balance -= n => pass
!!! if n > self.balance => if n >= 100
!!! if n <= 0 => if n < -5
"""

ITERATION = r"""
=== generator
def f(n):
    for i in range(n): yield i * i
>>> g = f(5)
... assert next(g) == 0 and next(g) == 1 and list(g) == [4, 9, 16] and list(g) == []
>>> assert sum(f(4)) == 14 and sorted(f(3), reverse=True) == [4, 1, 0] and [*f(2)] == [0, 1] and max(f(4), key=lambda x: -x) == 0 and 9 in f(4)
>>> for i, x in enumerate(f(100)):
...     if x == 49: break
... assert i == 7 and dict(zip('ab', f(9))) == {'a': 0, 'b': 1} and next(f(0), 'none') == 'none'
>>> a, *b, c = f(4)
... assert (a, b, c) == (0, [1, 4], 9) and iter(g) is g and len(list(f(1000))) == 1000
>>> import types, inspect
... assert isinstance(f(1), types.GeneratorType) and inspect.isgeneratorfunction(f) and inspect.isgenerator(f(1)) and hasattr(f(1), 'send')
>>> try:
...     next(f(0))
... except StopIteration as e:
...     assert e.value is None
... else:
...     assert False
!!! i * i => i * i + 1
!!! range(n) => range(n + 1)
!!! for i in range(n): yield i * i => return [i * i for i in range(n)]
=== infinite generators
from itertools import count
def primes():
    for n in count(2):
        if all(n % d for d in range(2, n)): yield n
>>> from itertools import islice, takewhile
... assert list(islice(primes(), 5)) == [2, 3, 5, 7, 11] and list(takewhile(lambda p: p < 10, primes())) == [2, 3, 5, 7]
>>> g = primes()
... assert [next(g) for _ in range(80)][-1] == 409 and next(g) == 419 and next(p for p in g if p % 10 == 7) == 457
!!! count(2) => count(1)
=== laziness
log = []
def f(xs):
    for x in xs:
        log.append(x)
        yield x
>>> g = f([1, 2, 3])
... assert log == [] and next(g) == 1 and log == [1]
... for x in g: break
... assert log == [1, 2]
>>> g = f(range(1000))
... log.clear()
... for _ in range(200): next(g)
... assert len(log) == 200
!!! log.append(x) => log.extend([x] * 2)
=== send, throw and close
def f():
    total, got = 0, []
    try:
        while True:
            x = yield total
            if x is None: return got
            total += x
            got.append(x)
    except KeyError:
        yield 'caught'
    finally:
        closed.append(total)
closed = []
>>> g = f()
... assert next(g) == 0 and g.send(5) == 5 and g.send(2) == 7
... g.close()
... assert closed == [7]
... try:
...     next(g)
... except StopIteration:
...     pass
... else:
...     assert False
>>> g = f()
... next(g)
... g.send(1)
... try:
...     next(g)
... except StopIteration as e:
...     assert e.value == [1]
>>> g = f()
... next(g)
... assert g.throw(KeyError('k')) == 'caught'
>>> def outer(): return (yield from f())
... g = outer()
... next(g)
... g.send(3)
... try:
...     next(g)
... except StopIteration as e:
...     assert e.value == [3]
!!! total += x => total -= x
!!! except KeyError => except ValueError
!!! closed.append(total) => pass
=== a generator that fails in the middle
def f(n):
    for i in range(n): yield 10 // (3 - i)
>>> got = []
... try:
...     for x in f(9): got.append(x)
... except ZeroDivisionError:
...     assert got == [3, 5, 10]
... else:
...     assert False
!!! 3 - i => 2 - i
!!! range(n) => range(2)
=== iterators of its own
class Count:
    def __init__(self, n): self.n = n
    def __iter__(self): return self
    def __next__(self):
        if self.n <= 0: raise StopIteration
        self.n -= 1
        return self.n
class Again:
    def __iter__(self): yield from 'ab'
def f(): return zip('ab', [1, 2]), map(str, [1]), enumerate('x'), reversed([1, 2]), iter({3: 4}), filter(None, [0, 5])
>>> c = Count(3)
... assert next(c) == 2 and c.n == 2 and list(c) == [1, 0] and list(c) == [] and iter(c) is c
>>> a = Again()
... assert list(a) == list(a) == ['a', 'b'] and list(zip(a, a)) == [('a', 'a'), ('b', 'b')] and ''.join(a) == 'ab'
>>> assert [list(x) for x in f()] == [[('a', 1), ('b', 2)], ['1'], [(0, 'x')], [2, 1], [3], [5]]
>>> assert [type(x).__name__ for x in f()] == ['zip', 'map', 'enumerate', 'list_reverseiterator', 'dict_keyiterator', 'filter']
>>> c = Count(500)
... assert [next(c) for _ in range(150)][-1] == 350 and c.n == 350
!!! self.n -= 1 => self.n -= 2
!!! yield from 'ab' => yield from 'abc'
!!! map(str, [1]) => map(int, [1])
=== two at a time
def pairs(xs):
    it = iter(xs)
    return zip(it, it)
def gen():
    for i in range(6): yield i
>>> assert list(pairs('abcdef')) == [('a', 'b'), ('c', 'd'), ('e', 'f')] and list(pairs(iter([1, 2, 3]))) == [(1, 2)]
>>> g = gen()
... assert list(zip(g, g)) == [(0, 1), (2, 3), (4, 5)] and list(pairs(gen())) == [(0, 1), (2, 3), (4, 5)]
>>> import itertools
... a, b = itertools.tee(gen())
... assert next(a) == 0 and list(b) == [0, 1, 2, 3, 4, 5] and list(itertools.chain(a, gen()))[:6] == [1, 2, 3, 4, 5, 0]
!!! zip(it, it) => zip(it, xs)
=== iterators handed in
def take(it, n): return [next(it) for _ in range(n)]
def total(xs): return sum(x for x in xs)
def first(xs): return next(iter(xs))
>>> g = (i for i in range(10))
... assert take(g, 3) == [0, 1, 2] and next(g) == 3 and take(g, 2) == [4, 5] and list(g) == [6, 7, 8, 9]
>>> def mine():
...     seen.append('a')
...     yield 1
...     seen.append('b')
...     yield 2
... seen = []
... assert first(mine()) == 1 and seen == ['a'] and total(mine()) == 3
>>> import itertools
... c = itertools.count(5)
... assert take(c, 2) == [5, 6] and next(c) == 7 and total(map(int, '123')) == 6 and total(range(4)) == 6 and total({1: 2}.values()) == 2
>>> try:
...     take(iter([]), 1)
... except StopIteration:
...     pass
... else:
...     assert False
>>> i = iter([1, 2, 3])
... assert first(i) == 1 and list(i) == [2, 3]
!!! range(n) => range(n - 1)
!!! next(iter(xs)) => list(xs)[0]
=== lists that change while iterated
def f(xs):
    for x in xs: yield x
>>> xs = [1, 2]
... g = f(xs)
... next(g)
... xs.append(3)
... assert list(g) == [2, 3]
!!! for x in xs: => for x in list(xs):
=== iterables of the test's own
def f(x): return list(x), len(x), x[0], 'a' in x
>>> class Mine:
...     def __iter__(self): return iter('ab')
...     def __len__(self): return 7
...     def __getitem__(self, i): return i + 1
...     def __contains__(self, v): return v == 'a'
... assert f(Mine()) == (['a', 'b'], 7, 1, True)
!!! len(x) => len(list(x))
=== callable iterators
def f(): return iter(lambda: state.append(1) or len(state), 4)
state = []
>>> assert list(f()) == [1, 2, 3] and state == [1] * 4
!!! 4) => 5)
"""

CALLBACKS = r"""
=== callbacks of every kind
def f(g, *xs): return [g(x) for x in xs]
>>> import functools, operator, math
... assert f(lambda x: x + 1, 1, 2) == [2, 3] and f(str, 1) == ['1'] and f(len, 'ab') == [2] and f(str.upper, 'a') == ['A'] and f('a-'.join, 'xy') == ['xa-y']
>>> assert f(functools.partial(pow, 2), 3, 4) == [8, 16] and f(math.sqrt, 4) == [2.0] and f({1: 2}.get, 1, 3) == [2, None] and f([].append, 1) == [None]
>>> import operator
... assert f(operator.itemgetter(1), 'ab') == ['b'] and f(operator.attrgetter('real'), 5) == [5] and f(operator.methodcaller('upper'), 'a') == ['A']
>>> import functools
... cached = functools.lru_cache(lambda x: x * 2)
... assert f(cached, 2, 2) == [4, 4] and cached.cache_info().hits == 1
>>> class Mine:
...     n = 0
...     def __call__(self, x):
...         self.n += x
...         return self.n
...     def method(self, x): return -x
... m = Mine()
... assert f(m, 1, 2) == [1, 3] and m.n == 3 and f(m.method, 1) == [-1] and f(Mine.method.__get__(m), 2) == [-2]
>>> assert f(list, 'ab') == [['a', 'b']] and f(int, '3') == [3] and f(type, 1, 'a') == [int, str] and f(set, [1, 1]) == [{1}] and f(bool, 0) == [False]
>>> seen = []
... assert f(seen.append, 1, [2]) == [None, None] and seen == [1, [2]]
>>> import re
... assert [m and m.group() for m in f(re.compile('a+').match, 'aab', 'b')] == ['aa', None]
!!! g(x) for => g(g(x)) for
!!! for x in xs => for x in xs[:1]
=== keys
def f(xs, key=None): return sorted(xs, key=key)
def best(xs, key): return max(xs, key=key, default=None)
>>> assert f([(1, 'b'), (2, 'a')], key=lambda p: p[1]) == [(2, 'a'), (1, 'b')] and f(['bb', 'a'], len) == ['a', 'bb'] and best(['a', 'bcd'], key=len) == 'bcd'
>>> import functools
... assert f([3, 1, 2], key=functools.cmp_to_key(lambda a, b: b - a)) == [3, 2, 1] and best([], key=len) is None
>>> assert f(['B', 'a'], key=str.lower) == ['a', 'B'] and f([{'n': 2}, {'n': 1}], lambda d: d['n'])[0] == {'n': 1}
!!! key=key) => key=key)[::-1]
=== callbacks that raise
def f(g, x):
    try: return g(x)
    except (ValueError, ZeroDivisionError) as e: return type(e).__name__ + str(e)
>>> def bad(x): raise ValueError('v%d' % x)
... assert f(bad, 1) == 'ValueErrorv1' and f(lambda x: 1 // x, 0).startswith('ZeroDivisionError') and f(int, 'q').startswith('ValueErrorinvalid literal')
>>> class Mine(Exception): pass
... def worse(x): raise Mine(x, [1])
... try:
...     f(worse, 5)
... except Mine as e:
...     assert e.args == (5, [1]) and type(e) is Mine
... else:
...     assert False
>>> class Sub(ValueError):
...     extra = 3
... def sub(x): raise Sub('s')
... assert f(sub, 1) == 'Subs'
!!! (ValueError, ZeroDivisionError) => ZeroDivisionError
!!! type(e).__name__ + str(e) => str(e)
=== callbacks with state
def apply(g, n):
    for i in range(n): g(i)
def compose(*gs):
    def inner(x):
        for g in gs: x = g(x)
        return x
    return inner
def same(g): return g
>>> total = 0
... def add(i):
...     global total
...     total += i
... apply(add, 4)
... assert total == 6
>>> def make():
...     n = [0]
...     def step(i): n[0] += 1
...     return step, n
... step, n = make()
... apply(step, 3)
... assert n == [3]
>>> h = compose(lambda x: x + 1, str, len)
... assert h(99) == 3 and compose()(5) == 5 and compose(h, h)(10 ** 5) == 1
>>> assert same(len) is len and same(add) is add and same(int) is int
!!! for g in gs: => for g in gs[::-1]:
!!! range(n) => range(n + 1)
!!! return g => return lambda *a: g(*a)
=== callbacks given the program's objects
class Item:
    def __init__(self, n): self.n, self.tags = n, []
def visit(items, g): return [g(i) for i in items]
def make(n): return [Item(i) for i in range(n)]
>>> xs = make(3)
... def tag(i):
...     i.tags.append(i.n)
...     return i
... ys = visit(xs, tag)
... assert ys[1] is xs[1] and xs[2].tags == [2] and isinstance(ys[0], Item) and visit(xs, lambda i: i.n) == [0, 1, 2]
!!! [g(i) for i in items] => [g(Item(i.n)) for i in items]
=== memoized, retried, timed
def retry(g, times):
    for i in range(times):
        try: return g()
        except OSError: pass
    raise RuntimeError(f'gave up after {times}')
def memoize(g):
    seen = {}
    def inner(*a):
        if a not in seen: seen[a] = g(*a)
        return seen[a]
    return inner
>>> tries = []
... def flaky():
...     tries.append(1)
...     if len(tries) < 3: raise ConnectionError('x')
...     return 'ok'
... assert retry(flaky, 5) == 'ok' and len(tries) == 3
>>> def never(): raise OSError
... try:
...     retry(never, 2)
... except RuntimeError as e:
...     assert str(e) == 'gave up after 2'
... else:
...     assert False
>>> calls = []
... @memoize
... def slow(a, b):
...     calls.append((a, b))
...     return a + b
... assert slow(1, 2) == 3 and slow(1, 2) == 3 and calls == [(1, 2)]
!!! if a not in seen: => if True:
!!! except OSError => except ValueError
=== generators as callbacks
def run(g): return [x for x in g()]
def pump(g):
    next(g)
    return [g.send(i) for i in range(3)]
>>> def gen():
...     yield 1
...     yield [2]
... assert run(gen) == [1, [2]]
>>> def echo():
...     x = None
...     while True: x = yield x
... assert pump(echo()) == [0, 1, 2]
!!! range(3) => range(2)
=== the test's own objects
def area(s): return s.w * s.h
def grow(s):
    s.w += 1
    return s
def describe(s): return f'{s} {s!r} {type(s).__name__}'
def add(a, b): return a + b
def eq(a, b): return a == b, a != b, a is b
def use(r):
    with r as v: return v
>>> class R:
...     def __init__(self, w, h): self.w, self.h = w, h
...     def __str__(self): return 'S'
...     def __repr__(self): return 'R'
...     def __add__(self, o): return R(self.w + o.w, self.h)
...     def __eq__(self, o): return isinstance(o, R) and self.w == o.w
...     def __hash__(self): return 1
...     def __enter__(self): return self.w
...     def __exit__(self, *a): self.w = None
... r = R(2, 3)
... assert area(r) == 6 and grow(r) is r and r.w == 3 and describe(r) == 'S R R' and add(r, R(1, 1)).w == 4
>>> assert eq(R(1, 0), R(1, 5)) == (True, False, False) and eq(r, r) == (True, False, True) and use(r) == 3 and r.w is None
>>> from dataclasses import dataclass
... @dataclass
... class D:
...     w: int
...     h: int = 2
... d = grow(D(1))
... assert d == D(2, 2) and area(d) == 4 and describe(D(1)) == 'D(w=1, h=2) D(w=1, h=2) D'
>>> from collections import namedtuple
... N = namedtuple('N', 'w h')
... assert area(N(3, 4)) == 12 and add(N(1, 2), (3,)) == (1, 2, 3) and describe(N(1, 2)).endswith('N')
>>> from types import SimpleNamespace
... s = SimpleNamespace(w=1, h=5)
... assert grow(s) is s and area(s) == 10
!!! s.w * s.h => s.w + s.h
!!! s.w += 1 => pass
!!! return a + b => return b
=== enums and classes of the test's own
def f(c): return c.name, c.value
def make(cls, *a): return cls(*a)
def kinds(c): return [m.name for m in c]
>>> from enum import Enum, IntEnum
... class C(Enum):
...     A = 1
...     B = [2]
... class L(IntEnum):
...     X = 4
... assert f(C.A) == ('A', 1) and f(C.B) == ('B', [2]) and kinds(C) == ['A', 'B'] and f(L.X) == ('X', 4) and make(C, 1) is C.A
>>> class P:
...     def __init__(self, x): self.x = x
... p = make(P, [1])
... assert isinstance(p, P) and p.x == [1] and make(int, '5') == 5 and make(dict) == {} and make(list, 'ab') == ['a', 'b']
!!! c.name, c.value => c.value, c.name
!!! cls(*a) => cls
=== other things handed in
def f(x): return x
def name(m): return m.__name__
def pick(rng): return rng.randint(1, 1)
def attr(x): return x.a
>>> marker = object()
... assert f(marker) is marker and f([marker])[0] is marker and f({'k': marker}) == {'k': marker}
>>> import random
... assert pick(random.Random(3)) == 1
>>> import math
... assert f(math) is math and name(math) == 'math'
>>> from unittest.mock import Mock
... m = Mock(a=5)
... assert attr(m) == 5 and f(m) is m
>>> import argparse
... assert attr(argparse.Namespace(a=6)) == 6
!!! return x.a => return x.b
=== mocks that note calls
def f(g): return g(1, k=2) + 1
>>> from unittest.mock import Mock
... m = Mock(return_value=5)
... assert f(m) == 6
... m.assert_called_once_with(1, k=2)
!!! g(1, k=2) => g(1, k=3)
=== what the program sees of a callback
import inspect
def name(g): return g.__name__
def doc(g): return g.__doc__
def arity(g): return g.__code__.co_argcount
def count(g): return len(inspect.signature(g).parameters)
def kind(g): return callable(g), isinstance(g, type(lambda: 0)), isinstance(g, type)
>>> def h(a, b=2): 'Doc.'
... assert name(h) == 'h' and name(len) == 'len' and name(int) == 'int'
>>> assert doc(h) == 'Doc.'
>>> assert count(h) == 2 and count(lambda x: x) == 1
>>> assert arity(h) == 2
>>> assert kind(h) == (True, True, False) and kind(int) == (True, False, True) and kind(5) == (False, False, False)
!!! g.__name__ => g.__name__.upper()
!!! len(inspect => 1 + len(inspect
=== data types derived by the test
def kind(x): return type(x).__name__
def extra(x): return x.extra()
def add(x): x.append(3)
>>> class L(list):
...     def extra(self): return len(self) * 10
... x = L([1, 2])
... assert extra(x) == 20
>>> assert kind(x) == 'L'
>>> add(x)
... assert x == [1, 2, 3] and type(x) is L
>>> class N(int):
...     def extra(self): return self + 1
... assert extra(N(4)) == 5 and kind(N(4)) == 'N'
!!! x.append(3) => x.append(4)
!!! __name__ => __qualname__ + ' '
=== what is printed
def f(x): print('got', x, sep=': ')
def ask(): return int(input('? ')) + 1
>>> import contextlib, io
... out = io.StringIO()
... with contextlib.redirect_stdout(out): f(5)
... assert out.getvalue() == 'got: 5\n'
>>> import io, sys
... old, sys.stdout = sys.stdout, io.StringIO()
... f(6)
... text, sys.stdout = sys.stdout.getvalue(), old
... assert text == 'got: 6\n'
>>> from unittest.mock import patch
... with patch('builtins.input', return_value='41'): assert ask() == 42
>>> from unittest.mock import patch
... with patch('builtins.print') as p: f(7)
... p.assert_called_once_with('got', 7, sep=': ')
>>> import io, sys
... sys.stdin = io.StringIO('9\n')
... assert ask() == 10
!!! 'got' => 'Got'
!!! + 1 => + 2
=== unittest and pytest
def f(x):
    if x < 0: raise ValueError('negative')
    return x ** 0.5
>>> import unittest
... class T(unittest.TestCase):
...     def test_a(self): self.assertEqual(f(4), 2)
...     def test_b(self):
...         with self.assertRaisesRegex(ValueError, 'neg'): f(-1)
...     def test_c(self): self.assertAlmostEqual(f(2), 1.41421, 4)
... r = unittest.TestResult()
... unittest.defaultTestLoader.loadTestsFromTestCase(T).run(r)
... assert r.testsRun == 3 and r.wasSuccessful()
>>> import pytest
... with pytest.raises(ValueError, match='negative') as info: f(-1)
... assert info.value.args == ('negative',) and f(2) == pytest.approx(1.41421, abs=1e-4)
!!! 'negative' => 'no'
!!! x ** 0.5 => x ** 0.6
"""

SHARING = r"""
=== identity of what is handed in
def f(x): return x
def g(x): return [x, x]
def h(x): return x is None
>>> xs, d, s = [1], {}, set()
... assert f(xs) is xs and f(d) is d and f(s) is s and g(xs)[0] is xs and g(xs)[0] is g(xs)[1] and h(None) and not h(0)
>>> t, text, big, q = (1, [2]), 'abc' * 20, 2 ** 100, 1.5
... assert f(t) is t and f(text) is text and f(big) is big and f(q) is q
>>> from fractions import Fraction
... from datetime import date
... x, y = Fraction(1, 2), date(2024, 1, 1)
... assert f(x) is x and f(y) is y
>>> n = float('nan')
... assert f(n) is n and g(n) == [n, n] and n in f([n])
>>> e = ValueError('a')
... assert f(e) is e
!!! return x\n => return __import__('copy').copy(x)\n
!!! [x, x] => [x, list(x)]
=== a list given twice
def f(a, b):
    a.append(1)
    return b, a is b
def rows(n): return [[0] * n] * n
def grid(n): return [[0] * n for _ in range(n)]
>>> xs = []
... assert f(xs, xs) == ([1], True) and xs == [1] and f([], []) == ([], False) and f(a=xs, b=xs)[0] is xs
>>> m = rows(2)
... m[0][0] = 5
... assert m == [[5, 0], [5, 0]] and m[0] is m[1]
>>> m = grid(2)
... m[0][0] = 5
... assert m == [[5, 0], [0, 0]] and m[0] is not m[1]
!!! a.append(1) => a = a + [1]
!!! [[0] * n] * n => [[0] * n for _ in range(n)]
!!! [[0] * n for _ in range(n)] => [[0] * n] * n
=== mutable defaults
def f(x, seen=[]):
    seen.append(x)
    return seen
def g(x, seen=None):
    seen = [] if seen is None else seen
    seen.append(x)
    return seen
>>> a = f(1)
... assert a == [1] and f(2) == [1, 2] and a == [1, 2] and f(3) is a and f.__defaults__[0] is a
>>> assert g(1) == [1] and g(2) == [2] and g(1) is not g(1)
... xs = [0]
... assert g(5, xs) is xs and xs == [0, 5]
!!! [] if seen is None else seen => f.__defaults__[0]
!!! seen.append(x)\n    return seen\ndef => return seen + [x]\ndef
=== what the program keeps
kept = []
def keep(x):
    kept.append(x)
def get(i): return kept[i]
def total(): return sum(map(sum, kept))
>>> xs = [1]
... keep(xs)
... xs.append(2)
... assert total() == 3 and get(0) is xs and kept[0] is xs
... get(0).append(3)
... assert xs == [1, 2, 3] and total() == 6
>>> ys = []
... keep(ys)
... for i in range(400): ys.append(i)
... assert total() == 6 + sum(range(400)) and get(1) is ys
>>> for i in range(600): keep([i])
... assert get(-1) == [599] and len(kept) == 602 and get(0) is xs
!!! kept.append(x) => kept.append(list(x))
=== what the program gives away
class Box:
    def __init__(self): self.items = []
    def view(self): return self.items
    def copy(self): return self.items[:]
>>> b = Box()
... b.view().append(1)
... b.copy().append(2)
... assert b.items == [1] and b.view() is b.items and b.copy() is not b.items
... v = b.items
... b.items.append(3)
... assert v == [1, 3]
... b.items = v2 = [9]
... assert b.view() is v2 and v == [1, 3]
!!! return self.items[:] => return self.items
!!! return self.items\n => return list(self.items)\n
=== deep data
def nest(n, kind=list):
    x = kind()
    for i in range(n): x = [i, x] if kind is list else {'k': x}
    return x
def tup(n):
    x = ()
    for i in range(n): x = (i, x)
    return x
def depth(x):
    n = 0
    while x:
        x = x['k'] if isinstance(x, dict) else x[1]
        n += 1
    return n
>>> def measure(x):
...     n = 0
...     while x:
...         x = x['k'] if isinstance(x, dict) else x[1]
...         n += 1
...     return n
... assert measure(nest(300)) == 300 and measure(nest(300, dict)) == 300
>>> x = []
... for i in range(300): x = [i, x]
... assert depth(x) == 300
>>> assert measure(tup(300)) == 300
>>> x = ()
... for i in range(300): x = (i, x)
... assert depth(x) == 300
!!! [i, x] if => [i, [i, x]] if
!!! n += 1 => n += 2
=== cyclic data
def loop():
    a = [1]
    a.append(a)
    return a
def ring(n):
    ds = [{'i': i} for i in range(n)]
    for i, d in enumerate(ds): d['next'] = ds[(i + 1) % n]
    return ds[0]
def knot():
    t = ([],)
    t[0].append(t)
    return t
def count(x):
    seen, todo = set(), [x]
    while todo:
        y = todo.pop()
        if id(y) in seen: continue
        seen.add(id(y))
        todo += y if isinstance(y, (list, tuple)) else y.values() if isinstance(y, dict) else []
    return len(seen)
>>> a = loop()
... assert a[1] is a and len(a) == 2 and a[1][1][0] == 1 and repr(a) == '[1, [...]]'
>>> r = ring(3)
... assert r['next']['next']['next'] is r and r['next']['i'] == 1 and r['next'] is not r
>>> x = [1, {}]
... x[1]['x'] = x
... assert count(x) == 3
>>> k = knot()
... assert k[0][0] is k and type(k) is tuple
!!! (i + 1) % n => (i + 2) % n
!!! a.append(a) => a.append([1, a])
!!! len(seen) => len(seen) + 1
=== order of sets and dicts
def f(s): return list(s)
def build(): return {w: len(w) for w in ('pear', 'fig', 'apple')}
def letters(t): return set(t)
>>> s = {'pear', 'fig', 'apple', 'kiwi', 'plum'}
... assert f(s) == list(s) and f(build()) == ['pear', 'fig', 'apple'] and list(build().values()) == [4, 3, 5]
>>> s = set(range(100))
... s -= set(range(100)) - {1, 64}
... assert f(s) == list(s)
>>> s = {8, 0, 16}
... assert f(s) == list(s) and f(frozenset([16, 8, 0])) == list(frozenset([16, 8, 0]))
>>> s = set(range(40))
... for i in range(35): s.discard(i)
... s |= {64, 128, 0}
... assert f(s) == list(s) and [x for x in letters('hello')] == list(set('hello'))
!!! return list(s) => return sorted(s, key=str)[::-1]
!!! ('pear', 'fig', 'apple') => ('fig', 'pear', 'apple')
=== views that live
d = {1: 2}
def f(): return d.keys()
def g(): d[3] = 4
def look(v, x):
    x['new'] = 1
    return list(v)
>>> v = f()
... g()
... assert list(v) == [1, 3]
>>> x = {}
... assert look(x.keys(), x) == ['new']
>>> from types import MappingProxyType
... x = {}
... p = MappingProxyType(x)
... x['a'] = 1
... assert look(p, {}) == ['a']
!!! d[3] = 4 => d[4] = 4
!!! list(v) => sorted(v) + [0]
=== swaps and in-place algorithms
def reverse(xs):
    i, j = 0, len(xs) - 1
    while i < j:
        xs[i], xs[j] = xs[j], xs[i]
        i, j = i + 1, j - 1
def rotate(m): m[:] = [list(r) for r in zip(*m[::-1])]
def dedup(xs): xs[:] = dict.fromkeys(xs)
def bad(xs): xs = sorted(xs)
>>> xs = list(range(50))
... reverse(xs)
... assert xs == list(range(49, -1, -1)) and reverse(xs) is None and xs[0] == 0
>>> m = [[1, 2], [3, 4]]
... row = m[0]
... rotate(m)
... assert m == [[3, 1], [4, 2]] and row == [1, 2]
>>> xs = [1, 2, 1]
... dedup(xs)
... assert xs == [1, 2]
... bad(xs)
... ys = [2, 1]
... bad(ys)
... assert ys == [2, 1]
!!! m[:] => m
!!! i, j = i + 1, j - 1 => i, j = i + 1, j - 2
!!! xs = sorted(xs) => xs.sort()
=== objects hold what the test hands in
class Node:
    def __init__(self, data): self.data = data
    def grow(self): self.data.append(len(self.data))
>>> xs = []
... n = Node(xs)
... n.grow()
... xs.append('t')
... n.grow()
... assert xs == [0, 't', 2] and n.data is xs
... m = Node(n)
... assert m.data is n and m.data.data is xs
!!! self.data = data => self.data = data[:] if isinstance(data, list) else data
"""

LITERALS = r"""
=== equal values of several types
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
class I(IntEnum): A = 2
class S(str, Enum): A = 'a'
class L(list): pass
P = namedtuple('P', 'x y')
def f(n): return [Counter('aab'), OrderedDict(a=2, b=1), defaultdict(int, a=2, b=1), {'b': 1, 'a': 2}][n]
def num(n): return [Decimal(2), Fraction(4, 2), complex(2), 2.0, I.A, 2][n]
def seq(n): return [P(1, 2), (1, 2)][n]
def lst(n): return [L([1]), [1], [True], [1.0]][n]
def text(n): return [S.A, 'a'][n]
def bag(n): return [frozenset({1}), {1}, {1: 2}.keys()][n]
def raw(n): return [bytearray(b'a'), b'a'][n]
>>> assert f(0) == {'a': 2, 'b': 1}
>>> assert f(1) == {'a': 2, 'b': 1}
>>> assert f(2) == {'a': 2, 'b': 1}
>>> assert f(3) == {'a': 2, 'b': 1}
>>> assert num(0) == 2
>>> assert num(1) == 2
>>> assert num(2) == 2
>>> assert num(3) == 2
>>> assert num(4) == 2
>>> assert seq(0) == (1, 2)
>>> assert lst(0) == [1]
>>> assert lst(2) == [1]
>>> assert lst(3) == [1]
>>> assert text(0) == 'a'
>>> assert bag(0) == {1}
>>> assert bag(1) == {1}
>>> assert bag(2) == {1}
>>> assert raw(0) == b'a'
!!! aab => aabb
!!! Fraction(4, 2) => Fraction(5, 2)
!!! {1: 2}.keys() => {2: 2}.keys()
!!! P(1, 2), => [1, 2],
=== objects of the library that equal data
from collections import UserDict, UserList, UserString
from types import MappingProxyType
def f(n): return [UserList([1]), UserDict(a=1), UserString('a'), memoryview(b'a'), MappingProxyType({'a': 1})][n]
>>> assert f(0) == [1]
>>> assert f(1) == {'a': 1}
>>> assert f(2) == 'a'
>>> assert f(3) == b'a'
>>> assert f(4) == {'a': 1}
>>> assert len(f(0)) == 1 and f(1)['a'] == 1 and f(2).upper() == 'A' and f(3)[0] == 97 and f(4).get('b') is None
!!! UserList([1]) => UserList([2])
!!! memoryview(b'a') => memoryview(b'b')
=== values that are not equal
from array import array
from collections import deque
from pathlib import PurePosixPath
import datetime
class O:
    def __init__(self): self.x = 1
def f(n): return [(1, 2), range(1, 3), deque([1, 2]), array('i', [1, 2]), iter([1, 2]), {1, 2}, {1: 0, 2: 0}, {1: 2}.values()][n]
def text(n): return [b'a', PurePosixPath('a'), ['a'], O(), None, 'a '][n]
def nan(): return float('nan')
!>> assert f(0) == [1, 2]
!>> assert f(1) == [1, 2]
!>> assert f(2) == [1, 2]
!>> assert f(3) == [1, 2]
!>> assert f(4) == [1, 2]
!>> assert f(5) == [1, 2]
!>> assert f(6) == [1, 2]
!>> assert text(0) == 'a'
!>> assert text(1) == 'a'
!>> assert text(2) == 'a'
!>> assert text(3) == 'a'
!>> assert text(4) == 'a'
!>> assert text(5) == 'a'
!>> assert nan() == 1.0
=== arguments
def f(a, b=2, *c, d=4, **e): return [a, b, list(c), d, e]
>>> assert f(1) == [1, 2, [], 4, {}]
>>> assert f(1, 3, 5, d=6, z=7) == [1, 3, [5], 6, {'z': 7}]
>>> assert f(*[1, 2, 3], **{'d': 0}) == [1, 2, [3], 0, {}]
>>> assert f(a=[1, (2,)], b={'k': {1}}) == [[1, (2,)], {'k': {1}}, [], 4, {}]
>>> assert f(-1, +2, d=1 - 2j) == [-1, 2, [], 1 - 2j, {}]
>>> assert f(b'\x00', 'é', None, ..., d=True) == [b'\x00', 'é', [None, ...], True, {}]
!!! d=4 => d=5
!!! list(c) => c
=== other ways to state it
def f(x): return [x, {'k': (x,)}]
def yes(x): return x > 0
>>> assert f(1) == [1, {'k': (1,)}], 'message'
>>> assert [1, {'k': (1,)}] == f(1)
>>> assert f(1)[1]['k'][0] == 1 and len(f(2)) == 2 and f(1) != f(2)
>>> assert yes(1) and not yes(-1) and yes(1) is True and (yes(1), yes(0)) == (True, False)
>>> assert f(1) == [1, {'k': (1,)}] != [] and 1 in f(1) and isinstance(f(1), list) and type(f(1)[1]) is dict
>>> assert all(f(i)[0] == i for i in range(5)) and {yes(i) for i in range(-2, 3)} == {True, False}
>>> for i in range(3): assert f(i) == [i, {'k': (i,)}]
>>> assert str(f('a')) == "['a', {'k': ('a',)}]" and f"{f(1)}" == "[1, {'k': (1,)}]"
>>> r = f(1); r[1]['k'] += (2,); assert r == [1, {'k': (1, 2)}]
!!! (x,) => [x]
!!! x > 0 => x >= 0
!!! x > 0 => 1 if x > 0 else 0
=== names that a test binds elsewhere
def f(x): return x
def size(x): return len(x)
def total(x): return sum(x)
def item(x): return x[0]
>>> assert f([2]) == [2] and sorted([2, 1], key=lambda f: f) == [1, 2]
>>> class A:
...     def size(self): return 1
... assert size([1, 2]) == 2 and A().size() == 1
>>> def helper(total): return total + 1
... assert total([1, 2]) == 3 and helper(1) == 2
>>> def other():
...     item = 5
...     return item
... assert item([1]) == 1 and other() == 5
>>> assert [f for f in f([1])] == [1]
!!! return x[0] => return x[-1:]
=== random numbers, seeded by the test
import random
def f(xs):
    xs = list(xs)
    random.shuffle(xs)
    return xs
>>> import random
... random.seed(5)
... a = f(range(20))
... random.seed(5)
... assert f(range(20)) == a and sorted(a) == list(range(20))
>>> import random
... random.seed(7)
... expected = list(range(20))
... random.shuffle(expected)
... random.seed(7)
... assert f(range(20)) == expected
!!! random.shuffle(xs) => xs.reverse()
=== state of modules, shared by program and test
import os, sys, decimal, warnings
def limit(): return sys.getrecursionlimit()
def env(): return os.environ.get('ORACLE')
def third(): return str(decimal.Decimal(1) / 3)
def warn(): warnings.warn('old', DeprecationWarning)
>>> import os
... os.environ['ORACLE'] = 'x'
... assert env() == 'x'
>>> import decimal
... decimal.getcontext().prec = 3
... assert third() == '0.333'
>>> import warnings
... with warnings.catch_warnings(record=True) as w:
...     warnings.simplefilter('always')
...     warn()
... assert len(w) == 1 and issubclass(w[0].category, DeprecationWarning)
>>> import sys
... assert limit() == sys.getrecursionlimit()
!!! Decimal(1) / 3 => Decimal(2) / 3
=== files
def save(path, text):
    with open(path, 'w') as f: f.write(text)
def lines(f): return [line.strip() for line in f]
>>> import os, tempfile
... path = os.path.join(tempfile.mkdtemp(), 'a.txt')
... save(path, 'x\ny\n')
... assert open(path).read() == 'x\ny\n'
>>> import io
... assert lines(io.StringIO('a \nb')) == ['a', 'b']
!!! f.write(text) => f.write(text.upper())
=== time
from datetime import datetime, timedelta, timezone
def add(d, n): return d + timedelta(days=n)
def utc(ts): return datetime.fromtimestamp(ts, tz=timezone.utc)
def diff(a, b): return (b - a).days
>>> from datetime import date, datetime, timezone
... assert add(date(2024, 2, 28), 1) == date(2024, 2, 29) and add(datetime(2024, 1, 1, 5), 1).hour == 5 and diff(date(2024, 1, 1), date(2024, 3, 1)) == 60
>>> from datetime import datetime, timezone
... assert utc(0) == datetime(1970, 1, 1, tzinfo=timezone.utc) and utc(0).tzinfo is timezone.utc
!!! days=n => days=n + 1
!!! tz=timezone.utc => tz=None
"""

NUMPY = r"""
=== arrays returned
import numpy as np
def f(n): return np.arange(n) * 2.5
def mask(a): return a > 1
def mat(): return np.eye(2, dtype=np.int32)
>>> import numpy as np
... r = f(3)
... assert isinstance(r, np.ndarray) and r.shape == (3,) and r.dtype == np.float64 and np.array_equal(r, [0, 2.5, 5]) and r.tolist() == [0.0, 2.5, 5.0]
>>> np.testing.assert_allclose(f(2), [0, 2.5])
... assert mask(np.array([1, 2])).tolist() == [False, True] and (mat() == np.eye(2)).all() and mat().dtype == 'int32' and mat().sum() == 2
!!! 2.5 => 2
!!! int32 => int64
!!! a > 1 => a >= 1
=== scalars
import numpy as np
def f(): return np.float64(1.5)
def n(): return np.int64(3)
def b(x): return np.bool_(x > 0)
def s(): return np.float32(0.1)
>>> import numpy as np
... assert f() == 1.5 and isinstance(f(), float) and n() == 3 and isinstance(n(), np.integer) and not isinstance(n(), int) and type(s()) is np.float32 and s().nbytes == 4
>>> assert b(1) and not b(0) and b(1) is not True and n() + 1 == 4 and [1, 2, 3, 4][n()] == 4 and f().item() == 1.5 and round(f()) == 2
!!! np.int64(3) => np.int64(4)
!!! np.bool_(x > 0) => x > 0
!!! np.float32(0.1) => np.float64(0.1)
=== literal comparison
import numpy as np
def f(n): return [np.float64(2.0), np.int32(2), np.array(2), [np.int64(2)], np.str_('a')][n]
>>> assert f(0) == 2
>>> assert f(1) == 2
>>> assert f(2) == 2
>>> assert f(3) == [2]
>>> assert f(4) == 'a'
!>> assert f(0) == 3
!>> assert f(3) == [3]
=== arrays handed in
import numpy as np
def f(a): return a.ndim, a.shape, str(a.dtype), float(a.mean())
def scale(a, k): a *= k
def same(a): return a
>>> import numpy as np
... assert f(np.ones((2, 3))) == (2, (2, 3), 'float64', 1.0) and f(np.array([1, 2], dtype='int16'))[2] == 'int16'
>>> a = np.array([1.0, 2.0])
... scale(a, 3)
... assert a.tolist() == [3, 6] and same(a) is a
!!! a *= k => a = a * k
!!! a.ndim => a.size
=== other arrays
import numpy as np
def f(n): return [np.array(['ab', 'c']), np.array([1 + 2j]), np.array([None, [1]], dtype=object), np.array([[1, 2], [3, 4]]).T, np.zeros(0), np.array([(1, 2.5)], dtype=[('a', 'i4'), ('b', 'f8')])][n]
>>> assert f(0).tolist() == ['ab', 'c'] and f(0).dtype.kind == 'U' and f(1)[0] == 1 + 2j and f(2)[1] == [1] and f(3).tolist() == [[1, 3], [2, 4]] and f(4).size == 0
>>> assert f(5)['b'][0] == 2.5
!>> assert f(3).tolist() == [[1, 2], [3, 4]]
=== ambiguous truth
import numpy as np
def f(): return np.array([1, 2])
!>> assert f() == [1, 2]
!>> assert f() == [1, 3]
=== views
import numpy as np
base = np.zeros((2, 2))
def row(i): return base[i]
def total(): return float(base.sum())
>>> r = row(0)
... r[:] = 5
... assert total() == 10
!!! base[i] => base[i].copy()
"""

CHECKS = r"""
=== plain
def f(n): return n * 2
>>> def check(candidate):
...     assert candidate(2) == 4
...     assert candidate(0) == 0, 'zero'
!!! n * 2 => n ** 2 + 1
=== names and metadata
def f(xs): return sorted(xs)[::-1]
>>> METADATA = {'author': 'x'}
... def check(candidate):
...     assert candidate([1, 3, 2]) == [3, 2, 1] and candidate is f
...     assert candidate.__name__ == 'f'
!!! [::-1] =>
=== loops, random and tolerance
import math
def f(r): return math.pi * r ** 2
>>> import math, random
... def check(candidate):
...     for _ in range(50):
...         r = random.randint(0, 100)
...         assert abs(candidate(r) - math.pi * r * r) < 1e-6
!!! r ** 2 => r ** 2 + (r > 90)
=== a helper of the program
def encode(s): return ''.join(chr(ord(c) + 1) for c in s)
def f(s): return ''.join(chr(ord(c) - 1) for c in s)
>>> def check(candidate):
...     for s in ('abc', '', 'Zz'): assert candidate(encode(s)) == s
!!! ord(c) - 1 => ord(c) - 2
=== exceptions
def f(s):
    if not isinstance(s, str): raise TypeError('text only')
    return s[::-1]
>>> def check(candidate):
...     assert candidate('ab') == 'ba'
...     try:
...         candidate(5)
...         raise AssertionError('no error')
...     except TypeError as e:
...         assert 'text' in str(e)
!!! raise TypeError('text only') => return ''
!!! 'text only' => 'no'
=== changed in place
def f(xs): xs.sort()
>>> def check(candidate):
...     xs = [2, 1]
...     assert candidate(xs) is None
...     assert xs == [1, 2]
!!! xs.sort() => return sorted(xs)
=== a generator
def f(n):
    while n: yield n; n -= 1
>>> from itertools import islice
... def check(candidate):
...     assert list(candidate(3)) == [3, 2, 1] and list(islice(candidate(-1), 2)) == [-1, -2]
!!! n -= 1 => n = max(n - 1, 0)
=== a class
class f:
    def __init__(self, cap): self.cap, self.d = cap, {}
    def put(self, k, v):
        self.d.pop(k, None)
        self.d[k] = v
        if len(self.d) > self.cap: del self.d[next(iter(self.d))]
    def get(self, k):
        if k not in self.d: return -1
        self.d[k] = v = self.d.pop(k)
        return v
>>> def check(candidate):
...     c = candidate(2)
...     c.put(1, 1); c.put(2, 2)
...     assert c.get(1) == 1
...     c.put(3, 3)
...     assert c.get(2) == -1 and c.get(3) == 3 and isinstance(c, candidate)
!!! self.d[k] = v = self.d.pop(k) => v = self.d[k]
"""

SCRIPTS = r"""
=== input
a, b = map(int, input().split())
print(a + b)
>>> '3 4\n' -> '7\n'
>>> '3 4' -> '7'
!!! a + b => a - b
=== input to the end
n = 0
try:
    while True: n += len(input())
except EOFError: print(n)
>>> 'ab\n\ncd' -> '4\n'
!!! len(input()) => len(input()) + 1
=== sys.stdin read
import sys
data = sys.stdin.read().split()
print(len(data), *data)
>>> 'a b\nc\n' -> '3 a b c\n'
>>> '' -> '0\n'
=== sys.stdin lines
import sys
for line in sys.stdin: sys.stdout.write(line.upper())
>>> 'a\nb' -> 'A\nB'
!!! line.upper() => line
=== readline and readlines
import sys
input = sys.stdin.readline
n = int(input())
print(n, [l.rstrip() for l in sys.stdin.readlines()])
>>> '2\nx\ny\n' -> "2 ['x', 'y']\n"
=== buffer
import sys
sys.stdout.buffer.write(b'|'.join(sys.stdin.buffer.read().split()))
>>> 'a b' -> 'a|b'
!!! b'|' => b'/'
=== buffer readline
import sys
rl = sys.stdin.buffer.readline
n = int(rl())
print(sum(int(x) for x in rl().split()) * n)
>>> '2\n1 2 3\n' -> '12\n'
=== open 0
for line in open(0): print(line.strip()[::-1])
>>> 'abc\nde' -> 'cba\ned\n'
=== open 0 read
n, *xs = map(int, open(0).read().split())
print(n, max(xs))
>>> '3\n1 5 2' -> '3 5'
=== os.read
import os
print(len(os.read(0, 1 << 20)))
>>> 'abc\n' -> '4\n'
=== os.read in a BytesIO
import io, os, sys
sys.stdin = io.TextIOWrapper(io.BytesIO(os.read(0, os.fstat(0).st_size)))
print(input() + input())
>>> 'a\nb\n' -> 'ab\n'
=== fileinput
import fileinput
for line in fileinput.input(): print(fileinput.lineno(), line.strip())
>>> 'x\ny\n' -> '1 x\n2 y\n'
=== input with a prompt
name = input('name? ')
print('hi', name)
>>> 'bob\n' -> 'name? hi bob\n'
!>> 'bob\n' -> 'hi bob\n'
=== iterators over input
it = iter(input, '0')
print(sum(map(int, it)))
>>> '1\n2\n0\n5\n' -> '3\n'
=== sys.stdin next and seek
import sys
first = next(sys.stdin)
print(first.strip(), sys.stdin.fileno(), sys.stdin.isatty(), sys.stdin.name, sys.stdin.encoding)
>>> 'a\nb\n' -> 'a 0 False <stdin> utf-8\n'
=== Windows lines
import sys
print([l for l in sys.stdin])
>>> 'a\r\nb\r\n' -> "['a\\r\\n', 'b\\r\\n']\n"
=== unicode
s = input()
print(s, len(s), s.encode())
>>> 'héł😀\n' -> "héł😀 4 b'h\\xc3\\xa9\\xc5\\x82\\xf0\\x9f\\x98\\x80'\n"
=== a lone surrogate printed
print('\ud800')
!>> '' -> '\n'
=== print in all forms
import sys
print(1, 'a', sep='-', end='!\n')
print(*range(3), sep='\n', flush=True)
print('err', file=sys.stderr)
print()
print(None, True, 1.5, [1], {'a': (1,)})
>>> '' -> "1-a!\n0\n1\n2\n\nNone True 1.5 [1] {'a': (1,)}\n"
=== write and writelines
import sys
w = sys.stdout.write
w('a'); w('b\n')
sys.stdout.writelines(['c', '\n'])
>>> '' -> 'ab\nc\n'
=== interleaved buffers
import sys, os
print('first', flush=True)
sys.stdout.buffer.write(b'second\n')
sys.stdout.flush()
os.write(1, b'third\n')
print('fourth')
>>> '' -> 'first\nsecond\nthird\nfourth\n'
=== unflushed order
import sys, os
print('late')
os.write(1, b'early\n')
>>> '' -> 'early\nlate\n'
!>> '' -> 'late\nearly\n'
=== replaced stdout
import io, sys
sys.stdout = out = io.StringIO()
print('x')
sys.stdout = sys.__stdout__
print(out.getvalue() * 2, end='')
>>> '' -> 'x\nx\n'
=== replaced and lost
import io, sys
sys.stdout = io.StringIO()
print('lost')
>>> '' -> ''
!>> '' -> 'lost\n'
=== a faster print
import io, os, sys
sys.stdout = io.BytesIO()
print2 = lambda s: sys.stdout.write(str(s).encode())
print2('a\n')
os.write(1, sys.stdout.getvalue())
>>> '' -> 'a\n'
=== atexit flush of a BytesIO
import atexit, io, sys
buffer = io.BytesIO()
sys.stdout = buffer
@atexit.register
def write(): sys.__stdout__.write(buffer.getvalue().decode())
sys.stdout.write(b'late\n')
>>> '' -> 'late\n'
=== detach
import sys
out = sys.stdout.detach()
out.write(b'raw\n')
out.flush()
!>> '' -> 'raw\n'
=== detach without flush
import sys
out = sys.stdout.detach()
out.write(b'raw\n')
!>> '' -> 'raw\n'
=== TextIOWrapper over a detached buffer
import io, sys
sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding='utf-8', line_buffering=True)
print('é')
>>> '' -> 'é\n'
=== a second wrapper, not flushed
import io, sys
out = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')
out.write('kept\n')
>>> '' -> 'kept\n'
=== reconfigure
import sys
sys.stdout.reconfigure(line_buffering=True, newline='\r\n')
sys.stdin.reconfigure(encoding='latin-1')
print(len(input()))
>>> 'é\n' -> '2\r\n'
=== close
import sys
print('a')
sys.stdout.close()
>>> '' -> 'a\n'
=== print after close
import sys
print('a')
sys.stdout.close()
print('b')
!>> '' -> 'a\n'
=== with stdout
import sys
with sys.stdout as out: out.write('in\n')
>>> '' -> 'in\n'
=== os.close
import os
print('gone')
os.close(1)
!>> '' -> 'gone\n'
=== open 1
open(1, 'w').write('direct\n')
>>> '' -> 'direct\n'
=== open 1 kept to the end
f = open(1, 'w')
f.write('kept\n')
>>> '' -> 'kept\n'
=== open 1 not closed
f = open(1, 'w', closefd=False)
print('a', file=f)
f.close()
print('b')
>>> '' -> 'a\nb\n'
=== open 1 in a function
import sys
def main():
    out = open(1, 'w')
    out.write('x\n')
main()
>>> '' -> 'x\n'
=== os.fdopen and dup
import os
f = os.fdopen(os.dup(1), 'w')
f.write('dup\n')
f.close()
print('own')
>>> '' -> 'dup\nown\n'
=== /dev/stdout
with open('/dev/stdin') as f: text = f.read()
print(text.strip() * 2)
>>> 'ab\n' -> 'abab\n'
=== __del__
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print('del', self.n)
a = A(1)
A(2)
b = [A(3)]
print('end')
>>> '' -> 'del 2\nend\ndel 1\ndel 3\n'
=== __del__ in a cycle
class A:
    def __del__(self): print('bye')
a = A()
a.me = a
del a
print('end')
>>> '' -> 'end\nbye\n'
=== __del__ uses a global
tag = 'T'
class A:
    def __del__(self): print(tag, len([1, 2]))
x = A()
>>> '' -> 'T 2\n'
=== __del__ with a private name
class A:
    def __init__(self, n): self.n = n
    def __del__(self): print(self.n)
z = A('z')
_a = A('_a')
__b = A('__b')
>>> '' -> 'z\n_a\n__b\n'
=== __del__ in a module's attribute
import math
class A:
    def __del__(self): print('math lets go')
math.keep = A()
print('end')
>>> '' -> 'end\nmath lets go\n'
=== __del__ of a default argument
class A:
    def __del__(self): print('default')
def f(x=A()): pass
print('end')
>>> '' -> 'end\ndefault\n'
=== atexit
import atexit
atexit.register(print, 'one')
atexit.register(lambda: print('two'))
print('main')
>>> '' -> 'main\ntwo\none\n'
=== atexit that raises
import atexit
atexit.register(lambda: 1 // 0)
print('main')
>>> '' -> 'main\n'
=== atexit that exits
import atexit, sys
atexit.register(lambda: sys.exit(3))
print('main')
>>> '' -> 'main\n'
=== generator finally
def g():
    try:
        print('start')
        yield 1
    finally: print('closed')
x = g()
next(x)
print('end')
>>> '' -> 'start\nend\nclosed\n'
=== weakref finalize
import weakref
class A: pass
a = A()
weakref.finalize(a, print, 'finalized')
print('end')
>>> '' -> 'end\nfinalized\n'
=== threads not joined
import threading, time
def work():
    time.sleep(0.05)
    print('worked')
threading.Thread(target=work).start()
print('main')
>>> '' -> 'main\nworked\n'
=== daemon threads
import threading, time
threading.Thread(target=lambda: time.sleep(3) or print('never'), daemon=True).start()
print('main')
>>> '' -> 'main\n'
=== a thread that raises
import threading
t = threading.Thread(target=lambda: 1 // 0)
t.start()
t.join()
print('fine')
>>> '' -> 'fine\n'
=== a thread with a large stack
import sys, threading
sys.setrecursionlimit(10 ** 6)
threading.stack_size(1 << 26)
def deep(n): return 0 if n == 0 else 1 + deep(n - 1)
def main(): print(deep(20000))
t = threading.Thread(target=main)
t.start()
t.join()
>>> '' -> '20000\n'
=== pools of threads
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(3) as pool: print(list(pool.map(lambda x: x * x, range(5))))
>>> '' -> '[0, 1, 4, 9, 16]\n'
=== exit in all forms
import sys
n = int(input())
print('before')
if n == 0: sys.exit()
if n == 1: exit()
if n == 2: quit()
if n == 3: raise SystemExit
if n == 4: sys.exit(0)
if n == 5: sys.exit(None)
if n == 6: sys.exit(False)
if n == 7: exit(0)
print('after')
>>> '0' -> 'before\n'
>>> '1' -> 'before\n'
>>> '2' -> 'before\n'
>>> '3' -> 'before\n'
>>> '4' -> 'before\n'
>>> '5' -> 'before\n'
>>> '6' -> 'before\n'
>>> '7' -> 'before\n'
>>> '8' -> 'before\nafter\n'
!!! 'before' => 'Before'
=== exit with a status
import sys
n = int(input())
print('x')
if n == 0: sys.exit(1)
if n == 1: sys.exit('message')
if n == 2: exit(-1)
if n == 3: raise SystemExit((1, 2))
if n == 4: sys.exit(True)
if n == 5: sys.exit(0.0)
if n == 6: sys.exit([])
!>> '0' -> 'x\n'
!>> '1' -> 'x\n'
!>> '2' -> 'x\n'
!>> '3' -> 'x\n'
!>> '4' -> 'x\n'
!>> '5' -> 'x\n'
!>> '6' -> 'x\n'
=== exit 256
import sys
print('x')
sys.exit(256)
>>> '' -> 'x\n'
=== exit in a function, caught too widely
import sys
def main():
    try: sys.exit(0)
    except Exception: print('not here')
    finally: print('finally')
main()
>>> '' -> 'finally\n'
=== exit caught
import sys
try: sys.exit(5)
except SystemExit as e: print(e.code)
>>> '' -> '5\n'
=== exit in a thread
import sys, threading
t = threading.Thread(target=sys.exit, args=(1,))
t.start(); t.join()
print('on')
>>> '' -> 'on\n'
=== os._exit
import os
print('lost')
os._exit(0)
>>> '' -> ''
!>> '' -> 'lost\n'
=== os._exit after a flush
import os, sys
print('kept', flush=True)
os._exit(0)
>>> '' -> 'kept\n'
=== os._exit with a status
import os
print('kept', flush=True)
os._exit(2)
!>> '' -> 'kept\n'
=== exceptions
n = int(input())
print('x')
if n == 0: 1 // 0
if n == 1: raise KeyboardInterrupt
if n == 2: assert False
if n == 3: input()
if n == 4: undefined
!>> '0' -> 'x\n'
!>> '1' -> 'x\n'
!>> '2' -> 'x\n'
!>> '3' -> 'x\n'
!>> '4' -> 'x\n'
=== excepthook
import sys
sys.excepthook = lambda *a: print('hook', a[0].__name__)
1 // 0
!>> '' -> 'hook ZeroDivisionError\n'
=== syntax error
print('x'
!>> '' -> 'x\n'
=== main guard
def main(): print(input())
if __name__ == '__main__': main()
>>> 'a' -> 'a\n'
!!! '__main__' => 'main'
=== __file__ and the source
import inspect, os, sys
def f(): return 1
print(os.path.basename(__file__), inspect.getsource(f).strip(), open(__file__).readline().strip(), len(sys.argv), sys.argv[0] == __file__)
>>> '' -> 'main.py def f(): return 1 import inspect, os, sys 1 True\n'
=== module names
import sys
print(__name__, __doc__, __package__, __spec__, type(__loader__).__name__ != '', sys.modules['__main__'].__dict__ is globals(), 'f' in dir())
>>> '' -> '__main__ None None None True True False\n'
=== doc string
'''The text.'''
print(__doc__, __builtins__.len('ab'))
>>> '' -> 'The text. 2\n'
=== annotations at module level
x: int = 5
print(__annotations__)
>>> '' -> "{'x': <class 'int'>}\n"
=== sorted names at the start
print(sorted(n for n in globals() if n.startswith('__')))
>>> '' -> "['__annotations__', '__builtins__', '__cached__', '__doc__', '__file__', '__loader__', '__name__', '__package__', '__spec__']\n"
=== names of classes
class A: pass
print(A, A.__module__, repr(A()).split(' at ')[0])
>>> '' -> "<class '__main__.A'> __main__ <__main__.A object\n"
=== import main
import __main__
x = 5
print(__main__.x)
>>> '' -> '5\n'
=== pickle of a class
import pickle
class A:
    def __init__(self): self.v = 3
print(pickle.loads(pickle.dumps(A())).v)
>>> '' -> '3\n'
=== recursion limit
import sys
print(sys.getrecursionlimit())
>>> '' -> '1000\n'
!!! sys.getrecursionlimit() => sys.getrecursionlimit() + 1
=== deepest recursion
def f(n):
    try: return f(n + 1)
    except RecursionError: return n
print(f(1))
>>> '' -> '999\n'
=== deepest recursion in a function
def main():
    def f(n):
        try: return f(n + 1)
        except RecursionError: return n
    print(f(1))
main()
>>> '' -> '998\n'
=== a raised limit
import sys
sys.setrecursionlimit(5000)
def f(n): return 0 if n == 0 else 1 + f(n - 1)
print(f(4000), sys.getrecursionlimit())
>>> '' -> '4000 5000\n'
=== deep recursion without a raised limit
def f(n): return 0 if n == 0 else 1 + f(n - 1)
print(f(int(input())))
>>> '900' -> '900\n'
!>> '1200' -> '1200\n'
=== recursion error caught
def f(): f()
try: f()
except RecursionError as e: print(e)
>>> '' -> 'maximum recursion depth exceeded\n'
=== frames
import inspect, sys
def f(): return len(inspect.stack()), sys._getframe(1).f_code.co_name, sys._getframe().f_back.f_back
print(f())
>>> '' -> '(2, \'<module>\', None)\n'
=== traceback text
import traceback
try: 1 // 0
except ZeroDivisionError: print(traceback.format_exc().splitlines()[-1], len(traceback.format_exc().splitlines()))
>>> '' -> 'ZeroDivisionError: integer division or modulo by zero 5\n'
=== warnings
import warnings
warnings.warn('w')
print('on')
>>> '' -> 'on\n'
=== order of a set of strings and hash of a number
print(hash(2 ** 61), hash(-1), hash(1.5), list({3, 1, 2}))
>>> '' -> '1 -2 1152921504606846977 [1, 2, 3]\n'
=== random with a seed
import random
random.seed(1)
print(random.randint(1, 1000), random.random() < 1)
>>> '' -> '138 True\n'
=== files of its own
open('t.txt', 'w').write('a\nb\n')
print(open('t.txt').read().split())
>>> '' -> "['a', 'b']\n"
=== a module of its own
open('helper.py', 'w').write('def g(): return 7\n')
import helper
print(helper.g())
>>> '' -> '7\n'
=== exec and eval
exec('x = 5')
print(eval('x + 1'), [eval('x') for _ in range(1)])
>>> '' -> '6 [5]\n'
=== asyncio
import asyncio
async def main():
    await asyncio.sleep(0)
    print(await asyncio.gather(*[asyncio.sleep(0, i) for i in range(3)]))
asyncio.run(main())
>>> '' -> '[0, 1, 2]\n'
=== signals
import signal
signal.signal(signal.SIGALRM, lambda *a: print('rang'))
signal.setitimer(signal.ITIMER_REAL, 0.02)
signal.pause()
>>> '' -> 'rang\n'
=== SIGINT and SIGPIPE
import signal
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN, signal.getsignal(signal.SIGALRM) == signal.SIG_DFL)
>>> '' -> 'True True True\n'
=== numpy printed
import numpy as np
print(np.array([1, 2]) * 2, np.float64(1.5))
>>> '' -> '[2 4] 1.5\n'
=== garbage collection
import gc
print(gc.isenabled(), gc.get_threshold())
>>> '' -> 'True (700, 10, 10)\n'
=== no stdout
import sys
print('a')
sys.stdout = None
print('b')
>>> '' -> 'a\n'
=== stderr closed
import sys
sys.stderr.close()
print('a')
>>> '' -> 'a\n'
=== stdin closed
import sys
sys.stdin.close()
print('a')
>>> '' -> 'a\n'
=== input from a closed stdin
import sys
sys.stdin.close()
print(input())
!>> 'a' -> 'a\n'
=== abort
import os
print('a', flush=True)
os.abort()
!>> '' -> 'a\n'
=== killed by an alarm
import signal
print('a', flush=True)
signal.setitimer(signal.ITIMER_REAL, 0.02)
signal.pause()
!>> '' -> 'a\n'
=== __del__ that raises
class A:
    def __del__(self): 1 // 0
a = A()
print('a')
>>> '' -> 'a\n'
=== __del__ that exits
import sys
class A:
    def __del__(self): sys.exit(3)
a = A()
print('a')
>>> '' -> 'a\n'
=== standard streams
import os, sys
print(sys.stdout.encoding, sys.stdout.line_buffering, sys.stdout.name, sys.stdout.mode, os.isatty(1), sys.stdout.fileno(), sys.stdout.buffer.raw.fileno())
>>> '' -> 'utf-8 False <stdout> w False 1 1\n'
=== seek in stdin
import sys
a = sys.stdin.read()
sys.stdin.seek(0)
print(a == sys.stdin.read() == 'ab\n', sys.stdin.seekable())
>>> 'ab\n' -> 'True True\n'
=== where it runs
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
print(os.getcwd() == here == sys.path[0], sys.flags.optimize, sys.flags.interactive, os.path.exists('main.py'))
>>> '' -> 'True 0 0 True\n'
=== read while it writes
import sys
for line in iter(sys.stdin.readline, ''):
    print(line.strip() * 2, flush=True)
>>> 'a\nb\n' -> 'aa\nbb\n'
=== a class body and a comprehension at global scope
n = 3
class A:
    xs = [i for i in range(3)]
    def f(self): return [n * i for i in self.xs]
print(A().f(), [x for x in A.xs if x], (lambda: n)())
>>> '' -> '[0, 3, 6] [1, 2] 3\n'
=== big output
print('x' * 100000)
for i in range(2000): print(i)
>>> '' -> '@BIG'
=== trailing spaces and blank lines
print('1 2 ')
print()
>>> '' -> '1 2\n'
!>> '' -> '1\n2\n'
"""
BIG = "x" * 100000 + "\n" + "".join(f"{i}\n" for i in range(2000))

CALLS: list[tuple[str, str, list[tuple[list[Any], Any]], bool]] = [
    ("sum", "def f(xs): return sum(xs)", [([[1, 2]], 3), ([[]], 0)], True),
    ("sum, wrong", "def f(xs): return len(xs)", [([[1, 2]], 3), ([[]], 0)], False),
    ("tuple for list", "def f(x): return (x, x)", [([1], [1, 1])], False),
    ("float for int", "def f(x): return x * 1.0", [([2], 2)], True),
    ("bool for int", "def f(x): return x > 1", [([2], 1), ([0], 0)], True),
    ("text", "def f(s): return s.title()", [(["ab cd"], "Ab Cd")], True),
    ("text, wrong", "def f(s): return s.upper()", [(["ab cd"], "Ab Cd")], False),
    ("dict", "def f(s): return {c: s.count(c) for c in s}", [(["aab"], {"a": 2, "b": 1})], True),
    ("Counter", "from collections import Counter\ndef f(s): return Counter(s)", [(["aab"], {"a": 2, "b": 1})], True),
    ("IntEnum", "import enum\nclass E(enum.IntEnum): A = 3\ndef f(x): return E.A", [([0], 3)], True),
    ("Fraction", "from fractions import Fraction\ndef f(x): return Fraction(x, 2)", [([1], 0.5), ([4], 2)], True),
    ("method", "class Solution:\n    def f(self, xs, k): return sorted(xs)[-k]", [([[3, 1, 2], 2], 2)], True),
    ("method, wrong", "class Solution:\n    def f(self, xs, k): return sorted(xs)[k]", [([[3, 1, 2, 9], 1], 9)], False),
    ("generator", "def f(n): yield n", [([1], [1])], False),
    ("raises", "def f(n): return 1 // n", [([0], 0)], False),
    ("none", "def f(n): pass", [([0], None)], True),
    ("own object", "class A:\n    def __init__(self, n): self.n = n\ndef f(n): return A(n)", [([1], 1)], False),
    ("changed argument", "def f(xs):\n    xs.append(1)\n    return xs", [([[]], [1]), ([[]], [1])], True),
    ("state", "n = 0\ndef f(x):\n    global n\n    n += x\n    return n", [([1], 1), ([2], 3)], True),
    ("nested", "def f(n): return [] if n == 0 else [f(n - 1)]", [([3], [[[[]]]])], True),
    ("nan", "def f(): return float('nan')", [([], 0.0)], False),
    (
        "deep",
        "def f(n):\n    x = []\n    for _ in range(n): x = [x]\n    return str(x).count('[')",
        [([200], 201)],
        True,
    ),
]

# What a program does to the sources that hold it: marks of order, encodings, ends of lines, tabs.
SOURCES: list[tuple[str, str, str, bool]] = [
    ("mark of order", "\ufeffprint(input())", "a\n", True),
    ("line on the encoding", "# -*- coding: utf-8 -*-\nprint('é' if input() == 'a' else 1)", "é\n", True),
    ("another encoding", "# coding: latin-1\nprint(len('é'))", "2\n", True),
    ("ends of lines", "print('''x\r\ny''')\r\nprint(len('''x\r\ny'''))\r\n", "x\ny\n3\n", True),
    ("form feed and tabs", "\x0cif 1:\n\tprint('a')\n", "a\n", True),
    ("no line at the end", "if 1: print('a')", "a", True),
    ("mixed indentation", "if 1:\n    x = 1\n\ty = 2\nprint('a')", "a", False),
    ("from future", "from __future__ import annotations\ndef f(x: nope): return 1\nprint(f(1))", "1\n", True),
    ("future, late", "x = 1\nfrom __future__ import annotations\nprint(x)", "1\n", False),
    ("asserts are on", "assert __debug__\nprint(__debug__)", "True\n", True),
    ("warning of syntax", "print(1 is 1)", "True\n", True),
    ("empty", "", "", True),
    ("return outside", "print(1)\nreturn", "1\n", False),
]


def checks() -> None:
    for name, program, good, _, wrong in blocks(CHECKS):
        tests = {"kind": "check", "code": good[0]}
        add("checks", name, program, tests, True, "f")
        for number, change in enumerate(wrong):
            add("checks", f"{name}, wrong {number}", changed(name, program, change), tests, False, "f")


def scripts() -> None:
    def stdio(*cases: str) -> dict[str, Any]:
        pairs = [[ast.literal_eval(side.strip()) for side in case.split(" -> ")] for case in cases]
        return {"kind": "stdio", "cases": [{"stdin": a, "stdout": BIG if b == "@BIG" else b} for a, b in pairs]}

    for name, program, good, bad, wrong in blocks(SCRIPTS):
        if good:
            add("scripts", name, program, stdio(*good), True)
        if bad:
            add("scripts", f"{name}, not so", program, stdio(*bad), False)
        for number, change in enumerate(wrong):
            add("scripts", f"{name}, wrong {number}", changed(name, program, change), stdio(*good), False)
    for name, program, out, passes in SOURCES:
        add(
            "scripts", f"source: {name}", program, {"kind": "stdio", "cases": [{"stdin": "a\n", "stdout": out}]}, passes
        )


values()
changes()
exceptions()
written("own classes", OWN_CLASSES)
written("iteration", ITERATION)
written("callbacks", CALLBACKS)
written("sharing", SHARING)
written("literals", LITERALS)
written("numpy", NUMPY)
checks()
scripts()
for _name, _program, _cases, _passes in CALLS:
    _tests = {"kind": "call", "fn_name": "f", "cases": [{"args": a, "expected": b} for a, b in _cases]}
    add("calls", _name, _program, _tests, _passes)
