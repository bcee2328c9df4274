"""What the sources must not do anywhere, read from them."""

import ast
import re
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


LOCKED = re.compile(r"(?:\b|_)(?:lock|mutex|locked\(.*\)|of\(.*\)|building|catching_up|condition|changed|opening)$")
FOREIGN = {"warn", "warning", "info", "debug", "error", "exception", "critical", "log"}
GIVEN = {"clock", "_clock", "validate", "_validate", "progress", "on_step", "_on_step", "print"}


def within_locks(tree):
    """Every call in the body of a ``with`` statement of a lock, but for those in functions that are made there."""

    def calls(node):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.Call):
            yield node
        for child in ast.iter_child_nodes(node):
            yield from calls(child)

    for node in ast.walk(tree):
        if isinstance(node, ast.With) and any(LOCKED.search(ast.unparse(item.context_expr)) for item in node.items):
            for statement in node.body:
                yield from calls(statement)


def is_others(call):
    """Whether a call logs, tells the time or calls somebody back: what that does, nobody here knows."""
    of = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    logs = of in ("log", "logging", "logger", "warnings") and name_of(call) in FOREIGN
    return logs or name_of(call) in GIVEN


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_nothing_is_logged_and_nobody_called_back_under_a_lock(path):
    found = [f"{path}:{call.lineno}" for call in within_locks(ast.parse(path.read_text())) if is_others(call)]
    assert found == [], "a logging handler, or a clock, may use the cache"


def test_a_call_under_a_lock_is_found():
    source = """
def all_of_them(self):
    with self._lock:
        log.warning("there")
        now = self._clock()
    with self._mutex, open("x"):
        if now:
            warnings.warn("there")
    with locked(self._path):
        later(lambda: log.warning("not there"))
    with self._folder():
        log.warning("nor here")
"""
    assert [call.lineno for call in within_locks(ast.parse(source)) if is_others(call)] == [4, 5, 8]
