"""A test of the contract cannot be dropped or replaced by a subclass, only declared to fail, with a reason."""

import pytest

from symcache_core.testing import BackendContract, SymbolCacheContract


def test_an_xfail_with_a_reason_may_override_a_test():
    class Suite(BackendContract):
        backend = "memory"

        @pytest.mark.xfail(reason="the storage counts in whole days")
        def test_an_entry_may_live_for_ever(self, store, keep_until):
            super().test_an_entry_may_live_for_ever(store, keep_until)

        def test_of_its_own(self, store):
            assert store.read("key") is None

    assert Suite.backend == "memory"


def passes(self, store):
    pass


@pytest.mark.parametrize(
    "override",
    [
        passes,
        None,
        pytest.mark.skip(reason="no time")(lambda self, store: None),
        pytest.mark.xfail(lambda self, store: None),
        pytest.mark.xfail(reason="")(lambda self, store: None),
    ],
    ids=["a test", "nothing", "a skip", "an xfail without a reason", "an xfail with an empty reason"],
)
@pytest.mark.parametrize("contract", [BackendContract, SymbolCacheContract])
def test_anything_else_is_refused(contract, override):
    name = {BackendContract: "test_two_stores_are_apart", SymbolCacheContract: "test_forget_and_clear"}[contract]
    with pytest.raises(TypeError, match=rf"Suite\.{name} overrides a test .*xfail\(reason="):
        type("Suite", (contract,), {"backend": "memory", name: override})


def test_an_override_from_a_base_class_is_refused_too():
    mixin = type("Mixin", (), {"test_two_stores_are_apart": passes})
    with pytest.raises(TypeError, match="overrides a test"):
        type("Suite", (mixin, BackendContract), {"backend": "memory"})


@pytest.mark.parametrize("names", [{}, {"backend": None}], ids=["none", "not a name"])
def test_a_suite_says_which_backend_it_is_about(names):
    with pytest.raises(TypeError, match="set 'backend' to its name"):
        type("Suite", (BackendContract,), names)
