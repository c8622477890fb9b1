"""The house rules of docs/design.md that a machine can check, for whichever rooms exist.

The order of `__all__` is ruff's rule RUF022 (`ruff check --fix` sorts it), the floors are import-linter's;
what neither can see is here.
"""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "thalweg"
TESTS = ROOT / "tests"

DOORS = ("cli", "report", "reproduce")
ROOMS = (
    *("core", "nets", "problems", "processes", "ot", "optim", "flows", "sampling"),
    *("pde", "rare", "series", "rl", "learning", "stability", "adapt"),
    *DOORS,
)

MAX_FILE, MAX_FUNCTION = 400, 80
# The ratchet: path (or "path::function") -> (lines allowed, why it is one idea). An entry whose subject has
# become short enough must go, and none may grow.
LONG: dict[str, tuple[int, str]] = {}


def is_package(room: str) -> bool:
    return (SOURCE / room / "__init__.py").exists()


def public_files(room: str) -> list[Path]:
    """The public modules of a room that is a package; a room may also be a single file (a small door)."""
    return sorted(p for p in (SOURCE / room).glob("*.py") if not p.stem.startswith("_"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def python_files(*folders: str) -> list[Path]:
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def length(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1  # type: ignore[attr-defined]


PRESENT = [r for r in ROOMS if is_package(r) or (SOURCE / f"{r}.py").exists()]
PACKAGES = [r for r in PRESENT if is_package(r)]
SOURCE_FILES = python_files("src/thalweg")
CODE_FILES = python_files("src/thalweg", "scripts", "benchmarks", "tests")

each_room = pytest.mark.parametrize("room", PRESENT)
each_package = pytest.mark.parametrize("room", PACKAGES)
each_source = pytest.mark.parametrize("path", SOURCE_FILES, ids=relative)
each_code = pytest.mark.parametrize("path", CODE_FILES, ids=relative)


# --- rooms --------------------------------------------------------------------------------------------------


@each_room
def test_a_room_says_which_question_it_answers_and_names_its_files(room):
    text = inspect.getdoc(importlib.import_module(f"thalweg.{room}"))
    assert text, f"thalweg.{room} has no docstring: state the question that the room answers"
    assert "?" in text, f"the docstring of thalweg.{room} states no question: it has no question mark"
    missing = [p.name for p in public_files(room) if not re.search(rf"(?<!\w){re.escape(p.name)}", text)]
    assert not missing, f"the docstring of thalweg.{room} does not name {missing}: list method, paper, file"


@each_package
def test_all_is_exact(room):
    module = importlib.import_module(f"thalweg.{room}")
    assert hasattr(module, "__all__"), f"thalweg.{room} has no __all__"
    public = {n for n, v in vars(module).items() if not n.startswith("_") and not inspect.ismodule(v)}
    listed = set(module.__all__)
    assert len(listed) == len(module.__all__), f"thalweg.{room}.__all__ names something twice"
    missed, extra = sorted(public - listed), sorted(listed - public)
    assert listed == public, f"thalweg.{room}.__all__ misses {missed} and lists {extra} in vain"


def test_the_front_door_keeps_its_promises():
    import thalweg

    assert inspect.getdoc(thalweg)
    missing = [n for n in getattr(thalweg, "__all__", []) if not hasattr(thalweg, n)]
    assert not missing, f"thalweg.__all__ lists {missing}, which cannot be had"


def test_importing_the_library_brings_in_no_optional_or_slow_package():
    unwanted = ["matplotlib", "typer", "sklearn", "pandas", "pyarrow", "anndata", "ase", "gymnasium", "torch"]
    code = f"import sys, thalweg; print(*[name for name in {unwanted} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = done.stdout.split()
    assert not found, f"`import thalweg` also imports {found}: import them where they are used"


@each_package
def test_a_room_has_no_rooms_inside(room):
    inner = [p.name for p in (SOURCE / room).iterdir() if p.is_dir() and any(p.rglob("*.py"))]
    assert not inner, f"thalweg.{room} contains {inner}: the tree has exactly two levels"


@each_package
def test_tests_mirror_the_tree(room):
    modules = {p.stem for p in (SOURCE / room).glob("*.py")} - {"__init__", "__main__"}
    tests = {p.stem.removeprefix("test_") for p in (TESTS / room).glob("test_*.py")}
    untested = sorted(m for m in modules if not m.startswith("_") and m not in tests)
    assert not untested, f"add {[f'tests/{room}/test_{m}.py' for m in untested]}"
    if room not in DOORS:  # a door is also tested as a process, which mirrors no single file
        stray = sorted(t for t in tests if t not in modules and f"_{t}" not in modules)
        assert not stray, f"tests/{room} tests {stray}, but thalweg.{room} has no such files"


def test_a_room_of_one_file_has_its_test():
    untested = [r for r in PRESENT if r not in PACKAGES and not (TESTS / f"test_{r}.py").exists()]
    assert not untested, f"add {[f'tests/test_{r}.py' for r in untested]}"


@each_source
def test_plots_and_terminals_stay_on_the_top_floor(path):
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if room in (*DOORS, "__main__"):
        return
    found = sorted(imported(tree(path)) & {"matplotlib", "typer"})
    assert not found, f"{relative(path)} imports {found}: figures and the command line live on floor 5"


# --- files --------------------------------------------------------------------------------------------------


@each_source
def test_everything_public_has_a_docstring(path):
    module = tree(path)
    assert ast.get_docstring(module), f"{relative(path)} has no module docstring"
    if path.stem.startswith("_") and path.stem != "__init__":
        return
    bare = [
        node.name
        for node in module.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not is_overload(node)
        and not ast.get_docstring(node)
    ]
    assert not bare, f"{relative(path)}: no docstring on {bare}"


def is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return any(ast.unparse(d).endswith("overload") for d in node.decorator_list)


def lengths() -> dict[str, tuple[int, int]]:
    """Every file and function that is over its limit: name -> (lines, limit)."""
    found = {}
    for path in python_files("src/thalweg", "scripts"):
        name, lines = relative(path), len(path.read_text(encoding="utf-8").splitlines())
        sizes = [(name, lines, MAX_FILE)]
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                sizes.append((f"{name}::{node.name}", length(node), MAX_FUNCTION))
        found.update({n: (size, limit) for n, size, limit in sizes if size > limit})
    return found


def test_a_file_is_one_idea():
    over = lengths()
    new = {name: f"{size} lines, limit {limit}" for name, (size, limit) in over.items() if name not in LONG}
    assert not new, f"usually two ideas: {new}"
    sizes = {name: (over[name][0], allowed) for name, (allowed, _) in LONG.items() if name in over}
    grown = {name: f"{size} lines, was {allowed}" for name, (size, allowed) in sizes.items() if size > allowed}
    assert not grown, f"the ratchet only goes down: {grown}"
    stale = sorted(LONG.keys() - over.keys())
    assert not stale, f"short enough now, take out of LONG: {stale}"


def imported(module: ast.Module) -> set[str]:
    """Top-level names of every package that a file imports, at any depth."""
    names: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@each_code
def test_nothing_runs_what_it_reads(path):
    """No pickle in any of its names, no eval, no exec: a checkpoint or a config is data, never code."""
    module = tree(path)
    pickles = sorted(imported(module) & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"})
    assert not pickles, f"{relative(path)} imports {pickles}"
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        assert called not in {"eval", "exec"}, f"{relative(path)}:{node.lineno} calls {called}()"
        for keyword in node.keywords:
            allowed = keyword.arg == "allow_pickle" and getattr(keyword.value, "value", None) is not False
            assert not allowed, f"{relative(path)}:{node.lineno} allows pickles"


def text_files() -> list[Path]:
    suffixes = {".py", ".md", ".toml", ".yml", ".yaml", ".css", ".json", ".sh"}
    folders = ("src", "tests", "scripts", "benchmarks", "docs", "examples", "reproductions", ".ci")
    nested = [p for f in folders for p in (ROOT / f).rglob("*") if p.is_file() and p.suffix in suffixes]
    top = [p for p in ROOT.glob("*") if p.is_file() and (p.suffix in suffixes or p.name == "Makefile")]
    return sorted([*nested, *top, ROOT / ".ci" / "run"])


def test_no_path_of_one_machine():
    # A path from somebody's root; the later part of an address or of a relative path does not count.
    pattern = re.compile(r"(?<![\w.~\-/:})])(?:/(?:home|root|work|tmp|mnt|opt|scratch|Users)/|[A-Z]:\\\w)")
    found = [
        f"{relative(path)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, f"absolute paths in {found}"
