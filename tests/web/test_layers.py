"""The layers: every import of every module, held to what the design promises."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("raid", "storage", "auth", "files")
TOP = {"app", "auth", "config", "deploy", "files", "raid", "storage", "wsgi"}
# What each package may import of ours: whole packages, or single modules.
ALLOWED = {
    "raid": {"raid"},
    "storage": {"storage", "raid"},
    # Nothing about bytes: rows, log lines, the version check, the list of chores, and
    # the list of tables that the journal carries.
    "auth": {
        "auth",
        "storage.db",
        "storage.journal.registry",
        "storage.logs",
        "storage.migrate",
        "storage.worker",
    },
    "files": {"files", "auth", "storage"},
}
# Beside the standard library.
OUTSIDE = {"raid": {"numpy", "blake3"}}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file names in an import, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            module = str(node.module)
            # `from storage import db` names a module as much as `import storage.db`.
            for alias in node.names:
                inner = ROOT.joinpath(*module.split("."), f"{alias.name}.py")
                yield f"{module}.{alias.name}" if inner.exists() else module


def is_allowed(module: str, allowed: set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


CASES = [
    pytest.param(package, path, id=str(path.relative_to(ROOT)))
    for package in PACKAGES
    for path in modules(package)
]


def test_there_is_something_to_hold() -> None:
    assert {package for package in PACKAGES if modules(package)} == set(PACKAGES)


@pytest.mark.parametrize(("package", "path"), CASES)
def test_it_imports_only_from_its_own_storey_and_below(
    package: str, path: Path
) -> None:
    ours = [name for name in imports(path) if name.split(".")[0] in TOP]
    wrong = [name for name in ours if not is_allowed(name, ALLOWED[package])]
    assert not wrong, f"{path.name} reaches up: {wrong}"


@pytest.mark.parametrize("path", modules("raid"), ids=lambda path: path.name)
def test_the_engine_knows_only_the_standard_library_and_two_packages(
    path: Path,
) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    assert roots - {"raid"} - set(sys.stdlib_module_names) <= OUTSIDE["raid"]


@pytest.mark.parametrize("package", ["raid", "storage"])
def test_the_package_itself_imports_nothing(package: str) -> None:
    path = ROOT / package / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert len(tree.body) == 1
    assert ast.get_docstring(tree)


def test_the_engine_the_members_and_restore_load_without_flask_and_sql() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in [*modules("raid"), *modules("storage/members")]
    ]
    names = [name.removesuffix(".__init__") for name in names] + ["storage.restore"]
    code = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module(name)
print({{"flask", "sqlalchemy", "boto3"}} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_only_the_table_of_contents_reads_the_settings_module() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in modules(package)
        if "config" in set(imports(path))
    ]
    assert readers == []


@pytest.mark.parametrize(
    "path",
    [path for name in (*PACKAGES, "deploy") for path in modules(name)]
    + [ROOT / "app.py", ROOT / "wsgi.py", ROOT / "config.py"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_module_says_what_it_is_for_and_stays_small(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert ast.get_docstring(tree), f"{path} has no docstring"
    assert len(source.splitlines()) < 400
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= 60, f"{path.name}: {node.name} has {lines} lines"


def test_nothing_else_stands_at_the_top() -> None:
    found = {path.stem for path in ROOT.glob("*.py")}
    found |= {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert found <= TOP | {"benchmarks"}
