"""The face of the package, what importing it costs, and the shape of the tree."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import symcache_backends
import symcache_core
import symcache_host
from symcache_core import errors

FACE = """
    open_symbol_cache SymcacheSettings SymbolCache StorageBackend ExternalDataProvider ValidationResult ContractInfo
    ProviderAnswer CachedSymbolInfo CacheStats Lookup Outcome Backend hookimpl StorePath SymbolLookup Explanation
    BulkSymbolCache
""".split()

ERRORS = """
    SymcacheError ConfigurationError InvalidSymbolError BackendError BackendUnavailableError CorruptStoreError
    NewerSchemaError ClosedError UnknownBackendError DuplicateBackendError ProviderError ProviderUnavailableError
    ProviderTimeoutError ProviderPacingError ProviderPermissionError ProviderNoDataError
    LoadCancelledError
""".split()


SITE = Path(symcache_core.__file__).parent.parent
PACKAGES = [Path(package.__file__).parent for package in (symcache_core, symcache_backends, symcache_host)]
MODULES = [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SITE)))


def test_the_face_has_the_names_that_others_build_on():
    assert sorted(symcache_core.__all__) == sorted(FACE)
    assert all(hasattr(symcache_core, name) for name in FACE)


def test_every_error_is_of_one_family():
    assert all(issubclass(getattr(errors, name), errors.SymcacheError) for name in ERRORS)
    importlib.import_module("symcache_core.loading")
    importlib.import_module("symcache_core.providers")


def test_importing_the_core_loads_nothing_heavy():
    heavy = ["pandas", "pyarrow", "fastapi", "httpx", "typer", "rich", "diskcache", "pytest", "redis"]
    heavy += ["symcache_core.lookup.cache", "symcache_core.entries", "symcache_core.concurrency"]
    code = f"import sys, symcache_core; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@each_module
def test_a_module_opens_with_one_sentence(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, "no docstring"
    first = docstring.split("\n\n")[0]
    assert first.endswith((".", ":", "::")), first
    assert len(first) < 240


@each_module
def test_internals_never_import_the_face_of_their_own_package(path):
    parts = path.relative_to(SITE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = ".".join(parts[: -node.level]) if node.level else ""
            origin = ".".join(filter(None, (module, node.module)))
            submodules = all((SITE / parts[0] / name.name).with_suffix(".py").exists() for name in node.names)
            assert origin != parts[0] or submodules, ast.unparse(node)


def test_every_module_can_be_imported_by_itself():
    names = [module.name for module in pkgutil.iter_modules(symcache_core.__path__, "symcache_core.")]
    code = "import importlib, sys; importlib.import_module(sys.argv[1])"
    assert len(names) > 15
    for name in ("symcache_core.errors", "symcache_core.policy", "symcache_core.plugin"):
        assert name in names
        subprocess.run([sys.executable, "-c", code, name], check=True)


@each_module
def test_a_module_is_small_enough_to_be_read_at_once(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
            assert len(methods) <= 25, node.name


def test_every_folder_says_in_a_sentence_what_it_is_for():
    for folder in {path.parent for path in MODULES}:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder
