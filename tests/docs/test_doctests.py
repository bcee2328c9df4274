"""Every ``>>>`` in the packages is run, and gives what its docstring says."""

import doctest
import importlib
from pathlib import Path

import pytest

import symcache_backends
import symcache_core
import symcache_host

SITE = Path(symcache_core.__file__).parent.parent
PACKAGES = [Path(package.__file__).parent for package in (symcache_core, symcache_backends, symcache_host)]
EXAMPLES = {
    ".".join(path.relative_to(SITE).with_suffix("").parts): count
    for package in PACKAGES
    for path in sorted(package.rglob("*.py"))
    if (count := path.read_text().count(">>> "))
}


def test_there_are_examples():
    assert len(EXAMPLES) > 3


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_a_module_give_what_they_say(name):
    failed, tried = doctest.testmod(importlib.import_module(name.removesuffix(".__init__")))
    assert failed == 0, "what was expected and what came is above"
    assert tried == EXAMPLES[name], "doctest does not find an example that is not in a docstring"
