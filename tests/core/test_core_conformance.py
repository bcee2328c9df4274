"""A malformed backend is refused when it is opened, in one line that says whose it is, what is wrong and what to do."""

import functools
import inspect
from typing import Protocol

import pytest
from pydantic import BaseModel

from symcache_core import protocols
from symcache_core.conformance import CAPABILITIES, capabilities_of
from symcache_core.errors import ConfigurationError
from symcache_core.plugin import Backend
from symcache_core.protocols import CanSize, StorageBackend
from symcache_core.registry import Registry

SOUND = """
from functools import wraps
from pathlib import Path
from pydantic import BaseModel
from symcache_core import Backend, hookimpl

class Settings(BaseModel):
    pass

class Store:
    def __init__(self, settings):
        self.entries = {}

    def read(self, key):
        return self.entries.get(key)

    def write(self, key, entry, keep_until):
        self.entries[key] = entry

    def delete(self, key):
        return self.entries.pop(key, None) is not None

    def keys(self):
        yield from list(self.entries)

    def clear(self):
        count = len(self.entries)
        self.entries.clear()
        return count

    def close(self):
        Path("closed").touch()

# here
@hookimpl
def symcache_backends():
    yield Backend(name="third", settings=Settings, open=Store)
"""

STORES = {
    "a method is missing": (
        "del Store.clear",
        "it has no 'clear': define clear()",
    ),
    "a method has another name": (
        "Store.key = Store.keys; del Store.keys",
        "it has no 'keys', unless 'key' is meant to be that: define keys()",
    ),
    "a method is async": (
        "async def read(self, key): ...\nStore.read = read",
        "its 'read' is async: make it a plain 'def'",
    ),
    "an iterator is async": (
        "async def keys(self): yield\nStore.keys = keys",
        "its 'keys' is async: make it a plain 'def'",
    ),
    "a method is a generator": (
        "def write(self, key, entry, keep_until): yield\nStore.write = write",
        "its 'write' is a generator, so that calling it does nothing: take the 'yield' out",
    ),
    "a method takes too little": (
        "Store.write = lambda self, key, entry: None",
        "its 'write' takes (key, entry), and is called as write(key, entry, keep_until): let it take that",
    ),
    "a method takes too much": (
        "Store.delete = lambda self, key, missing_ok: None",
        "its 'delete' takes (key, missing_ok), and is called as delete(key): let it take that",
    ),
    "a method takes names only": (
        "Store.read = lambda self, *, key: None",
        "its 'read' takes (*, key), and is called as read(key): let it take that",
    ),
    "a method has no self": (
        "def clear(): ...\nStore.clear = clear",
        "its 'clear' takes no 'self', and is called as clear(): let it take that",
    ),
    "open gives None": (
        "class Settings(Settings): pass\ndef open(settings): Store(settings)",
        "its 'open' gave None: let it return the backend",
    ),
    "open gives a class": (
        "def open(settings): return Store",
        "its 'open' gave the class Store: let it return an object of that class",
    ),
    "open gives something else": (
        "def open(settings): return object()",
        "its 'open' gave a object, which has none of read, write, delete, keys, clear, close: return the backend",
    ),
    "open gives something to await": (
        "async def later(settings): ...\ndef open(settings): return later(settings)",
        "its 'open' is async: make it a plain 'def'",
    ),
    "a capability has a plural": (
        "Store.generations = lambda self: 1",
        "its 'generations' is no capability, 'generation' is one: name it so, or begin its name with '_'",
    ),
    "another one, too": (
        "Store.try_locks = lambda self, key: None",
        "its 'try_locks' is no capability, 'try_lock' is one: name it so, or begin its name with '_'",
    ),
    "a capability is written in capitals": (
        "Store.readMany = lambda self, keys: {}\nStore.write_many = lambda self, entries: None",
        (
            "its 'readMany' is no capability, 'read_many' is one: name it so, or begin its name with '_'; "
            "its 'write_many' is of no use without 'read_many': define both (CanBatch), or neither"
        ),
    ),
    "a capability has two letters changed about": (
        "Store.comapct = lambda self: None",
        "its 'comapct' is no capability, 'compact' is one: name it so, or begin its name with '_'",
    ),
    "half a capability": (
        "Store.read_many = lambda self, keys: {}",
        "its 'read_many' is of no use without 'write_many': define both (CanBatch), or neither",
    ),
    "a capability without the one that it stands on": (
        "Store.lease_holder = lambda self, key: None",
        "its 'lease_holder' is of no use without 'try_lock': define both (CanTellHolder), or neither",
    ),
    "a capability is async": (
        "async def try_lock(self, key): ...\nStore.try_lock = try_lock",
        "its 'try_lock' is async: make it a plain 'def'",
    ),
    "a capability takes too little": (
        "Store.update = lambda self, key: None",
        "its 'update' takes (key), and is called as update(key, change): let it take that",
    ),
    "a capability is no method": (
        "Store.size = 5",
        "its 'size' is the int 5, not a method: define size(), or name it otherwise",
    ),
    "a method is computed and fails": (
        "Store.size = property(lambda self: 1 / 0)",
        "a look at its methods raises ZeroDivisionError: division by zero: make them plain methods",
    ),
    "two things at once": (
        "del Store.clear\nStore.write = lambda self, key, entry: None",
        (
            "its 'write' takes (key, entry), and is called as write(key, entry, keep_until): let it take that; "
            "it has no 'clear': define clear()"
        ),
    ),
}

RECORDS = {
    "another api": ("api=2", "it is for plug-in interface 2, and this is 1: install a newer symcache"),
    "an older api": ("api=0", "it is for plug-in interface 0, and this is 1: install a newer version of the plug-in"),
    "an api in words": ("api='1'", "its 'api' is the str '1': leave it out, or give the number 1"),
    "persistent in words": ("persistent='no'", "its 'persistent' is the str 'no': give True or False"),
    "persistent is None": ("persistent=None", "its 'persistent' is None: give True or False"),
    "settings of another kind": (
        "settings=dict",
        "its 'settings' is the class dict: give a class derived from pydantic.BaseModel",
    ),
    "settings are the base of all": (
        "settings=BaseModel",
        "its 'settings' is pydantic.BaseModel itself: give a class derived from it, if only an empty one",
    ),
    "settings are an object": (
        "settings=Settings()",
        "its 'settings' is a Settings: give a class derived from pydantic.BaseModel",
    ),
    "open is an object": (
        "open=Store(None)",
        "its 'open' is a Store: give the backend's class, or a function that makes one",
    ),
    "open is async": ("open=later", "its 'open' is async: make it a plain 'def'"),
    "open takes nothing": (
        "open=lambda: None",
        "its 'open' takes (), and is called as open(settings): let it take that",
    ),
    "open takes the options one by one": (
        "open=lambda path, password: None",
        "its 'open' takes (path, password), and is called as open(settings): let it take that",
    ),
}


@pytest.fixture
def open_third(install, tmp_path):
    def open_third(source):
        install("third", "malformed_plugin", source)
        return Registry().open("third", {}, base_dir=tmp_path, data_dir=tmp_path)

    return open_third


@pytest.mark.parametrize(("change", "told"), STORES.values(), ids=STORES)
def test_a_malformed_store_is_refused_in_one_line(open_third, change, told):
    source = SOUND.replace("# here", change)
    if "open(" in change:
        source = source.replace("open=Store", "open=open")
    with pytest.raises(ConfigurationError) as raised:
        open_third(source)
    assert str(raised.value) == f"plug-in 'third' (symcache-third 1.0): backend 'third': {told}"


@pytest.mark.parametrize(("change", "told"), RECORDS.values(), ids=RECORDS)
def test_a_malformed_record_is_refused_in_one_line_and_nothing_of_it_is_called(open_third, tmp_path, change, told):
    source = SOUND.replace("# here", "async def later(settings): ...")
    field = change.partition("=")[0]
    given = {"settings": "settings=Settings", "open": "open=Store"}
    changed = ", ".join([*(text for name, text in given.items() if name != field), change])
    with pytest.raises(ConfigurationError) as raised:
        open_third(source.replace("settings=Settings, open=Store", changed))
    error = f"ConfigurationError: backend 'third': {told}"
    assert str(raised.value) == f"plug-in 'third' (symcache-third 1.0): {error}"
    assert [report.error for report in Registry().reports() if report.name == "third"] == [error]
    Registry().open("memory", {}, base_dir=tmp_path, data_dir=tmp_path).close()


def test_what_has_been_opened_is_closed_before_it_is_refused(open_third, tmp_path):
    with pytest.raises(ConfigurationError):
        open_third(SOUND.replace("# here", "Store.size = 5"))
    assert (tmp_path / "closed").exists()


@pytest.mark.parametrize(
    "change",
    [
        "",
        "def decorated(self, *arguments): return None\nStore.read = wraps(lambda self, key, db: None)(decorated)",
        "Store.try_lock = None",
        "Store.size = staticmethod(lambda: 5)",
        "Store.write = lambda self, key, entry, keep_until, extra=None: None",
        "Store.resize = Store.work = Store.compacted = Store.reads = lambda self: None",
        "Store.sizes = [5]",
        "Store.size = Store.sizes = lambda self: 5",
        "Store.generations = property(lambda self: 1)",
        "Store.try_locks_ = 1",
        (
            "class Outer:\n    def __init__(self, inner): self.inner = inner\n"
            "    def __getattr__(self, name): return getattr(self.inner, name)\n"
            "def open(settings): return Outer(Store(settings))"
        ),
        (
            "class Late(Store):\n    def __init__(self, settings):\n        super().__init__(settings)\n"
            "        self.read = self.entries.get\n"
            "def open(settings): return Late(settings)"
        ),
    ],
    ids=[
        "sound",
        "decorated",
        "a capability taken back",
        "static",
        "an argument with a default",
        "names that are not near enough",
        "an attribute with a near name",
        "a near name beside the right one",
        "a property with a near name",
        "a constant with a near name",
        "all passed on",
        "a method made when it is opened",
    ],
)
def test_what_can_be_called_as_the_core_calls_it_is_opened(open_third, change):
    source = SOUND.replace("# here", change)
    store = open_third(source.replace("open=Store", "open=open") if "def open(" in change else source)
    store.write("key", b"{}", 4e9)
    store.close()


def test_every_capability_of_storage_is_among_those_that_are_checked():
    known = {
        value
        for name, value in vars(protocols).items()
        if name.startswith("Can") and not any(map(inspect.iscoroutinefunction, vars(value).values()))
    }
    assert known == set(CAPABILITIES)


class Options(BaseModel):
    pass


class Lending:
    try_lock = read = write = delete = keys = clear = close = lambda self, *_arguments: None


class Sized(StorageBackend, CanSize, Protocol):
    """Says by a protocol what the class has, which is imported later."""


def gives_lending(settings) -> Lending:
    raise AssertionError("not to be opened")


def gives_sized(settings) -> Sized:
    raise AssertionError("not to be opened")


def gives_some_storage(settings) -> StorageBackend:
    raise AssertionError("not to be opened")


def gives_what_is_not_there(settings) -> "Nowhere":  # noqa: F821  # that is the point
    raise AssertionError("not to be opened")


@pytest.mark.parametrize(
    ("function", "capabilities"),
    [
        (Lending, ["CanLock"]),
        (gives_lending, ["CanLock"]),
        (functools.partial(gives_lending), ["CanLock"]),
        (gives_sized, ["CanSize"]),
        (gives_some_storage, None),
        (gives_what_is_not_there, None),
        (lambda settings: None, None),
    ],
)
def test_what_a_backend_will_be_able_to_do_shows_without_opening_it(function, capabilities):
    assert capabilities_of(Backend(name="third", settings=Options, open=function)) == capabilities
