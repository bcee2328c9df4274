"""The proxy that the contract ships: a way to a server that a test can cut, or make silent."""

import socket
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from patience import PATIENCE

from symcache_core.testing import TcpProxy
from symcache_core.testing.watching import left_open, settled

backend = "memory"


@contextmanager
def echo_server():
    """Sends back what it gets, and keeps all of it."""
    heard = []

    def serve(connection):
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    heard.append(data)
                    connection.sendall(data)
            except OSError:
                pass

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


@pytest.fixture
def server():
    with echo_server() as server:
        yield server


@pytest.fixture
def proxy(server):
    with TcpProxy("127.0.0.1", server[0]) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy):
    with ExitStack() as opened:

        def connect():
            return opened.enter_context(socket.create_connection((proxy.host, proxy.port), timeout=PATIENCE))

        yield connect


def said(connection, words):
    """What comes back."""
    connection.sendall(words)
    back = b""
    while len(back) < len(words):
        data = connection.recv(1 << 16)
        if not data:
            raise ConnectionResetError
        back += data
    return back


def test_what_is_said_through_it_arrives_whole_and_in_order(connect):
    connections = [connect() for _ in range(5)]
    for number, connection in enumerate(connections):
        assert said(connection, b"%d" % number) == b"%d" % number
    much = bytes(range(256)) * 20_000
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(connections[0].sendall, much)
        back = b""
        while len(back) < len(much):
            back += connections[0].recv(1 << 16)
        sending.result(PATIENCE)
    assert back == much


def test_while_it_is_away_connections_are_cut_and_new_ones_refused(proxy, connect):
    idle, waiting = connect(), connect()
    assert said(idle, b"one") == b"one"
    with proxy.away():
        with pytest.raises(ConnectionError):
            said(waiting, b"two")
        with pytest.raises(ConnectionError):
            said(idle, b"two")
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                connect()
    assert said(connect(), b"three") == b"three"


def test_it_comes_back_at_the_same_port_each_time(proxy, connect):
    port = proxy.port
    for _ in range(5):
        with proxy.away():
            pass
        assert proxy.port == port
        assert said(connect(), b"again") == b"again"


def test_while_it_is_silent_connections_are_accepted_and_nothing_passes(proxy, server, connect):
    _, heard = server
    before = connect()
    assert said(before, b"one") == b"one"
    with proxy.silent():
        during = connect()
        for connection in (before, during):
            connection.sendall(b"lost")
            connection.settimeout(0.1)
            with pytest.raises(TimeoutError):
                connection.recv(1)
    for connection in (before, during):
        connection.settimeout(PATIENCE)
        with pytest.raises(ConnectionError):
            said(connection, b"late")
    assert said(connect(), b"two") == b"two"
    assert b"".join(heard) == b"onetwo", "what was sent meanwhile arrived"


def test_it_cuts_an_answer_after_so_many_bytes_and_in_good_order(proxy, connect):
    before = connect()
    assert said(before, b"one") == b"one"
    with proxy.cutting(5):
        during = connect()
        during.sendall(b"two and more")
        assert b"".join(iter(lambda: during.recv(1 << 16), b"")) == b"two a"
    assert said(connect(), b"three") == b"three"


def test_it_lets_answers_drip(proxy, server, connect):
    _, heard = server
    with proxy.dripping(0.01):
        connection = connect()
        connection.sendall(b"slow")
        assert [connection.recv(1 << 16) for _ in range(4)] == [b"s", b"l", b"o", b"w"]
    assert heard == [b"slow"], "what is said to the server drips, too"
    assert said(connect(), b"fast") == b"fast"


def test_a_server_that_hangs_up_is_heard():
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        proxy = opened.enter_context(TcpProxy(*listener.getsockname()))
        connection = opened.enter_context(socket.create_connection((proxy.host, proxy.port), timeout=PATIENCE))
        listener.accept()[0].close()
        with pytest.raises(ConnectionError):
            said(connection, b"anyone?")


def test_a_server_that_refuses_cuts_the_connection():
    with ExitStack() as opened:
        nobody = opened.enter_context(socket.socket())
        nobody.bind(("127.0.0.1", 0))
        proxy = opened.enter_context(TcpProxy(*nobody.getsockname()))
        with pytest.raises(ConnectionError):  # as soon as it is connected, or a little later
            said(opened.enter_context(socket.create_connection((proxy.host, proxy.port), timeout=PATIENCE)), b"anyone?")


def test_closing_it_leaves_nothing_open_and_may_be_done_twice(server):
    before = left_open()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            proxy = TcpProxy("127.0.0.1", server[0])
            with socket.create_connection((proxy.host, proxy.port), timeout=PATIENCE) as connection:
                assert said(connection, b"one") == b"one"
                proxy.close()
                proxy.close()
                with pytest.raises(ConnectionError):
                    said(connection, b"two")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((proxy.host, proxy.port), timeout=PATIENCE)
    assert settled(before) <= before


def test_no_connection_that_was_just_being_made_outlives_the_beginning_of_an_outage(proxy):
    address = proxy.host, proxy.port
    for _ in range(50):
        with ExitStack() as opened:
            made = [opened.enter_context(socket.create_connection(address, timeout=PATIENCE)) for _ in range(8)]
            with proxy.away():
                assert not any(map(answers, made))


def answers(connection):
    try:
        connection.sendall(b"hello")
        return connection.recv(100) != b""
    except OSError:
        return False
