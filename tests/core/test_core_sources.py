"""What the sources must not do anywhere, read from them."""

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGES = ("symcache_core", "symcache_backends", "symcache_host")
FILES = [
    path
    for package in PACKAGES
    for path in sorted(Path(find_spec(package).origin).parent.rglob("*.py"))
    if "testing" not in path.parts
]


def sites(path, is_it):
    tree = ast.parse(path.read_text())
    return [f"{path}:{node.lineno}" for node in ast.walk(tree) if isinstance(node, ast.Call) and is_it(node)]


def name_of(call):
    """What is called, without the object that it is called of."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)


def of_the_loops_own_threads(call):
    first = call.args[0] if call.args else None
    to_default = isinstance(first, ast.Constant) and first.value is None
    return name_of(call) == "to_thread" or (name_of(call) == "run_in_executor" and to_default)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_module_needs_a_thread_of_the_event_loops_own(path):
    assert sites(path, of_the_loops_own_threads) == [], (
        "they may all be waiting for what needs one: use threads of ours"
    )


def test_a_use_of_the_event_loops_own_threads_is_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("async def use(loop):\n    await asyncio.to_thread(f)\n    await loop.run_in_executor(None, f)\n")
    assert len(sites(path, of_the_loops_own_threads)) == 2
