"""Every broken backend is caught, by the case that it names; the backends that they stand on keep every promise."""

import pytest
from contract_score import MUTANTS, PAGE, page, score
from reference_backends import MemoryStore, SqliteStore, name_of
from reference_leases import ExpiringServerStore
from reference_server import PASSWORD, KeyValueServer, ServerStore, SilentServerStore

from symcache_core.cli.contract_suite import FAILED, OK, SKIPPED, run_contract_suite
from symcache_core.testing import BackendContract, TcpProxy
from symcache_core.testing.backend_outage import OutagePromises
from symcache_core.testing.backend_outage_beside import OutageBesidePromises

# They stand on backends of their own: once for each Python is enough.
backend = "memory"

SPEECHLESS = ("assert ", "DID NOT RAISE", "it failed without a word")


def _one_for_each_case(stores):
    """One broken backend for each case is tried always, the others in the soak."""
    first = {store.caught_by: store for store in reversed(stores) if "takes_long" not in vars(store)}
    for store in stores:
        marks = [] if store in first.values() else [pytest.mark.soak]
        yield pytest.param(store, id=name_of(store), marks=marks)


@pytest.fixture(scope="module")
def proxy():
    """A way to a server that can be cut."""
    with KeyValueServer() as server, TcpProxy("127.0.0.1", server.port) as proxy:
        yield proxy


@pytest.fixture
def tried(tmp_path, proxy, monkeypatch):
    def tried(store, only=""):
        def options(folder):
            # Every option that the backend has, so that nothing is skipped for want of one.
            given = {"path": str(folder / "store"), "password": PASSWORD, "store": ":".join(folder.parts)}
            given |= {"url": f"http://user:{PASSWORD}@{proxy.host}:{proxy.port}/store"}
            given |= {"host": proxy.host, "port": proxy.port, "timeout": 0.5 if store.outage == "silent" else 2.0}
            return {name: value for name, value in given.items() if name in store.Settings.model_fields}

        if "max_pages" in store.Settings.model_fields:
            monkeypatch.setattr(BackendContract, "small", lambda _suite, folder: {**options(folder), "max_pages": 500})
        if store.outage is not None:
            monkeypatch.setattr(BackendContract, "proxy", proxy)
            monkeypatch.setattr(BackendContract, "outage", lambda _suite: getattr(proxy, store.outage)())
        return run_contract_suite(
            name_of(store), plugins=(store.__module__,), options=options, folder=tmp_path, only=only
        )

    return tried


@pytest.mark.parametrize(
    "store",
    [MemoryStore, *(pytest.param(store, marks=pytest.mark.soak) for store in (SqliteStore, ServerStore))],
    ids=name_of,
)
def test_a_correct_backend_keeps_every_promise(store, tried):
    results = tried(store)
    assert [result for result in results if result.state == FAILED] == []
    skipped = {result.reason for result in results if result.state == SKIPPED}
    assert (skipped <= store.lacks) is store.persistent, skipped


@pytest.mark.soak
@pytest.mark.parametrize(
    "case", [name for name in vars(OutagePromises) | vars(OutageBesidePromises) if name.startswith("test_")]
)
def test_a_correct_backend_gets_over_the_silence_of_its_server(case, tried):
    (result,) = tried(SilentServerStore, only=case)
    assert result.state in (OK, SKIPPED), result.reason
    assert result.state == OK or result.reason in SilentServerStore.lacks


def test_a_correct_backend_renews_its_leases_beyond_an_outage(tried):
    (result,) = tried(ExpiringServerStore, only="test_a_short_outage_ends_no_lease")
    assert result.state == OK, result.reason


@pytest.mark.parametrize("store", list(_one_for_each_case(MUTANTS)))
def test_a_broken_backend_is_caught_by_the_case_it_names(store, tried):
    (result,) = tried(store, only=store.caught_by)
    assert result.state == FAILED, f"a backend that {store.__doc__} passes {result.promise!r}"
    assert not result.reason.startswith(SPEECHLESS), f"what its author reads is of no help: {result.reason}"


def test_every_broken_backend_says_what_is_wrong_with_it():
    assert len(MUTANTS) >= 40
    assert len({store.__doc__ for store in MUTANTS} - {None}) == len(MUTANTS)


def test_every_case_catches_something():
    cases = {name for name in dir(BackendContract) if name.startswith("test_")}
    # The registry refuses an unknown option before a backend can do anything wrong.
    assert cases - {store.caught_by for store in MUTANTS} == {"test_an_unknown_option_is_refused_by_name"}


def test_the_published_score_is_up_to_date():
    for library in ("lmdb", "psycopg_pool"):  # the storages in which defects were planted
        pytest.importorskip(library)
    assert PAGE.read_text() == page(), "run: python tests/contract/contract_score.py"
    told = "{} of {}".format(*score())
    for text in ("README.md", "CONTRIBUTING.md"):
        assert told in (PAGE.parents[1] / text).read_text(), f"{text} is to say {told!r}"
