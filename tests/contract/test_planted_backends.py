"""The defects that were planted by a reading of the authors' page alone are caught, each by the case it names."""

import hashlib
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from patience import PATIENCE
from planted_backends import STORAGES, planted
from postgresql_server import PASSWORD, USER, postgresql_server

from symcache_core.cli.contract_suite import FAILED, run_contract_suite
from symcache_core.testing import BackendContract, TcpProxy

PLANTED = Path(__file__).parent / "planted"

TOKEN = "secret-of-mine"


@contextmanager
def object_server():
    """The object store of the tests' own, in a process; gives its port."""
    command = [sys.executable, PLANTED / "object_server.py", "--port", "0", "--token", TOKEN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()
            server.wait(PATIENCE)


@pytest.mark.soak
class Planted:
    """What a subclass's ``storage`` is tried with: its ``options`` are those that a careful author would give."""

    server = staticmethod(nullcontext)

    def small(self, _folder):
        """The options of a store that is soon full, where there is a limit."""

    @pytest.fixture(scope="class")
    @classmethod
    def proxy(cls):
        """A way to the server that can be cut, if there is one."""
        with cls.server() as port, nullcontext() if port is None else TcpProxy("127.0.0.1", port) as proxy:
            yield proxy

    @pytest.fixture
    def tried(self, tmp_path, proxy, monkeypatch):
        def tried(number, case="", outage="away"):
            if proxy is not None:
                monkeypatch.setattr(BackendContract, "proxy", proxy)
                monkeypatch.setattr(BackendContract, "outage", lambda _suite: getattr(proxy, outage)())

            monkeypatch.setattr(BackendContract, "small", lambda _suite, folder: self.small(folder))

            def options(folder):
                return self.options(folder, hashlib.md5(str(folder).encode()).hexdigest(), proxy)

            return run_contract_suite(
                f"{self.storage}-{number}", plugins=("planted_backends",), options=options, folder=tmp_path, only=case
            )

        return tried

    def test_the_correct_one_keeps_every_promise(self, tried):
        assert [result for result in tried(0) if result.state == FAILED] == []

    def test_a_planted_defect_is_caught_by_the_case_it_names(self, tried, number, defect):
        (result,) = tried(number, defect.case, defect.outage)
        assert result.state == FAILED, f"a backend that {defect.says} passes {result.promise!r}"


class TestLmdb(Planted):
    storage = "lmdb"
    # They stand on backends of their own: once is enough.
    backend = "memory"

    def options(self, folder, _name, _proxy):
        return {"path": str(folder / "store"), "max_size": 1 << 28}

    def small(self, folder):
        return {"path": str(folder / "store"), "max_size": 1 << 24}


class TestObjects(Planted):
    storage = "objects"
    backend = "memory"
    server = staticmethod(object_server)

    def options(self, _folder, name, proxy):
        return {"url": f"http://127.0.0.1:{proxy.port}/bucket", "token": TOKEN, "namespace": name, "timeout": 3.0}


class TestPostgresql(Planted):
    storage = "postgresql"
    backend = "redis"
    server = staticmethod(postgresql_server)

    def options(self, _folder, name, proxy):
        return {"dsn": f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}/postgres", "namespace": name}


def pytest_generate_tests(metafunc):
    """Try each defect of a class's storage that a case catches; none where the storage's library is not installed."""
    if "defect" in metafunc.fixturenames:
        try:
            numbered = list(enumerate(planted(metafunc.cls.storage), 1))
        except ModuleNotFoundError:  # the storage's library
            numbered = []
        caught = [(number, defect) for number, defect in numbered if defect.case]
        metafunc.parametrize(("number", "defect"), caught, ids=[defect.make.__name__ for _, defect in caught])


def test_of_the_planted_defects_nineteen_in_twenty_are_caught():
    for library in ("lmdb", "psycopg_pool"):
        pytest.importorskip(library)
    found = [defect for storage in STORAGES for defect in planted(storage)]
    assert len(found) >= 60
    assert sum(bool(defect.case) for defect in found) >= 0.95 * len(found)
    assert all(bool(defect.case) is not bool(defect.why_not) for defect in found)
