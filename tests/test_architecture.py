"""The tree of the source is the path of the data: these tests are the law on who may know whom."""

from __future__ import annotations

import ast
import importlib
import io
import re
import statistics
import tokenize
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"

# A part may import parts of a lower rank and itself; parts of one rank never import each other.
RANKS = {
    "errors": 0,
    "_version": 0,
    "model": 1,
    "flow": 2,
    "store": 3,
    "catalog": 4,
    "client": 5,
    "acquire": 6,
    "observe": 6,
    "bluesky": 6,
    "features": 6,
    "exchange": 6,
    "serve": 7,
    "": 8,  # gapless/__init__.py, the door for users: code inside the package uses the real places
    "cli": 9,
    "testing": 10,
}
SAME_RANK_ALLOWED: set[tuple[str, str]] = set()
MAX_MODULE_LINES = 600
MAX_MEDIAN_LINES = 150
MAX_PUBLIC_NAMES = 40
FORBIDDEN_NAMES = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "base", "misc"}
# In these parts an exception that disappears is data that disappears.
LOUD_PARTS = ("store", "flow", "acquire", "observe", "bluesky")
# Classes narrow enough that "it is not there" or "it is empty" is the whole story.
NARROW = {
    "FileNotFoundError",
    "FileExistsError",
    "NotADirectoryError",
    "ProcessLookupError",
    "ModuleNotFoundError",
    "ImportError",
    "StopIteration",
    "KeyError",
    "IndexError",
    "AttributeError",
    "Empty",
    "queue.Empty",
}
WIDE = {"Exception", "BaseException"}
LOG_CALLS = re.compile(r"^(print|warnings\.warn|(\w+\.)*(log|logger|logging|_log)\.\w+|logging\.\w+)$")
MODEL_NEVER_IMPORTS = {"socket", "subprocess", "shutil", "tempfile", "threading", "fcntl", "mmap", "sqlite3"}
MAKING_OF = re.compile(
    r"#\s?\d+\b|\bissues? #?\d+|\bseed \d{3}\b|\bGH-\d+|\btask \d+|\bbuilder [A-F]\b"
    r"|\bTODO\b|\bFIXME\b|\bXXX\b"
)


@dataclass(frozen=True)
class Module:
    """One source file, parsed."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def part(self) -> str:
        """The first name below gapless: the unit that ranks are given to."""
        return self.name.split(".")[1] if "." in self.name else ""


@dataclass(frozen=True)
class Import:
    """One imported module, and whether the import runs when the importing module loads."""

    target: str
    line: int
    at_load: bool


@cache
def modules() -> dict[str, Module]:
    """Every module of the package by dotted name."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        dotted = ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text(encoding="utf-8")
        found[dotted] = Module(dotted, path, text, ast.parse(text, str(path)))
    return found


def imports_of(module: Module, known: dict[str, Module]) -> Iterator[Import]:
    """Yield what a module imports from the package, lazy and type-only imports included."""
    lazy = _lazy_lines(module.tree)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(module, node)
            targets = [
                full if (full := f"{source}.{alias.name}") in known else source for alias in node.names
            ]
        else:
            continue
        for target in targets:
            if target.split(".")[0] == "gapless":
                yield Import(target, node.lineno, node.lineno not in lazy)


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.name.split(".")
    if module.path.name != "__init__.py":
        package = package[:-1]
    package = package[: len(package) - (node.level - 1)]
    return ".".join([*package, *([node.module] if node.module else [])])


def _lazy_lines(tree: ast.Module) -> set[int]:
    """Lines inside functions and `if TYPE_CHECKING`, which do not run when the module loads."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        skipped: list[ast.stmt] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            skipped = [node]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped = node.body
        for statement in skipped:
            lines.update(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    return lines


def direction_faults(known: dict[str, Module]) -> list[str]:
    """Name each import that does not point down, with its file and line."""
    faults = []
    for module in known.values():
        for found in imports_of(module, known):
            target = found.target.split(".")[1] if "." in found.target else ""
            if target == module.part or (module.part, target) in SAME_RANK_ALLOWED:
                continue
            if target not in RANKS or module.part not in RANKS or RANKS[target] >= RANKS[module.part]:
                faults.append(f"{module.path}:{found.line}: {module.name} imports {found.target}")
    return faults


def import_cycles(known: dict[str, Module]) -> list[list[str]]:
    """Return the loops in the graph of imports that run when a module loads."""
    graph = {
        name: sorted({i.target for i in imports_of(m, known) if i.at_load and i.target in known} - {name})
        for name, m in known.items()
    }
    cycles: list[list[str]] = []
    state: dict[str, int] = {}
    trail: list[str] = []

    def visit(name: str) -> None:
        state[name] = 1
        trail.append(name)
        for target in graph[name]:
            if state.get(target) == 1:
                cycles.append([*trail[trail.index(target) :], target])
            elif target not in state:
                visit(target)
        trail.pop()
        state[name] = 2

    for name in graph:
        if name not in state:
            visit(name)
    return cycles


def contested_modules(known: dict[str, Module]) -> list[str]:
    """Name the modules that their package loads itself, and that others import by name.

    Two threads that import the package and such a module for the first time wait for each other; Python then
    gives one of them a module that is only half there.
    """
    loaded_by = {
        found.target: module.name
        for module in known.values()
        if module.path.name == "__init__.py"
        for found in imports_of(module, known)
        if found.at_load and found.target.startswith(f"{module.name}.")
    }
    return sorted(
        f"{module.name} imports {found.target}"
        for module in known.values()
        for found in imports_of(module, known)
        if (package := loaded_by.get(found.target)) and not f"{module.name}.".startswith(f"{package}.")
    )


def caught_classes(handler: ast.ExceptHandler) -> list[str]:
    """Return the names an except clause catches; an empty list is a bare except."""
    if handler.type is None:
        return []
    nodes = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return [ast.unparse(node) for node in nodes]


def handler_is_silent(handler: ast.ExceptHandler, *, none_is_an_answer: bool = False) -> bool:
    """Tell whether a handler lets a failure disappear.

    It does not when it raises, returns or yields a value, assigns (records) something, or calls
    something other than a log. Returning None counts as a value only in a function that declares it
    (``-> X | None``). For classes that only say "it is not there" anything goes.
    """
    caught = caught_classes(handler)
    if caught and set(caught) <= NARROW:
        return False
    for node in (n for statement in handler.body for n in ast.walk(statement)):
        match node:
            case ast.Raise() | ast.Assign() | ast.AugAssign() | ast.AnnAssign() | ast.NamedExpr():
                return False
            case ast.Return(value=value) | ast.Yield(value=value):
                is_none = value is None or (isinstance(value, ast.Constant) and value.value is None)
                if not is_none or (none_is_an_answer and value is not None):
                    return False
            case ast.Call(func=func) if not LOG_CALLS.match(ast.unparse(func)):
                return False
    return True


def silent_handlers(module: Module) -> list[str]:
    """Name each except or suppress() of a module through which a failure disappears."""
    functions = [n for n in ast.walk(module.tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    with_none = [f for f in functions if f.returns is not None and ast.unparse(f.returns).endswith("| None")]
    optional = {node for function in with_none for node in ast.walk(function)}
    faults = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and handler_is_silent(
            node, none_is_an_answer=node in optional
        ):
            caught = ", ".join(caught_classes(node)) or "everything"
            faults.append(f"{module.path}:{node.lineno}: except {caught} forgets the failure")
        if isinstance(node, ast.Call) and _is_suppress(node):
            wide = [name for name in map(ast.unparse, node.args) if name not in NARROW]
            if wide:
                faults.append(f"{module.path}:{node.lineno}: suppress({', '.join(wide)})")
    return faults


def blanket_handlers(module: Module) -> list[str]:
    """Name each place that catches Exception or everything.

    BaseException may be caught where a thread or context ends, if the handler names the error and
    raises, stores or hands it on.
    """
    faults = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and _is_suppress(node) and WIDE & set(map(ast.unparse, node.args)):
            faults.append(f"{module.path}:{node.lineno}: suppress of everything")
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = caught_classes(node)
        if not caught or "Exception" in caught:
            faults.append(f"{module.path}:{node.lineno}: except {', '.join(caught) or 'everything'}")
        elif "BaseException" in caught and not _passes_on(node):
            faults.append(f"{module.path}:{node.lineno}: BaseException is caught and not passed on")
    return faults


def _is_suppress(call: ast.Call) -> bool:
    return ast.unparse(call.func) in ("suppress", "contextlib.suppress")


def _passes_on(handler: ast.ExceptHandler) -> bool:
    inside = [n for statement in handler.body for n in ast.walk(statement)]
    if any(isinstance(node, ast.Raise) for node in inside):
        return True
    return handler.name is not None and any(
        isinstance(node, ast.Name) and node.id == handler.name for node in inside
    )


def prose_of(module: Module) -> Iterator[tuple[int, str]]:
    """Yield each comment without its hash, and each docstring, with its line."""
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def parsed(source: str, name: str = "gapless.store.sample") -> Module:
    """Return a module made from text, to test the rules themselves."""
    return Module(name, Path(f"{name}.py"), source, ast.parse(source))


def test_imports_point_down() -> None:
    """Each part imports only parts below it, inside functions and for types as well."""
    assert direction_faults(modules()) == []


def test_every_part_has_a_rank() -> None:
    """A new folder or top-level module gets a place in the order before it gets code."""
    assert {module.part for module in modules().values()} <= set(RANKS)


def test_modules_load_without_cycles() -> None:
    """No chain of imports that run at load time leads back to where it began."""
    assert import_cycles(modules()) == []


def test_threads_may_import_anything_first() -> None:
    """No package loads a module of its own that another module imports by name."""
    assert contested_modules(modules()) == []


def test_nothing_imports_testing() -> None:
    """The fault injectors and contract suites are for tests; no product code knows them."""
    known = modules()
    users = [
        f"{m.path}:{i.line}"
        for m in known.values()
        if m.part != "testing"
        for i in imports_of(m, known)
        if i.target.startswith("gapless.testing")
    ]
    assert users == []


def test_modules_stay_small() -> None:
    """No module is longer than 600 lines and half of them are at most 150."""
    lines = {name: module.text.count("\n") for name, module in modules().items()}
    assert {name: n for name, n in lines.items() if n > MAX_MODULE_LINES} == {}
    assert statistics.median(lines.values()) <= MAX_MEDIAN_LINES


def test_module_names_say_what_is_inside() -> None:
    """No module or folder has a name that could hold anything."""
    vague = [name for name in modules() if FORBIDDEN_NAMES & set(name.replace("_", ".").split("."))]
    assert vague == []


def test_every_module_states_its_promise() -> None:
    """Each module begins with a docstring."""
    assert [name for name, module in modules().items() if not ast.get_docstring(module.tree)] == []


def test_no_failure_disappears_where_data_flows() -> None:
    """In store, flow, acquire, observe and bluesky each except re-raises, returns or records."""
    faults = [f for m in modules().values() if m.part in LOUD_PARTS for f in silent_handlers(m)]
    assert faults == []


def test_nothing_catches_everything() -> None:
    """No code catches Exception, and BaseException only to pass it on."""
    assert [fault for module in modules().values() for fault in blanket_handlers(module)] == []


def test_model_does_no_io() -> None:
    """The model holds values: it opens no file, starts no thread and no process."""
    faults = []
    for module in (m for m in modules().values() if m.part == "model"):
        for node in ast.walk(module.tree):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "open":
                faults.append(f"{module.path}:{node.lineno}: open()")
            faults += [f"{module.path}:{name}" for name in names if name.split(".")[0] in MODEL_NEVER_IMPORTS]
    assert faults == []


def test_public_names_are_few_and_all_declared() -> None:
    """The package shows at most 40 names; each resolves, and none is visible without being listed."""
    gapless = importlib.import_module("gapless")
    names = list(gapless.__all__)
    assert len(names) <= MAX_PUBLIC_NAMES
    assert len(set(names)) == len(names)
    assert [name for name in names if not hasattr(gapless, name)] == []
    visible = {
        name
        for name, value in vars(gapless).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and getattr(value, "__module__", "gapless").split(".")[0] == "gapless"
    }
    assert visible - set(names) - {"TYPE_CHECKING", "annotations"} == set()


def test_comments_tell_reasons_not_history() -> None:
    """No comment or docstring points to an issue, a task or an unfinished thought."""
    faults = [
        f"{module.path}:{line}: {match.group()}"
        for module in modules().values()
        for line, text in prose_of(module)
        if (match := MAKING_OF.search(text))
    ]
    assert faults == []


@pytest.mark.parametrize(
    "body",
    ["pass", "continue", "return", "return None", "log.warning('x')", "print(error)", "..."],
)
def test_the_rule_finds_a_silent_handler(body: str) -> None:
    """A handler that passes, goes on, returns nothing or only logs is refused."""
    source = f"def f():\n  for x in y:\n    try:\n      g()\n    except OSError as error:\n      {body}\n"
    assert len(silent_handlers(parsed(source))) == 1


@pytest.mark.parametrize(
    "body",
    [
        "raise",
        "return error",
        "failures.append(error)",
        "self.first = error",
        "raise StorageFailed('x') from error",
    ],
)
def test_the_rule_accepts_a_loud_handler(body: str) -> None:
    """A handler that raises, returns a failure or records one is accepted."""
    source = f"def f():\n  try:\n    g()\n  except OSError as error:\n    {body}\n"
    assert silent_handlers(parsed(source)) == []


def test_the_rule_accepts_a_declared_none() -> None:
    """None is an answer where the function says that it may be, and nowhere else."""
    source = "def f() -> int | None:\n  try:\n    g()\n  except OSError:\n    return None\n"
    assert silent_handlers(parsed(source)) == []
    assert len(silent_handlers(parsed(source.replace("int | None", "None")))) == 1
    assert len(silent_handlers(parsed(source.replace("return None", "return")))) == 1


def test_the_rule_accepts_an_absent_file() -> None:
    """FileNotFoundError may be passed over, but not together with wider classes."""
    narrow = "try:\n  g()\nexcept FileNotFoundError:\n  pass\n"
    assert silent_handlers(parsed(narrow)) == []
    assert silent_handlers(parsed(narrow.replace("FileNotFoundError", "(FileNotFoundError, OSError)")))
    assert silent_handlers(parsed("with suppress(OSError):\n  g()\n"))


def test_the_rule_finds_an_import_that_points_up() -> None:
    """Lazy and relative imports count like any other."""
    known = {
        "gapless.client.client": parsed("", "gapless.client.client"),
        "gapless.store.writer": parsed(
            "def f():\n  from ..client import client\n  import gapless.client.client\n",
            "gapless.store.writer",
        ),
    }
    assert len(direction_faults(known)) == 2


def test_the_rule_finds_a_cycle() -> None:
    """Two modules that import each other at load time are a cycle; a lazy import breaks it."""
    first = parsed("from gapless.store import b\n", "gapless.store.a")
    eager = parsed("import gapless.store.a\n", "gapless.store.b")
    lazy = parsed("def f():\n  import gapless.store.a\n", "gapless.store.b")
    assert import_cycles({"gapless.store.a": first, "gapless.store.b": eager})
    assert import_cycles({"gapless.store.a": first, "gapless.store.b": lazy}) == []


def test_the_rule_finds_a_blanket_handler() -> None:
    """Bare except, Exception and a swallowed BaseException are refused; a kept one is not."""
    for clause in ("except:", "except Exception:", "except (OSError, Exception):", "except BaseException:"):
        assert blanket_handlers(parsed(f"try:\n  g()\n{clause}\n  x = 1\n"))
    assert not blanket_handlers(parsed("try:\n  g()\nexcept BaseException as error:\n  self.first = error\n"))
