"""What a persistent backend promises to several objects and processes on one store."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path

from ..protocols import StorageBackend
from .contract import Contract
from .harness import FAR, begun
from .worker_process import WorkerProcess

Workers = tuple[WorkerProcess, WorkerProcess]


class SharingPromises(Contract):
    """Promises that only show when somebody else is at work on the same store."""

    def shared(self, folder: Path, opened: ExitStack, workers: Workers) -> StorageBackend:
        """A store that both workers have open too."""
        store = self.open(folder, opened)
        for worker in workers:
            worker.ask("open", **self.address(folder))
        return store

    def test_two_objects_share_one_store(self, tmp_path: Path, opened: ExitStack) -> None:
        self.only_if_persistent()
        one = self.open(tmp_path / "store", opened)
        two = self.open(tmp_path / "store", opened)
        assert two.read("key") is None, "a new store has an entry that nobody wrote"
        one.write("key", b"{}", FAR)
        assert two.read("key") == b"{}", "what one object stored, the other does not see"
        assert two.delete("key") is True, "delete does not find what another object stored"
        assert one.read("key") is None, "what one object deleted, the other still sees"
        one.write("key", b"[]", FAR)
        assert two.clear() == 1, "clear does not count what another object stored"
        assert one.read("key") is None, "what one object cleared, the other still sees"
        assert list(one.keys()) == [], "keys() lists what another object cleared"
        two.close()
        one.write("key", b"{}", FAR)
        assert one.read("key") == b"{}", "closing one object closed the other"

    # -- seeing each other -------------------------------------------------------------------------------------------

    def test_a_store_of_another_process_is_seen_by_who_has_looked_before(
        self, tmp_path: Path, opened: ExitStack, workers: Workers
    ) -> None:
        store = self.shared(tmp_path / "store", opened, workers)
        assert store.read("key") is None, "a new store has an entry that nobody wrote"
        assert workers[1].ask("read", key="key") is None, "a new store has an entry that nobody wrote"
        for entry in ("{}", "[]"):
            workers[0].ask("write", key="key", entry=entry)
            assert store.read("key") == entry.encode(), (
                "what another process wrote is not seen: look at the storage, whatever was found before"
            )
            assert workers[1].ask("read", key="key") == entry, (
                "what another process wrote is not seen: look at the storage, whatever was found before"
            )
            assert list(store.keys()) == ["key"], "keys() does not list what another process stored"
        store.write("key", b'"mine"', FAR)
        assert workers[0].ask("read", key="key") == '"mine"', "another process does not see this one's store"

    def test_a_delete_of_another_process_is_seen_by_who_has_looked_before(
        self, tmp_path: Path, opened: ExitStack, workers: Workers
    ) -> None:
        store = self.shared(tmp_path / "store", opened, workers)
        store.write("key", b"{}", FAR)
        store.write("kept", b"{}", FAR)
        assert store.read("key") == b"{}", "an entry is not found by who wrote it"
        assert workers[0].ask("delete", key="key") is True, "another process does not find this one's entry"
        assert store.read("key") is None, (
            "what another process deleted is still read: look at the storage, whatever was found before"
        )
        assert list(store.keys()) == ["kept"], (
            "keys() lists what another process deleted: look at the storage each time"
        )
        assert store.delete("key") is False, "delete finds what another process has deleted"

    def test_a_clear_of_another_process_is_seen_by_who_has_looked_before(
        self, tmp_path: Path, opened: ExitStack, workers: Workers
    ) -> None:
        store = self.shared(tmp_path / "store", opened, workers)
        for number in range(5):
            store.write(f"key{number}", b"{}", FAR)
        assert len(list(store.keys())) == 5, "keys() does not list what was written"
        assert workers[0].ask("clear") == 5, "another process does not find this one's entries"
        assert store.read("key0") is None, "what another process cleared is still read: look at the storage each time"
        assert list(store.keys()) == [], "keys() lists what another process cleared: look at the storage each time"
        store.write("new", b"{}", FAR)
        assert workers[0].ask("keys") == ["new"], "a store after another process's clear is lost"

    # -- working at the same time ------------------------------------------------------------------------------------

    def test_processes_on_many_keys_lose_nothing(self, tmp_path: Path, opened: ExitStack, workers: Workers) -> None:
        store = self.shared(tmp_path / "store", opened, workers)
        count = self.times(150, least=50)
        for name, worker in zip("ab", workers, strict=True):
            worker.begin("write_series", prefix=name, count=count)
        for number in range(count):
            store.write(f"c{number}", b'{"from": "c"}', FAR)
        for worker in workers:
            worker.outcome()
        expected = {f"{name}{number}": b'{"from": "%b"}' % name.encode() for name in "abc" for number in range(count)}
        kept = {key: store.read(key) for key in store.keys()}
        lost = sorted(set(expected) - set(kept))
        assert kept == expected, (
            f"{len(lost)} entries were lost, such as {lost[:5]}: write what was given, and nothing of others"
        )

    def test_processes_on_one_key_never_show_half_an_entry(
        self, tmp_path: Path, opened: ExitStack, workers: Workers
    ) -> None:
        store = self.shared(tmp_path / "store", opened, workers)
        entries = [json.dumps({"from": name * length}) for name, length in (("a", 20_000), ("b", 3_000))]
        store.write("key", entries[0].encode(), FAR)
        for worker, entry in zip(workers, entries, strict=True):
            worker.begin("write_again", key="key", entry=entry, count=self.times(200, least=50))
        whole = {entry.encode() for entry in entries}
        writers = [begun(worker.outcome) for worker in workers]
        while not all(writer.done() for writer in writers):
            seen = store.read("key")
            assert seen is not None, "an entry that is being overwritten was missing"
            assert seen in whole, "half an entry was seen, or a mixture: a write has to take effect in one step"
            assert list(store.keys()) == ["key"], (
                "a key that is being overwritten is missing, or listed twice: write in one step"
            )
        for writer in writers:
            writer.result()
        last = {worker.ask("read", key="key").encode() for worker in workers}
        assert last == {store.read("key")}, "two processes see different entries although nobody writes any more"
        assert last <= whole, "the last entry is none that anyone wrote"

    def test_iterating_and_deleting_survive_other_processes(
        self, tmp_path: Path, opened: ExitStack, workers: Workers
    ) -> None:
        store = self.shared(tmp_path / "store", opened, workers)
        count = self.times(100, least=30)
        old = [f"old{number}" for number in range(60)]
        for key in old:
            store.write(key, b"{}", FAR)
        for name, worker in zip("ab", workers, strict=True):
            worker.begin("write_series", prefix=name, count=count)
        deadline = time.monotonic() + 1
        while len(list(store.keys())) == len(old) and time.monotonic() < deadline:
            pass  # until they are at it, which takes a moment on a busy machine
        for number in range(30):
            listed = [key for key in store.keys() if key.startswith("old")]
            assert sorted(listed) == sorted(old[number:]), "each key that stays is given once while others write"
            assert store.delete(old[number]) is True, "an entry is not found while others write"
        for worker in workers:
            worker.outcome()
        written = {f"{name}{number}" for name in "ab" for number in range(count)}
        assert set(store.keys()) == written | set(old[30:]), (
            "an entry or a deletion is lost: delete one entry, and write nothing else anew"
        )
        cleared, there = store.clear(), 2 * count + 30
        assert cleared == there, f"clear gives how many entries it dropped: {cleared}, and {there} were listed"
        assert workers[0].ask("keys") == [], "what one process cleared, another lists"

    def test_processes_open_a_new_store_at_once(self, tmp_path: Path, opened: ExitStack, workers: Workers) -> None:
        for attempt in range(5):
            folder = tmp_path / f"store{attempt}"
            for name, worker in zip("ab", workers, strict=True):
                worker.begin("open", **self.address(folder))
                worker.begin("write", key=name, entry="{}")
            store = self.open(folder, opened)
            store.write("mine", b"{}", FAR)
            for worker in workers:
                worker.outcome()
                worker.outcome()
            assert sorted(store.keys()) == ["a", "b", "mine"], "a store beside another process's opening is lost"
            store.close()

    # -- dying -------------------------------------------------------------------------------------------------------

    def test_what_a_killed_writer_acknowledged_is_there(
        self, tmp_path: Path, opened: ExitStack, workers: Workers
    ) -> None:
        folder = tmp_path / "store"
        store = self.shared(folder, opened, workers)
        store.write("before", b"{}", FAR)
        workers[0].begin("write_series", prefix="k", count=1_000_000)
        acknowledged = [workers[0].acknowledged() for _ in range(20)]
        acknowledged += workers[0].kill()
        for key in acknowledged:
            assert store.read(key) == b'{"from": "k"}', f"{key} was acknowledged before kill -9, and is lost"
        assert workers[1].ask("read", key="before") == "{}", "an entry is lost because a writer of others was killed"
        again = self.open(folder, opened)
        assert {*acknowledged, "before"} <= set(again.keys()), "what was acknowledged is lost after reopening"
        assert {again.read(key) for key in again.keys()} <= {b'{"from": "k"}', b"{}"}, "half an entry is left"
        again.write("after", b"{}", FAR)
        assert store.read("after") == b"{}", "a killed writer blocks the others"

    def test_the_last_word_of_a_process_is_kept_however_it_ends(
        self, tmp_path: Path, opened: ExitStack, workers: Workers
    ) -> None:
        folder = tmp_path / "store"
        first, second = workers
        first.ask("open", **self.address(folder))
        first.ask("write", key="gone", entry="{}")
        first.ask("write", key="key", entry="{}")
        first.ask("write", key="key", entry="[]")
        first.ask("delete", key="gone")
        first.kill()
        second.ask("open", **self.address(folder))
        assert second.ask("read", key="key") == "[]", "a write had returned before kill -9, and is lost"
        assert second.ask("keys") == ["key"], "a delete had returned before kill -9, and is undone"
        assert list(self.open(folder, opened).keys()) == ["key"], "what a killed process did last is lost at an opening"
