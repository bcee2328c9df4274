"""What a storage backend promises about long keys, keys whose hashes are alike, and entries of a megabyte and more."""

from __future__ import annotations

import base64
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from ..errors import BackendError
from ..protocols import StorageBackend
from ..symbols import MAX_KEY_BYTES
from .contract import Contract
from .harness import FAR

MEGABYTE = 2**20
"""Bytes that an entry may have and has to fit."""

_LETTERS = {
    "two bytes": "\N{LATIN SMALL LETTER E WITH ACUTE}\N{LATIN SMALL LETTER E WITH GRAVE}",
    "three bytes": "\N{CJK UNIFIED IDEOGRAPH-65E5}\N{CJK UNIFIED IDEOGRAPH-65E4}",
    "four bytes": "\N{CHART WITH UPWARDS TREND}\N{CHART WITH DOWNWARDS TREND}",
}
"""Pairs of letters of which only the last byte of UTF-8 differs."""

ALIKE = {
    "CRC-32": ("plumless", "buckeroo"),
    "Adler-32": ("ib||S120||", "ib||S201||"),
    "a hash of 31 times and plus": ("ib||Aa||", "ib||BB||"),
    "a sum of bytes": ("ib||AB||", "ib||BA||"),
    "the first four bytes of MD5": ("ib||S38209||", "ib||S54328||"),
    "the last four bytes of MD5": ("ib||S72368||", "ib||S97151||"),
    "the first four bytes of SHA-1": ("ib||S11219||", "ib||S64792||"),
    "the first four bytes of SHA-256": ("ib||S32450||", "ib||S46905||"),
    "the first four bytes of BLAKE2b": ("ib||S64182||", "ib||S79719||"),
    "the first four bytes of BLAKE2s": ("ib||S53392||", "ib||S82003||"),
}
"""Pairs of keys of which something short that may stand for a key is the same."""


def long_keys() -> list[str]:
    """Keys as long as has to fit, and of other lengths at which storage ends; some differ in their last byte only."""
    keys = ["k" * length for length in (63, 64, 127, 128, 249, 250, 254, 255, 256, 257, 400, 510)]
    keys += ["k" * (MAX_KEY_BYTES - 1) + end for end in "kK12"] + ["K" + "k" * (MAX_KEY_BYTES - 1)]
    for one, other in map(tuple, _LETTERS.values()):
        size = len(one.encode())
        filled = one * ((MAX_KEY_BYTES - size) // size)
        filled = "k" * (MAX_KEY_BYTES - size - len(filled.encode())) + filled
        keys += [filled + one, filled + other]
    return keys


class KeyPromises(Contract):
    """Promises about what is long, and about keys that a short name for them would mix up."""

    @pytest.fixture
    def empty(self, tmp_path: Path, opened: ExitStack) -> StorageBackend:
        """An empty store, opened by the backend's name."""
        return self.open(tmp_path / "store", opened)

    def test_a_key_of_511_bytes_has_an_entry_of_its_own(self, empty: StorageBackend) -> None:
        keys = long_keys()
        for number, key in enumerate(keys):
            empty.write(key, b'{"n":%d}' % number, FAR)
        for number, key in enumerate(keys):
            assert empty.read(key) == b'{"n":%d}' % number, (
                f"{_described(key)} was taken for another one: keys of up to 511 bytes of UTF-8 have to fit whole, so "
                "take a hash of the key where your storage takes less"
            )
        listed = sorted(empty.keys())
        assert listed == sorted(keys), "keys() has to give a long key back whole, as it was written"
        assert empty.delete(keys[-1]) is True, "delete does not find the entry of a long key, and there is one"
        assert empty.read(keys[-2]) is not None, "delete took a key's last letter for another one"

    def test_a_longer_key_is_stored_or_refused_and_never_cut(self, empty: StorageBackend) -> None:
        kept = {"k" * MAX_KEY_BYTES: b'{"short":1}'}
        for key, entry in kept.items():
            empty.write(key, entry, FAR)
        for length in (MAX_KEY_BYTES + 1, 600, 1_024, 2_000, 4_096, 70_000):
            for key in ("k" * length, "k" * (length - 1) + "K", "k" * (length - 3) + _LETTERS["three bytes"][0]):
                entry = b'{"length":%d,"end":"%b"}' % (length, key[-1:].encode())
                if not _refused(empty, key, entry, f"a key of {length} characters"):
                    kept[key] = entry
        for key, entry in kept.items():
            assert empty.read(key) == entry, (
                f"{_described(key)} was cut: store a key of more than 511 bytes whole, or raise BackendError"
            )
        assert sorted(empty.keys()) == sorted(kept), "keys() gives a key that was cut, or one that was refused"

    @pytest.mark.parametrize("what", ALIKE)
    def test_keys_whose_hashes_are_alike_are_told_apart(self, empty: StorageBackend, what: str) -> None:
        one, other = ALIKE[what]
        empty.write(one, b'{"n":1}', FAR)
        assert empty.read(other) is None, f"two keys of which {what} is the same share an entry: {_LONGER_HASH}"
        empty.write(other, b'{"n":2}', FAR)
        assert empty.read(one) == b'{"n":1}', f"two keys of which {what} is the same share an entry: {_LONGER_HASH}"
        assert sorted(empty.keys()) == sorted((one, other)), (
            f"of two keys of which {what} is the same, one is not listed"
        )
        assert empty.delete(other) is True, f"of two keys of which {what} is the same, delete finds one only"
        assert empty.read(one) == b'{"n":1}', f"of two keys of which {what} is the same, delete took the other's entry"

    def test_entries_of_a_megabyte_that_cannot_be_compressed_are_all_kept(self, empty: StorageBackend) -> None:
        entries = {f"key{number}": incompressible(MEGABYTE, number) for number in range(self.times(12, least=3))}
        for key, entry in entries.items():
            empty.write(key, entry, FAR)
        for key, entry in entries.items():
            _same(
                empty.read(key),
                entry,
                "an entry of one megabyte (2^20 bytes) that cannot be compressed has to be kept, and several of them: "
                "raise the limit of your storage (of a value, a packet, a map)",
            )
        assert sorted(empty.keys()) == sorted(entries), "a store of some megabytes has lost a key"

    def test_a_larger_entry_is_stored_whole_or_refused(self, empty: StorageBackend) -> None:
        empty.write("other", b'{"other":1}', FAR)
        for size in (MEGABYTE + 1, 2 * MEGABYTE, 8 * MEGABYTE):
            before, entry = b'{"before":%d}' % size, incompressible(size, size)
            empty.write("key", before, FAR)
            if _refused(empty, "key", entry, f"an entry of {size} bytes"):
                _same(empty.read("key"), before, "a write that was refused for its length changed what was there")
            else:
                _same(
                    empty.read("key"),
                    entry,
                    f"an entry of {size} bytes was cut or dropped in silence: store it whole, or raise BackendError",
                )
            empty.write("key", b'{"after":1}', FAR)
            assert empty.read("key") == b'{"after":1}', "after an entry of many megabytes a small one is not taken"
            assert empty.read("other") == b'{"other":1}', "an entry of many megabytes took another one along"


_LONGER_HASH = "let a long hash (SHA-256) stand for a key, or compare the key itself"


def incompressible(size: int, seed: int) -> bytes:
    """An entry of so many bytes that no compression makes much shorter: what a text of random bytes is in JSON."""
    noise = base64.b64encode(Random(seed).randbytes(size * 3 // 4 + 3))
    return b'"' + noise[: size - 2] + b'"'


def _same(found: bytes | None, entry: bytes, message: str) -> None:
    """Compare entries that are too long to be shown."""
    is_same = found == entry
    assert is_same, f"{message} (it has {'no entry' if found is None else f'{len(found)} bytes'} of {len(entry)})"


def _refused(store: StorageBackend, key: str, entry: bytes, what: str) -> bool:
    """Whether what need not fit was refused, and in the right words."""
    try:
        store.write(key, entry, FAR)
    except BackendError as error:
        if type(error) is not BackendError:
            pytest.fail(
                f"{what} was refused with {type(error).__name__}, which says that the storage has failed: raise "
                "BackendError itself, so that it goes on to be used for all others"
            )
        return True
    return False


def _described(key: str) -> str:
    return f"a key of {len(key.encode())} bytes that ends in {key[-3:]!a}"
