"""Whatever happens to the bytes of the json files: no crash, no other value, no unread file overwritten."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symcache_backends.json_file.backend import JsonFileBackend
from symcache_core.errors import BackendError

backend = "json"
FAR = 4102444800.0
VALUES = {f"ib||S{number}||": json.dumps({"n": number, "text": 'é"\\' * number}).encode() for number in range(12)}
SNAPSHOT, JOURNAL = "symbols.json", "symbols.json.journal"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The two files of a store that has some entries in each, and some that were overwritten or deleted."""
    folder = tmp_path_factory.mktemp("original")
    store = JsonFileBackend(folder / SNAPSHOT)
    for key in list(VALUES)[:8]:
        store.write(key, VALUES[key], FAR)
    store.compact()
    for key in list(VALUES)[6:]:
        store.write(key, VALUES[key], FAR)
    store.delete("ib||S1||")
    files = {name: (folder / name).read_bytes() for name in (SNAPSHOT, JOURNAL)}
    store.close()
    return files


def flip(data, at, size, bit):
    damaged = bytearray(data)
    damaged[at] ^= 1 << bit
    return bytes(damaged)


DAMAGES = {
    "flipped": flip,
    "cut": lambda data, at, size, bit: data[:at],
    "doubled": lambda data, at, size, bit: data[: at + size] + data[at : at + size] + data[at + size :],
    "zeroed": lambda data, at, size, bit: data[:at] + bytes(len(data[at : at + size])) + data[at + size :],
    "taken out": lambda data, at, size, bit: data[:at] + data[at + size :],
}

damages = st.tuples(
    st.sampled_from([SNAPSHOT, JOURNAL]),
    st.sampled_from(sorted(DAMAGES)),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 400),
    st.integers(0, 7),
)


def check(folder, original, damage):
    name, kind, where, size, bit = damage
    data = original[name]
    damaged = {**original, name: DAMAGES[kind](data, int(where * len(data)), size, bit)}
    for file, content in damaged.items():
        (folder / file).write_bytes(content)
    try:
        store = JsonFileBackend(folder / SNAPSHOT)
    except BackendError:
        assert {file: (folder / file).read_bytes() for file in damaged} == damaged, "a refused file is left alone"
        return
    found = {key: store.read(key) for key in (*VALUES, *store.keys())}
    for key, value in found.items():
        assert value in (None, VALUES.get(key)), (damage, key)
    store.write("ib||NEW||", b"{}", FAR)
    store.close()
    with contextlib.closing(JsonFileBackend(folder / SNAPSHOT)) as again:
        assert again.read("ib||NEW||") == b"{}"
        for key, value in found.items():
            assert again.read(key) == value, (damage, key)


@settings(max_examples=150)
@given(damage=damages)
def test_damaged_files_give_what_was_stored_or_nothing(tmp_path, original, damage):
    check(tmp_path, original, damage)


@pytest.mark.soak
@settings(max_examples=5_000, derandomize=False)
@given(damage=damages)
def test_thousands_of_damaged_files_give_what_was_stored_or_nothing(tmp_path, original, damage):
    check(tmp_path, original, damage)


def test_every_single_flipped_bit_gives_what_was_stored_or_nothing(tmp_path, original):
    for name, data in original.items():
        for at in range(0, len(data), 3):
            check(tmp_path, original, (name, "flipped", at / len(data), 1, at % 8))
