"""Every broken backend is caught, by the case that it names; the backends that they stand on keep every promise."""

import pytest
from contract_score import MUTANTS, PAGE, page
from reference_backends import MemoryStore, SqliteStore, name_of

from symcache_core.cli.contract_suite import FAILED, SKIPPED, run_contract_suite
from symcache_core.testing import BackendContract

# They stand on backends of their own: once for each Python is enough.
backend = "memory"


@pytest.fixture
def tried(tmp_path):
    def tried(store, only=""):
        def options(folder):
            # Every option that the backend has, so that nothing is skipped for want of one.
            given = {"path": str(folder / "store"), "password": "correct horse"}
            return {name: value for name, value in given.items() if name in store.Settings.model_fields}

        return run_contract_suite(
            name_of(store), plugins=(store.__module__,), options=options, folder=tmp_path, only=only
        )

    return tried


@pytest.mark.parametrize("store", [MemoryStore, SqliteStore], ids=name_of)
def test_a_correct_backend_keeps_every_promise(store, tried):
    results = tried(store)
    assert [result for result in results if result.state == FAILED] == []
    skipped = {result.reason for result in results if result.state == SKIPPED}
    assert bool(skipped) is not store.persistent, skipped


@pytest.mark.parametrize("store", MUTANTS, ids=name_of)
def test_a_broken_backend_is_caught_by_the_case_it_names(store, tried):
    (result,) = tried(store, only=store.caught_by)
    assert result.state == FAILED, f"a backend that {store.__doc__} passes {result.promise!r}"


def test_every_broken_backend_says_what_is_wrong_with_it():
    assert len(MUTANTS) >= 40
    assert len({store.__doc__ for store in MUTANTS} - {None}) == len(MUTANTS)


def test_every_case_catches_something():
    cases = {name for name in dir(BackendContract) if name.startswith("test_")}
    # The registry refuses an unknown option before a backend can do anything wrong.
    assert cases - {store.caught_by for store in MUTANTS} == {"test_an_unknown_option_is_refused_by_name"}


def test_the_published_score_is_up_to_date():
    assert PAGE.read_text() == page(), "run: python tests/contract/contract_score.py"
