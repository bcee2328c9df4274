"""The redis backend: a real server's refusals and absences in our words, namespaces apart, leases that expire."""

import asyncio
import logging
import math
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
import redis
from patience import PATIENCE

from symcache_backends.redis import RedisBackend, RedisSettings
from symcache_core import SymcacheSettings, ValidationResult, open_symbol_cache
from symcache_core.errors import BackendUnavailableError, ClosedError, ConfigurationError
from symcache_core.registry import Registry

backend = "redis"

FAR = 4102444800.0
FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
"""Python 3.12 and later warn of what these tests are about."""

SECRET = "s3cret"  # short of anything that a URL would escape


@pytest.fixture
def opened():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def open_store(redis_server, tmp_path, opened):
    """Opens the store of this test, or with other options another."""

    def open_store(**options):
        settings = RedisSettings.model_validate({"url": redis_server.url, "namespace": tmp_path.name, **options})
        store = RedisBackend(settings)
        opened.callback(store.close)
        return store

    return open_store


@pytest.fixture
def store(open_store):
    return open_store()


@pytest.fixture
def raw(redis_server, opened):
    """The server as any other program sees it."""
    return opened.enter_context(redis.Redis.from_url(redis_server.url))


@pytest.fixture(scope="module")
def guarded(start_redis):
    """A server with a password, and a user ``cache`` who may do in namespace ``mine`` what a backend has to."""
    user = ["cache", "on", f">{SECRET}2", "~mine::*", "+@read", "+@write", "+@scripting"]
    return start_redis("--requirepass", SECRET, "--user", *user)


@pytest.fixture
def nobody():
    """A port of the loopback where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def configured(**options):
    """Open the backend as configuration does."""
    return Registry().open("redis", options, base_dir=None, data_dir=None)


def others_lease(store, key):
    """Whether somebody else would get the lease of a key."""
    lease = store.try_lock(key)
    if lease is not None:
        lease.release()
    return lease is not None


# -- configuration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://127.0.0.1:6379/0",
        "127.0.0.1:6379",
        "redis://",
        f"redis://:{SECRET}/x@127.0.0.1:6379/0",
        f"redis://:{SECRET}@127.0.0.1:port",
        f"redis://:{SECRET}@127.0.0.1/symbols",
        f"redis://:{SECRET}@127.0.0.1/0?decode_responses=true",
        f"redis://:{SECRET}@127.0.0.1/0?ssl_ca_certs=/ca.pem",
        f"rediss://:{SECRET}@127.0.0.1/0?ssl_cert_reqs=never",
        f"redis://:{SECRET}@{'a' * 64}.test",
        "unix://",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_by_name_and_not_shown(url):
    with pytest.raises(ConfigurationError, match=r"'url'.*redis://host:port/db") as refusal:
        configured(url=url)
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [("namespace", ""), ("namespace", "a::b"), ("namespace", ":a"), ("namespace", "a:"), ("lease", 0), ("timeout", 0)],
)
def test_another_option_that_cannot_be_used_is_refused_by_name(option, value):
    with pytest.raises(ConfigurationError, match=option):
        configured(**{option: value})


def test_a_password_of_digits_comes_through_the_environment(monkeypatch):
    monkeypatch.setenv("SYMCACHE_BACKENDS__REDIS__PASSWORD", "123456")
    options = SymcacheSettings().backends["redis"]
    assert RedisSettings.model_validate(options).connection()["password"] == "123456"


def test_without_redis_py_its_plug_in_says_what_to_install():
    script = (
        "import sys; sys.modules['redis'] = None\n"
        "from symcache_core.registry import Registry\n"
        "print(next(report.error for report in Registry().reports() if report.name == 'redis'))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'symcache[redis]'" in run.stdout


# -- credentials -------------------------------------------------------------------------------------------------------


def test_credentials_come_in_the_url_or_beside_it(guarded):
    configured(url=guarded.url, password=SECRET).close()
    configured(url=guarded.url.replace("//", f"//:{SECRET}@")).close()
    configured(url=guarded.url, username="cache", password=f"{SECRET}2", namespace="mine").close()
    configured(url=guarded.url.replace("//", f"//cache:{SECRET}2@"), namespace="mine").close()


@pytest.mark.parametrize(
    "credentials",
    [{}, {"password": f"{SECRET}!"}, {"username": "nobody", "password": SECRET}],
    ids=["none", "wrong password", "unknown user"],
)
def test_refused_credentials_are_a_configuration_error_when_opened(guarded, credentials):
    with pytest.raises(ConfigurationError, match=r"'backends\.redis\.password'") as refusal:
        configured(url=guarded.url, **credentials)
    assert f"127.0.0.1:{guarded.port}" in str(refusal.value)
    assert SECRET not in str(refusal.value)


def test_a_password_for_a_server_that_wants_none_is_a_configuration_error(redis_server):
    with pytest.raises(ConfigurationError, match=r"'backends\.redis\.password'"):
        configured(url=redis_server.url, password=SECRET)


def test_a_user_without_rights_in_the_namespace_is_a_configuration_error(guarded):
    with pytest.raises(ConfigurationError, match=r"'backends\.redis\.username'"):
        configured(url=guarded.url, username="cache", password=f"{SECRET}2", namespace="mine:too")


def test_rights_in_its_namespace_are_all_that_a_user_needs(guarded):
    store = configured(url=guarded.url, username="cache", password=f"{SECRET}2", namespace="mine")
    store.write_many({"a": (b"{}", FAR), "b": (b"{}", FAR)})
    store.update("a", lambda entry: (b"[]", FAR))
    lease = store.try_lock("a")
    assert lease is not None
    lease.release()
    assert store.read_many(["a", "b", "c"]) == {"a": b"[]", "b": b"{}"}
    assert store.clear() == 2
    store.close()


def test_no_secret_shows_anywhere(guarded, caplog, nobody):
    caplog.set_level(logging.DEBUG)
    url = guarded.url.replace("//", f"//:{SECRET}@")
    settings = RedisSettings(url=url, password=SECRET)
    store = RedisBackend(settings)
    store.write("key", b"{}", FAR)
    unreachable = RedisBackend(RedisSettings(url=url.replace(str(guarded.port), str(nobody))))
    with pytest.raises(BackendUnavailableError) as error:
        unreachable.read("key")
    store.close()
    with pytest.raises(ClosedError) as closed:
        store.read("key")
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(store), caplog.text):
        assert SECRET not in shown
    for raised in (error.value, error.value.__cause__, closed.value):
        assert SECRET not in f"{raised} {raised!r}"


# -- absence -----------------------------------------------------------------------------------------------------------


def test_an_unreachable_server_opens_and_its_use_is_an_error_that_names_it(nobody):
    store = configured(url=f"redis://127.0.0.1:{nobody}/0")
    uses = [
        lambda: store.read("key"),
        lambda: store.read_many(["key"]),
        lambda: store.write("key", b"{}", FAR),
        lambda: store.write_many({"key": (b"{}", FAR)}),
        lambda: store.update("key", lambda _entry: (b"{}", FAR)),
        lambda: store.delete("key"),
        lambda: list(store.keys()),
        store.clear,
        lambda: store.try_lock("key"),
    ]
    for use in uses:
        with pytest.raises(BackendUnavailableError, match=rf"127\.0\.0\.1:{nobody} \(setting 'backends\.redis\.url'\)"):
            use()
    store.close()


def test_lookups_go_on_while_the_server_is_away(nobody):
    async def validate(symbol, timeframes):
        return ValidationResult(is_valid=True, symbol=symbol)

    settings = SymcacheSettings(backend="redis", backends={"redis": {"url": f"redis://127.0.0.1:{nobody}/0"}})
    with open_symbol_cache(settings) as cache:
        lookup = asyncio.run(cache.get_or_validate("AAPL", (), validate))
        assert lookup.result.is_valid


def test_a_server_that_comes_back_is_used_again(start_redis, open_store):
    server = start_redis()
    store = open_store(url=server.url)
    store.update("key", lambda _entry: (b"{}", FAR))
    lease = store.try_lock("key")
    server.stop()
    for _ in range(2):
        with pytest.raises(BackendUnavailableError):
            store.read("key")
    lease.release()
    server.start()
    assert store.read("key") is None, "this server keeps nothing on disk"
    store.update("key", lambda _entry: (b"[]", FAR))
    assert store.read("key") == b"[]"
    assert others_lease(store, "key")


def test_a_connection_that_died_while_idle_costs_nobody_an_error(store, raw):
    store.write("key", b"{}", FAR)
    raw.client_kill_filter(_type="normal", skipme=True)
    assert store.read("key") == b"{}"


def test_a_server_that_is_silent_is_an_error_after_the_timeout_and_not_asked_again(opened):
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    store = configured(url=f"redis://127.0.0.1:{listener.getsockname()[1]}/0", timeout=0.05)
    with pytest.raises(BackendUnavailableError, match=r"(?i)timeout"):
        store.try_lock("key")
    store.close()
    listener.setblocking(False)
    for _connection in ("to open", "to lock"):
        listener.accept()[0].close()
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_who_opens_beside_a_silent_server_waits_for_it_once(opened):
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"

    async def validate(symbol, timeframes):
        return ValidationResult(is_valid=True, symbol=symbol)

    async def look_up_many():
        settings = {"backend": "redis", "backends": {"redis": {"url": url, "timeout": 0.2}}, "storage_retry": PATIENCE}
        cache = open_symbol_cache(SymcacheSettings(**settings))
        for number in range(20):
            await cache.get_or_validate(f"S{number}", (), validate)
        assert cache.get_stats().degraded
        listener.setblocking(False)
        listener.accept()[0].close()
        with pytest.raises(BlockingIOError):
            listener.accept()
        await cache.aclose()

    asyncio.run(look_up_many())


def test_that_the_server_was_silent_when_it_was_opened_is_told_once(opened):
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    store = configured(url=f"redis://127.0.0.1:{listener.getsockname()[1]}/0", timeout=0.05)
    for use in (lambda: store.read("key"), lambda: store.read_many(["key"])):
        with pytest.raises(BackendUnavailableError, match=r"(?i)timeout"):
            use()
    store.close()
    listener.setblocking(False)
    for _connection in ("to open", "to read many"):
        listener.accept()[0].close()
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("step", ["can_read", "send_packed_command", "read_response"])
def test_a_call_that_close_overtakes_ends_in_our_words_and_leaves_no_connection_open(store, monkeypatch, step):
    store.write("key", b"{}", FAR)
    connections = list(store._pool._connections)
    for connection in connections:
        go_on = getattr(connection, step)

        def overtaken(*arguments, go_on=go_on, **options):
            monkeypatch.undo()
            store.close()
            return go_on(*arguments, **options)

        monkeypatch.setattr(connection, step, overtaken)
    try:
        assert store.read("key") == b"{}"
    except ClosedError:
        pass
    assert store._closed, "nothing has overtaken it"
    assert [connection for connection in store._pool._connections if connection._sock is not None] == []


def test_what_a_change_raises_goes_out_as_it_is_even_if_the_store_was_closed_meanwhile(store):
    def change(_entry):
        store.close()
        raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="the caller's own"):
        store.update("key", change)


def test_a_call_that_is_interrupted_leaves_no_connection_behind_that_its_reply_is_still_on_the_way_to(
    store, monkeypatch
):
    store.write("one", b"[1]", FAR)
    store.write("two", b"[2]", FAR)
    parse_response = store._redis.parse_response

    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    for _ in range(20):  # more often than there are connections
        monkeypatch.setattr(store._redis, "parse_response", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.read("one")
        monkeypatch.setattr(store._redis, "parse_response", parse_response)
        assert store._pool.pool.queue[-1] is None, "its connection is used again"
        assert store.read("two") == b"[2]"


def test_a_keeper_of_leases_that_could_not_be_started_is_started_with_the_next_lease(store, raw, monkeypatch):
    class Exhausted(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading, "Thread", Exhausted)
    with pytest.raises(BackendUnavailableError, match="no thread"):
        store.try_lock("first")
    monkeypatch.undo()
    assert store.try_lock("first") is not None, "it was given back"
    assert store.try_lock("second") is not None
    assert len(renewers()) == 1


def test_closing_beside_a_server_that_was_silent_just_now_does_not_wait_for_it(start_redis, stop):
    server = start_redis()
    store = configured(url=server.url, timeout=0.5)
    assert store.try_lock("key") is not None
    stop(server)
    with pytest.raises(BackendUnavailableError):
        store.read("key")
    calls = []
    store._leases._drop = lambda **options: calls.append(options)
    store.close()
    assert calls == []


@pytest.fixture
def stop(opened):
    """Stops a server as Ctrl-Z does: it takes connections, and answers nothing."""

    def stop(server):
        server.process.send_signal(signal.SIGSTOP)
        opened.callback(server.process.send_signal, signal.SIGCONT)

    return stop


def test_of_many_leases_that_a_stopped_server_cannot_take_back_one_waits_for_it(start_redis, opened, stop):
    server = start_redis()
    store = opened.enter_context(closing(configured(url=server.url, timeout=0.5)))
    leases = [store.try_lock(f"key {number}") for number in range(100)]
    assert all(leases)
    stop(server)
    began = time.monotonic()
    for lease in leases:
        lease.release()
    assert time.monotonic() - began < 0.5 * len(leases) / 4


def test_a_thousand_lookups_beside_a_stopped_server_are_answered(start_redis, opened, stop):
    async def validate(symbol, timeframes):
        return ValidationResult(is_valid=True, symbol=symbol)

    async def main():
        for _round in range(5):
            symbols = [f"S{number}" for number in range(200)] * 5
            lookups = await asyncio.gather(*(cache.get_or_validate(symbol, (), validate) for symbol in symbols))
            assert all(lookup.result.is_valid for lookup in lookups)

    server = start_redis()
    timeout = PATIENCE / 4
    settings = SymcacheSettings(
        backend="redis", backends={"redis": {"url": server.url, "timeout": timeout}}, soft_timeout=0.1, near_cache_age=0
    )
    cache = opened.enter_context(closing(open_symbol_cache(settings)))
    asyncio.run(main())
    stop(server)
    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < timeout, "they have waited for a call to fail"


def test_a_server_that_takes_no_writes_is_unavailable_and_still_read(start_redis, open_store):
    server = start_redis()
    store = open_store(url=server.url)
    store.write("key", b"{}", FAR)
    with redis.Redis.from_url(server.url) as admin:
        for refuse, relent in (
            (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
            (("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
        ):
            admin.execute_command(*refuse)
            for write in (
                lambda: store.write("key", b"[]", FAR),
                lambda: store.write_many({"key": (b"[]", FAR)}),
                lambda: store.update("key", lambda _entry: (b"[]", FAR)),
            ):
                with pytest.raises(BackendUnavailableError):
                    write()
            assert store.read("key") == b"{}"
            admin.execute_command(*relent)
    store.write("key", b"[]", FAR)


def test_more_threads_than_connections_wait_and_none_fails(open_store):
    store = open_store(max_connections=2)
    start = threading.Barrier(40)

    def work(thread):
        start.wait()
        for number in range(10):
            store.write(f"{thread}-{number}", b"{}", FAR)
            assert store.read(f"{thread}-{number}") == b"{}"

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(work, range(40)))
    assert len(list(store.keys())) == 400
    assert len(store._pool._connections) <= 2


# -- entries -----------------------------------------------------------------------------------------------------------

NAMESPACES = ["a", "a:b", "a:b:c", "ab", "a*", "a?", "a[bc]", "a\\", "*", "a:entry"]


def test_namespaces_are_apart_however_they_are_spelled(open_store, tmp_path):
    stores = {name: open_store(namespace=f"{tmp_path.name}:{name}") for name in NAMESPACES}
    keys = ["key", "b:key", "b::key", ":key", "b::entry:key", "entry:key"]
    for name, store in stores.items():
        for key in keys:
            store.write(key, b'"%b"' % name.encode(), FAR)
    for name, store in stores.items():
        assert sorted(store.keys()) == sorted(keys), name
        assert set(store.read_many(keys).values()) == {b'"%b"' % name.encode()}
    for number, store in enumerate(stores.values()):
        lease = store.try_lock("key")
        assert lease is not None, "a lease is of its namespace"
        assert store.clear() == len(keys)
        assert [len(list(other.keys())) for other in stores.values()].count(len(keys)) == len(stores) - number - 1
        assert store.try_lock("key") is None, "leases are no entries"


@pytest.mark.parametrize(
    ("keep_until", "expected"),
    [(FAR, FAR), (FAR + 0.0004, FAR + 0.001), (1e300, 253402300799.0), (math.inf, 253402300799.0)],
)
def test_the_server_drops_an_entry_at_its_time_and_not_before(store, raw, tmp_path, keep_until, expected):
    store.write("key", b"{}", keep_until)
    store.write_many({"many": (b"{}", keep_until)})
    store.update("changed", lambda _entry: (b"{}", keep_until))
    for key in ("key", "many", "changed"):
        assert raw.pexpiretime(f"{tmp_path.name}::entry:{key}") == round(expected * 1000)


@pytest.mark.parametrize("keep_until", [-math.inf, -1.0, 0.0, 1.0])
def test_what_is_over_is_gone(store, keep_until):
    store.write("key", b"{}", FAR)
    store.write("key", b"[]", keep_until)
    store.update("changed", lambda _entry: (b"[]", keep_until))
    assert store.read("key") is None
    assert store.read("changed") is None
    assert list(store.keys()) == []


def test_what_others_put_under_its_names_is_no_entry(store, raw, tmp_path):
    store.write("mine", b"{}", FAR)
    raw.rpush(f"{tmp_path.name}::entry:list", "1", "2")
    raw.set(f"{tmp_path.name}::entry:".encode() + b"\xff", "{}")
    assert store.read("list") is None
    assert store.read_many(["list", "mine"]) == {"mine": b"{}"}
    assert list(store.keys()) == ["mine"]
    store.update("list", lambda entry: (b"[]" if entry is None else b"null", FAR))
    assert store.read("list") == b"[]"


def test_batches_are_of_any_length(store):
    entries = {f"k{number}": b"%d" % number for number in range(2_500)}
    store.write_many({key: (entry, FAR) for key, entry in entries.items()})
    assert store.read_many([*entries, "none"]) == entries
    assert sorted(store.keys()) == sorted(entries)
    assert store.clear() == 2_500
    store.write_many({})
    assert store.read_many([]) == {}


def test_keys_are_found_by_scanning_and_never_all_at_once(start_redis, open_store):
    server = start_redis()
    store = open_store(url=server.url)
    store.write_many({f"k{number}": (b"{}", FAR) for number in range(3_000)})
    assert len(list(store.keys())) == 3_000
    assert store.clear() == 3_000
    with redis.Redis.from_url(server.url) as raw:
        used = raw.info("commandstats")
    assert used["cmdstat_scan"]["calls"] >= 6
    assert used["cmdstat_unlink"]["calls"] >= 3
    assert not {"cmdstat_keys", "cmdstat_flushdb", "cmdstat_del"} & set(used)


def test_an_update_that_somebody_was_faster_than_is_made_again(open_store):
    store, other = open_store(), open_store()
    seen = []

    def change(entry):
        seen.append(entry)
        if len(seen) == 1:
            other.write("key", b'"theirs"', FAR)
        return b'"mine"', FAR

    store.update("key", change)
    assert seen == [None, b'"theirs"']
    assert store.read("key") == b'"mine"'


# -- leases ------------------------------------------------------------------------------------------------------------


def renewers():
    return [thread for thread in threading.enumerate() if thread.name == "symcache-redis-leases"]


def test_a_lease_is_renewed_while_it_is_held_and_by_nobody_afterwards(open_store, raw, tmp_path):
    store = open_store(lease=0.3)
    name = f"{tmp_path.name}::lease:key"
    held = [store.try_lock("key"), store.try_lock("key2")]
    (renewer,) = renewers()
    for _renewal in range(3):
        left = raw.pttl(name)
        while (now := raw.pttl(name)) <= left:
            assert now > 0, "it ended while it was held"
            left = now
    assert store.try_lock("key") is None
    for lease in held:
        lease.release()
    renewer.join(5)
    assert not renewer.is_alive()
    assert raw.exists(name) == 0
    again = store.try_lock("key")
    assert len(renewers()) == 1, "it is renewed again"
    again.release()


@FORKS
def test_the_lease_of_a_holder_that_died_ends_at_its_time(open_store):
    store = open_store(lease=0.1)
    child = os.fork()
    if child == 0:
        os._exit(0 if store.try_lock("key") is not None else 1)
    assert os.waitpid(child, 0)[1] == 0
    began = time.monotonic()
    while not others_lease(store, "key"):
        assert time.monotonic() - began < 5


def test_a_lost_lease_is_not_taken_from_its_next_holder(open_store, raw, tmp_path):
    store, other = open_store(), open_store()
    lost = store.try_lock("key")
    raw.delete(f"{tmp_path.name}::lease:key")
    held = other.try_lock("key")
    lost.release()
    assert store.try_lock("key") is None
    held.release()
    assert others_lease(store, "key")


def test_closing_gives_back_every_lease(open_store):
    store, other = open_store(), open_store()
    leases = [store.try_lock(f"key{number}") for number in range(3)]
    store.close()
    assert all(others_lease(other, f"key{number}") for number in range(3))
    for lease in leases:
        lease.release()


def test_leases_of_a_server_that_is_gone_are_given_back_without_an_error(start_redis, open_store):
    server = start_redis()
    store = open_store(url=server.url)
    lease, _other = store.try_lock("key"), store.try_lock("other")
    server.stop()
    lease.release()
    store.close()


@FORKS
def test_a_forked_child_has_connections_of_its_own_and_none_of_the_leases(store, open_store):
    store.write("before", b"{}", FAR)
    lease = store.try_lock("key")
    child = os.fork()
    if child == 0:
        done = False
        try:
            lease.release()
            store.write("child", store.read("before"), FAR)
            own = store.try_lock("own")
            done = store.try_lock("key") is None and own is not None and len(renewers()) == 1
            store.close()
        finally:
            os._exit(0 if done else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert store.read("child") == b"{}"
    assert open_store().try_lock("key") is None, "it is still the parent's"
    assert others_lease(open_store(), "own")
    lease.release()
    assert others_lease(open_store(), "key")


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tls(redis_server, tmp_path, opened):
    """Speaks TLS in front of the server; gives the URL, and the file of the authority that vouches for it."""
    import trustme  # the tests of other backends run without it

    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
    opened.callback(listener.shutdown, socket.SHUT_RDWR)  # wakes whoever accepts

    def serve():
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=converse, args=(plain,), daemon=True).start()

    def converse(plain):
        try:
            with (
                context.wrap_socket(plain, server_side=True) as client,
                socket.create_connection(("127.0.0.1", redis_server.port)) as server,
            ):
                while question := client.recv(1 << 16):
                    server.sendall(question)
                    client.sendall(server.recv(1 << 16))
        except OSError:
            plain.close()

    threading.Thread(target=serve, daemon=True).start()
    return f"rediss://127.0.0.1:{listener.getsockname()[1]}/0", tmp_path / "ca.pem"


def test_over_tls_a_server_is_used_that_the_given_authority_vouches_for(tls, open_store):
    url, authority = tls
    store = open_store(url=f"{url}?ssl_ca_certs={authority}")
    store.write("key", b"{}", FAR)
    assert store.read("key") == b"{}"


def test_over_tls_a_server_that_nobody_vouches_for_is_not_used(tls, open_store):
    url, _authority = tls
    with pytest.raises(BackendUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        open_store(url=url).read("key")
