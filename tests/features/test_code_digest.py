"""The digest of a feature's source moves with every change that can change a value, and with no other."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gapless.features import TableFeature
from gapless.features.code_digest import code_digest
from gapless.features.decorator import feature
from gapless.features.source_reach import SourceReach

FEATURE = '''
"""A module."""
from __future__ import annotations
import functools
import json
import math as m
from . import sub
from .sub import kernels
from .sub.kernels import scaled as times, Rule
import {package}.sub.constants as c
from {package}.sub.star import *

LIMIT = 3
TABLE = {{"a": 1}}
FIRST, SECOND = 1, 2
if LIMIT > 2:
    def chosen(x): return x
else:
    def chosen(x): return -x
UNUSED = 5

@functools.lru_cache
def cached(x):
    return x + SECOND

def deco(cls):
    return cls

@deco
class Mine(Rule):
    """What it does."""
    rule: Rule
    def apply(self, df: object) -> object:
        """Apply it."""
        from .lazy import late
        # a remark
        found = times(df) + c.OFFSET + kernels.deep.shift + TABLE["a"]
        return found + chosen(df) + cached(LIMIT) + starred(m.pi) + late()

class Other:
    pass
'''
FILES = {
    "__init__.py": "",
    "feature.py": FEATURE,
    "lazy.py": "def late(): return helper()\ndef helper(): return 1\n",
    "sub/__init__.py": "",
    "sub/kernels.py": (
        "from __future__ import annotations\nfrom . import deep\nfrom ..far import far\n"
        "def scaled(x: Hint) -> Promise: return far(x)\nclass Hint: pass\nclass Promise: pass\n"
        "class Rule:\n    width = 3\n    def use(self): return self.width\n"
    ),
    "sub/deep.py": "shift = 1.5\nother = 2\n",
    "sub/constants.py": "OFFSET: float = -1\nNOT_USED = 1\n",
    "sub/star.py": "def starred(x): return 2 * x\n",
    "far.py": "def far(x): return round_trip(x)\ndef round_trip(x): return far(x) if x > 9 else x\n",
}


class Package:
    """A package on disk that can be edited and imported anew, under a name of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        for path, text in FILES.items():
            self.write(path, text.format(package=name))

    def write(self, path: str, text: str) -> None:
        """Write one module."""
        file = self.folder / self.name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that stands in a module once."""
        text = (self.folder / self.name / path).read_text()
        assert text.count(old) == 1
        self.write(path, text.replace(old, new))

    def loaded(self) -> type:
        """Import the feature from what is on disk now."""
        for name in [name for name in sys.modules if name.split(".")[0] == self.name]:
            del sys.modules[name]
        importlib.invalidate_caches()
        kind: type = importlib.import_module(f"{self.name}.feature").Mine
        return kind

    def digest(self) -> str:
        """Return the digest of the feature as it is on disk now."""
        digest = code_digest(self.loaded())
        assert digest is not None
        return digest


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Give a package to edit."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Package(tmp_path, "edited_package")
    yield made
    for name in [name for name in sys.modules if name.split(".")[0] == made.name]:
        del sys.modules[name]


SEEN = {
    "the body of a method": ("feature.py", "times(df) + c", "times(df) - c"),
    "a base": ("sub/kernels.py", "width = 3", "width = 4"),
    "a class attribute": ("feature.py", "rule: Rule", "rule: Rule = None"),
    "a decorator": ("feature.py", "    return cls", "    return cls or 1"),
    "a decorated function": ("feature.py", "x + SECOND", "x - SECOND"),
    "a constant of a constant's function": ("feature.py", "FIRST, SECOND = 1, 2", "FIRST, SECOND = 1, 3"),
    "a mapping": ("feature.py", '{"a": 1}', '{"a": 2}'),
    "a branch of the module": ("feature.py", "def chosen(x): return -x", "def chosen(x): return 0"),
    "a function under another name": ("sub/kernels.py", "return far(x)", "return far(x) + 1"),
    "a function of a function": ("far.py", "round_trip(x)\ndef", "round_trip(x) + 1\ndef"),
    "a function that calls back": ("far.py", "x > 9", "x > 8"),
    "a constant by its module": ("sub/constants.py", "float = -1", "float = -2"),
    "a constant deep down": ("sub/deep.py", "1.5", "1.25"),
    "a name from a star": ("sub/star.py", "2 * x", "3 * x"),
    "a lazy import": ("lazy.py", "def helper(): return 1", "def helper(): return 2"),
    "an annotation": ("feature.py", "df: object", "df: int"),
    "an int that becomes a float": ("feature.py", "LIMIT = 3", "LIMIT = 3.0"),
    "an int that becomes a bool": ("lazy.py", "return 1", "return True"),
    "a text in a body": ("far.py", "return round_trip(x)\n", "return (round_trip(x), 'far')[0]\n"),
}


@pytest.mark.parametrize("change", SEEN)
def test_what_can_change_a_value_moves_the_digest(package: Package, change: str) -> None:
    """And putting it back moves it back."""
    before = package.digest()
    path, old, new = SEEN[change]
    package.edit(path, old, new)
    assert package.digest() != before
    package.edit(path, new, old)
    assert package.digest() == before


UNSEEN = {
    "a comment": ("feature.py", "# a remark", "# another remark"),
    "a docstring": ("feature.py", "Apply it.", "Apply it well."),
    "the docstring of the class": ("feature.py", "What it does.", "What it did."),
    "the docstring of the module": ("feature.py", "A module.", "A good module."),
    "layout": ("feature.py", "LIMIT = 3", "\n\nLIMIT   =   (3)"),
    "a constant that nothing uses": ("feature.py", "UNUSED = 5", "UNUSED = 6"),
    "another class": ("feature.py", "class Other:\n    pass", "class Other:\n    x = 1"),
    "a neighbour of a constant": ("sub/constants.py", "NOT_USED = 1", "NOT_USED = 2"),
    "another constant of a module": ("sub/deep.py", "other = 2", "other = 3"),
    "the type of an argument": ("sub/kernels.py", "class Hint: pass", "class Hint: x = 1"),
    "the type of a result": ("sub/kernels.py", "class Promise: pass", "class Promise: x = 1"),
    "an import that nothing uses": ("feature.py", "import json\n", "import json, re\n"),
}


@pytest.mark.parametrize("change", UNSEEN)
def test_what_cannot_change_a_value_leaves_it(package: Package, change: str) -> None:
    """Nobody computes again for a comment."""
    before = package.digest()
    path, old, new = UNSEEN[change]
    package.edit(path, old, new)
    assert package.digest() == before


def test_another_package_does_not_count(package: Package, tmp_path: Path) -> None:
    """It has versions of its own."""
    package.edit("far.py", "def far(x)", "from neighbour_package import near\ndef far(x, n=near)")
    (tmp_path / "neighbour_package.py").write_text("def near(x): return x\n")
    before = package.digest()
    (tmp_path / "neighbour_package.py").write_text("def near(x): return x + 1\n")
    sys.modules.pop("neighbour_package")
    assert package.digest() == before
    sys.modules.pop("neighbour_package")


def test_the_digest_is_that_of_the_code_that_runs(package: Package) -> None:
    """A file that is edited but not loaded changes nothing yet; code that is put in place does."""
    loaded = package.loaded()
    before = code_digest(loaded)
    package.edit("lazy.py", "return 1", "return 2")
    package.edit("far.py", "x > 9", "x > 8")
    assert code_digest(loaded) == before
    far = sys.modules[f"{package.name}.far"]
    importlib.reload(far)  # what an editor's session does after a change
    assert code_digest(loaded) != before


def test_the_digest_does_not_depend_on_what_was_imported(package: Package) -> None:
    """A module that is imported late counts from the start, and looking imports nothing."""
    loaded = package.loaded()
    before = code_digest(loaded)
    assert f"{package.name}.lazy" not in sys.modules
    importlib.import_module(f"{package.name}.lazy")
    assert code_digest(loaded) == before == package.digest()


def test_what_a_class_reaches_is_known_by_name(package: Package) -> None:
    """Each once, in its own module."""
    kind = package.loaded()
    reach = SourceReach.of(kind)
    assert reach is not None
    assert reach.add(kind)
    assert {name.removeprefix(f"{package.name}.") for name in reach.shapes} == {
        "feature.Mine", "feature.deco", "feature.TABLE", "feature.chosen", "feature.cached", "feature.LIMIT",
        "feature.SECOND", "lazy.late", "lazy.helper", "sub.kernels.scaled", "sub.kernels.Rule", "sub.deep.shift",
        "sub.constants.OFFSET", "sub.star.starred", "far.far", "far.round_trip",
    }  # fmt: skip


def test_a_class_without_source_has_no_digest(package: Package) -> None:
    """One made by exec, one whose file is gone and one that is built in."""
    names: dict[str, type] = {}
    exec("class Made: pass", {"__name__": "nowhere"}, names)
    assert code_digest(names["Made"]) is None
    assert code_digest(int) is None
    loaded = package.loaded()
    (package.folder / package.name / "feature.py").unlink()
    assert code_digest(loaded) is None


def test_a_module_that_cannot_be_parsed_is_no_source(package: Package) -> None:
    """Somebody is in the middle of an edit."""
    loaded = package.loaded()
    package.write("feature.py", "class Mine(:")
    assert code_digest(loaded) is None


# -- features of other shapes --------------------------------------------------------------------

SCRIPT = """
from gapless.features import TableFeature
from gapless.features.code_digest import code_digest
from gapless.features.decorator import feature
from beside import shift
FACTOR = {factor}

class Scripted(TableFeature):
    name, version = "scripted", "1"
    def apply(self, df):
        return df * FACTOR + shift()

@feature
def decorated(df):
    return helper(df)

def helper(df):
    return df * {helper}

def made():
    class Inner(TableFeature):
        def apply(self, df):
            return df + {inner}
    return Inner

if __name__ == "__main__":
    print(code_digest(Scripted), code_digest(decorated), code_digest(made()))
"""


def digests(folder: Path, how: list[str], seed: str = "0", change: str = "") -> list[str]:
    """Run the script, in which one number may be changed, and return the three digests that it prints."""
    values = {name: 1 + (name == change) for name in ("factor", "helper", "inner", "beside")}
    (folder / "scripted.py").write_text(SCRIPT.format(**values))
    (folder / "beside.py").write_text(f"def shift(): return {values['beside']}\n")
    paths = os.pathsep.join([str(folder), *[path for path in sys.path if path]])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, *how], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout.split()


def test_a_script_has_one_digest_however_it_is_started(tmp_path: Path) -> None:
    """By name, as a module, or imported; with any seed of hashes."""
    imported = "import scripted as s; print(*map(s.code_digest, (s.Scripted, s.decorated, s.made())))"
    by_name = digests(tmp_path, ["scripted.py"])
    assert digests(tmp_path, ["-m", "scripted"], seed="1") == by_name
    assert digests(tmp_path, ["-c", imported], seed="2") == by_name
    assert len(set(by_name)) == 3
    assert all(len(digest) == 64 for digest in by_name)


@pytest.mark.parametrize(
    ("change", "moved"),
    [("factor", [True, False, False]), ("beside", [True, False, False]), ("helper", [False, True, False]),
     ("inner", [False, False, True])],
)  # fmt: skip
def test_a_script_counts_what_stands_beside_it(tmp_path: Path, change: str, moved: list[bool]) -> None:
    """A module without a package has its own folder for one; a decorated function is followed."""
    before = digests(tmp_path, ["scripted.py"])
    after = digests(tmp_path, ["scripted.py"], change=change)
    assert [one != other for one, other in zip(before, after, strict=True)] == moved


def test_features_of_this_package_have_digests() -> None:
    """The bases, and a function of these tests."""

    @feature
    def doubled(df: Any) -> Any:
        return df

    found = [code_digest(TableFeature), code_digest(doubled)]
    assert None not in found
    assert len(set(found)) == 2


def test_shapes_do_not_depend_on_the_version_of_python() -> None:
    """Fields that are empty, and that other versions do not have, are left out."""
    from gapless.features.source_reach import _shape

    [function] = ast.parse("def f(x, *, y=1):\n    'Words.'\n    return x if y else None\n").body
    assert _shape(function) == (
        "FunctionDef(name='f',args=arguments(args=[arg(arg='x')],kwonlyargs=[arg(arg='y')],"
        "kw_defaults=[Constant(value=1)]),body=[Return(value=IfExp(test=Name(id='y',ctx=Load()),"
        "body=Name(id='x',ctx=Load()),orelse=Constant()))])"
    )
