"""The cache over every backend agrees with the model, whatever happens to the clock, the provider and the storage."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import count

import pytest
from cache_model import DAY, HOUR, MINUTE, RETRY_THROTTLE, Answer, Entry, Model
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from symcache_core.errors import BackendUnavailableError, ProviderPacingError, ProviderUnavailableError
from symcache_core.lookup.cache import PolicyCache
from symcache_core.models import CachedSymbolInfo, Counters, Lookup, ProviderAnswer, ValidationResult
from symcache_core.policy import Policy
from symcache_core.testing.harness import FAR, Harness

SYMBOLS = ("NOVA", "VEGA")
SPANS = (1.0, 5.0, 10 * MINUTE, HOUR, DAY, 31 * DAY)
SET_BACK = (-10.0, -MINUTE, -MINUTE - 1, -HOUR, -31 * DAY)
FAILURES = (
    ProviderUnavailableError("down"),
    ProviderPacingError("too many questions", retry_after=120.0),
    ZeroDivisionError("a fault in the provider"),
)
TICK = 1 / 1024
"""How long an answer takes, so that no two are of the same moment."""
UNPLUGGED = BackendUnavailableError("unplugged")


class World:
    """What is not the cache's to decide; the cache and the model have one each, to which the same happens."""

    def __init__(self):
        self.now = 1_800_000_000.0
        self.storage_error = None
        self.provider_error = None
        self.verdict = "valid"
        self.answers = 0

    def clock(self):
        return self.now

    def answer(self, symbol, timeframes):
        self.now += TICK
        if self.provider_error is not None:
            raise self.provider_error
        return self.truth(symbol, timeframes)

    def truth(self, symbol, timeframes):
        """No two head timestamps are the same; of 1w there is no data, and of 5m nothing is said."""
        self.answers += 1
        if self.verdict in ("invalid", "unconfirmed"):
            return ProviderAnswer(ValidationResult(is_valid=False, symbol=symbol), confirmed=self.verdict == "invalid")
        says = {"1d": f"{1000 + self.answers}-01-01", "1h": f"{3000 + self.answers}-01-01", "1w": None}
        heads = {name: says[name] for name in timeframes if name in says}
        result = ValidationResult(is_valid=True, symbol=symbol, head_timestamps=heads)
        return ProviderAnswer(result, valid_until=self.now + DAY if self.verdict == "valid for a day" else None)


def nothing(world):
    pass


def ten_seconds(world):
    world.now += 10


def unplug(world):
    world.storage_error = UNPLUGGED


class Plug:
    """A backend that is out of reach whenever its world's storage is."""

    def __init__(self, backend, world):
        self._backend, self._world = backend, world

    def reached(self):
        if self._world.storage_error is not None:
            raise self._world.storage_error
        return self._backend

    def write(self, key, entry, keep_until):
        # The model's time is not the machine's: what is over in the one is kept all the same.
        self.reached().write(key, entry, FAR)

    def close(self):
        self._backend.close()


def _reaching(name):
    return lambda plug, *arguments: getattr(plug.reached(), name)(*arguments)


def _update(plug, key, change):
    def lasting(line):
        changed = change(line)
        return None if changed is None else (changed[0], FAR)

    plug.reached().update(key, lasting)


METHODS = {name: _reaching(name) for name in ("read", "delete", "keys", "clear", "try_lock", "read_many", "write_many")}
METHODS |= {"generation": _reaching("generation"), "update": _update}
# What stands in this process's memory stays there.
METHODS |= {"word": lambda plug: plug._backend.word()}


def plugged(backend, world):
    """The backend behind a plug, with those capabilities that it has."""
    able = {name: method for name, method in METHODS.items() if hasattr(type(backend), name)}
    return type("Plugged", (Plug,), able)(backend, world)


def entry_of(info):
    """An entry in the model's words, if it is one."""
    if not isinstance(info, CachedSymbolInfo):
        return info
    return Entry(
        is_valid=info.validation_result.is_valid,
        at=info.cached_at,
        until=info.cached_at + info.ttl_seconds,
        ask_again_at=0.0,
        is_confirmed=info.confirmed,
        repeats=info.repeats,
        suspect_since=info.suspect_since,
        parts={name: (part.asked_at, part.asked_at + part.ttl_seconds) for name, part in info.parts.items()},
        heads=dict(info.validation_result.head_timestamps or {}),
    )


def answer_of(lookup):
    """An answer in the model's words, if it is one."""
    if not isinstance(lookup, Lookup):
        return lookup
    assert lookup.result == lookup.info.validation_result
    return Answer(lookup.outcome, entry_of(lookup.info), lookup.age, lookup.missing, lookup.error)


def outcome_of(function, *arguments, **keywords):
    """What a call gives or raises."""
    try:
        return function(*arguments, **keywords)
    except Exception as error:
        return error


def turning_points(model):
    """The moments to come from which the model may answer otherwise."""
    ends = [since + wait for _, since, wait in model.throttles.values()]
    for entry in (*model.stored.values(), *model.unwritten.values()):
        ends += [entry.ask_again_at, entry.until, entry.until + 7 * DAY]
        ends += [until for _, until in entry.parts.values()]
    return sorted({end for end in ends if end > model.world.now})


symbols = st.sampled_from(SYMBOLS)
timeframes = st.sampled_from([(), ("1d",), ("1w",), ("5m",), ("1d", "1h"), ("5m", "1h")])
verdicts = st.sampled_from(["valid", "valid", "valid for a day", "invalid", "invalid", "unconfirmed"])
moments = st.none() | st.tuples(st.integers(0, 9), st.sampled_from([0.0, 0.0, 1.0]))
events = st.sampled_from([nothing, nothing, ten_seconds, unplug])


class CacheMachine(RuleBasedStateMachine):
    """One cache and one model, to which the same happens.

    Args:
        open_backend: Opens the backend; again after each ``close``.
        is_persistent: Whether it then has what it had.
    """

    def __init__(self, open_backend, *, is_persistent):
        super().__init__()
        self.open_backend, self.is_persistent = open_backend, is_persistent
        self.world, self.model = World(), Model(World())
        self.calls, self.cancelled = [], 0
        self.gate, self.meanwhile = None, nothing
        self.runner = asyncio.Runner()
        self.open()

    def open(self):
        self.cache = PolicyCache(
            plugged(self.open_backend(), self.world),
            name="plugged",
            provider="ib",
            # Time that passes in earnest, on a machine that is busy, must not decide anything.
            policy=Policy(jitter=0.0, soft_timeout=300.0, timeout=600.0),
            clock=self.world.clock,
            near_cache_size=100,
            near_cache_age=5.0,
        )
        # One thread: what was begun first is done first, so that every run is the same.
        self.cache._threads._pool = ThreadPoolExecutor(1)

    def close(self):
        self.cache.close()
        self.runner.close()

    teardown = close

    async def validate(self, symbol, wanted):
        self.calls.append((symbol, wanted))
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        self.meanwhile(self.world)
        return self.world.answer(symbol, wanted)

    def wait_for(self, moment):
        """Let time pass until something ends, or is about to."""
        ends = turning_points(self.model)
        if moment is not None and ends:
            pick, early = moment
            self.time_passes(ends[pick % len(ends)] - early - self.world.now)

    def provider_says(self, verdict):
        self.world.verdict = self.model.world.verdict = verdict

    def look_up(self, symbol, wanted):
        return self.cache.get_or_validate(symbol, wanted, self.validate)

    def run(self, work):
        """The outcome of a coroutine, once the background work that it leaves has ended too."""

        async def settled():
            try:
                return await work
            finally:
                await self.settled()

        return self.runner.run(settled())

    async def settled(self):
        await self.cache._asking.flights.drain(5)
        await self.cache._threads.run(nothing, self.world)  # by then every lease has been given back

    def agree(self, got, expected):
        """What came of a step, what the provider was asked and what is counted are as the model has them."""
        assert got == expected
        assert self.calls == self.model.calls
        stats = self.cache.get_stats()
        counts, *state = self.model.get_stats()
        assert [stats.cached_symbols, stats.degraded, stats.unwritten, stats.waiting] == state
        assert {name: getattr(stats, name) for name in Counters.model_fields} == {
            name: counts[name] for name in Counters.model_fields
        }

    # -- what callers do ---------------------------------------------------------------------------------------------

    @rule(symbol=symbols, wanted=timeframes, verdict=verdicts)
    def store(self, symbol, wanted, verdict):
        self.provider_says(verdict)
        got = outcome_of(self.cache.store, symbol, self.world.truth(symbol, wanted))
        self.agree(entry_of(got), outcome_of(self.model.store, symbol, self.model.world.truth(symbol, wanted)))

    @rule(symbol=symbols, wanted=timeframes, moment=moments)
    def get(self, symbol, wanted, moment=None):
        self.wait_for(moment)
        self.agree(entry_of(self.cache.get(symbol, wanted)), self.model.get(symbol, wanted))

    @rule(symbol=symbols, wanted=timeframes, verdict=verdicts, moment=moments, meanwhile=events)
    def get_or_validate(self, symbol, wanted, verdict, moment=None, meanwhile=nothing):
        self.wait_for(moment)
        self.provider_says(verdict)
        self.meanwhile = meanwhile
        got = outcome_of(self.run, self.look_up(symbol, wanted))
        self.meanwhile = nothing
        self.agree(answer_of(got), outcome_of(self.model.look_up, symbol, wanted, meanwhile))

    @precondition(lambda self: not self.model.throttles)
    @rule(symbol=symbols, wanted=timeframes, verdict=verdicts)
    def get_or_validate_together(self, symbol, wanted, verdict):
        self.provider_says(verdict)

        async def together():
            return await asyncio.gather(*(self.look_up(symbol, wanted) for _ in range(3)), return_exceptions=True)

        got = self.run(together())
        self.agree([answer_of(lookup) for lookup in got], self.model.look_up_together(symbol, wanted, 3))

    @rule(chosen=st.permutations(SYMBOLS), wanted=timeframes, verdict=verdicts)
    def get_or_validate_many(self, chosen, wanted, verdict):
        self.provider_says(verdict)

        async def one_by_one():
            got = []
            async for found in self.cache.get_or_validate_many(chosen, wanted, self.validate, concurrency=1):
                got.append((found.symbol, answer_of(found.lookup or found.error)))
                await self.settled()
            return got

        got = self.run(one_by_one())
        self.agree(got, [(symbol, outcome_of(self.model.look_up, symbol, wanted, nothing)) for symbol in chosen])

    @rule(symbol=symbols, wanted=timeframes, verdict=verdicts)
    def leave_a_lookup_under_way(self, symbol, wanted, verdict):
        self.provider_says(verdict)

        async def leave():
            self.gate = asyncio.Event()
            asked, cancelled = len(self.calls), self.cancelled
            lookup = asyncio.ensure_future(self.look_up(symbol, wanted))
            while not lookup.done() and len(self.calls) == asked:
                await asyncio.sleep(0)
            lookup.cancel()
            await asyncio.wait({lookup})
            while lookup.cancelled() and self.cancelled == cancelled:
                await asyncio.sleep(0)
            self.gate.set()
            return None if lookup.cancelled() else await lookup

        got = outcome_of(self.run, leave())
        self.gate = None
        self.agree(answer_of(got), outcome_of(self.model.look_up, symbol, wanted, nothing, leaves=True))

    @rule(symbol=symbols)
    def forget(self, symbol):
        self.agree(outcome_of(self.cache.forget, symbol), outcome_of(self.model.forget, symbol))

    @rule()
    def clear(self):
        self.agree(outcome_of(self.cache.clear), outcome_of(self.model.clear))

    @rule()
    def reopen(self):
        self.runner.run(self.cache.aclose())
        self.open()
        if self.world.storage_error is None:
            self.model.write_what_waits()
        if not self.is_persistent:
            self.model.stored.clear()
        self.model.open()
        self.agree(None, None)

    # -- what happens to the world -----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from(SPANS))
    def time_passes(self, seconds):
        self.world.now = self.model.world.now = self.world.now + seconds

    @rule(seconds=st.sampled_from(SET_BACK))
    def the_clock_is_set_back(self, seconds):
        self.time_passes(seconds)

    @rule(error=st.sampled_from(FAILURES))
    def the_provider_fails(self, error):
        self.world.provider_error = self.model.world.provider_error = error

    @rule()
    def the_provider_works_again(self):
        self.world.provider_error = self.model.world.provider_error = None

    @rule()
    def the_storage_fails(self):
        unplug(self.world)
        unplug(self.model.world)

    @rule()
    def the_storage_is_back(self):
        """It is used again after a while, and what was validated meanwhile is in it."""
        self.world.storage_error = self.model.world.storage_error = None
        self.time_passes(2 * MINUTE)
        self.cache.peek(SYMBOLS[0])
        self.model.write_what_waits()
        for symbol in SYMBOLS:
            self.get(symbol, ())
        assert set(self.cache.symbols()) == self.model.stored.keys()


def refreshed_although_doubted(told):
    told.store("NOVA", (), "valid")
    told.time_passes(HOUR)
    told.get_or_validate("NOVA", ("1d",), "unconfirmed")
    told.get_or_validate("NOVA", (), "unconfirmed")


def asked_at_each_lookup_for_an_old_part(told):
    told.store("NOVA", ("1w",), "valid")
    told.time_passes(2 * DAY)
    told.get_or_validate("NOVA", ("1w",), "invalid")
    told.get_or_validate("NOVA", ("1w",), "invalid")


def contradicted_from_the_future(told):
    told.store("NOVA", ("1d",), "valid")
    told.the_clock_is_set_back(-HOUR)
    told.get_or_validate_together("NOVA", ("1d",), "invalid")


def near_with_a_part_from_the_future(told):
    told.store("NOVA", (), "valid")
    told.time_passes(HOUR)
    told.get_or_validate("NOVA", ("5m",), "invalid")
    told.get("NOVA", ("5m",))
    told.the_clock_is_set_back(-10 * MINUTE)
    told.get("NOVA", ("5m",))
    told.get("NOVA", ("5m",))


def prolonged_in_an_outage(told):
    told.get_or_validate("NOVA", ("5m",), "valid")
    told.time_passes(HOUR)
    told.the_storage_fails()
    told.get_or_validate("NOVA", ("5m",), "invalid")
    told.the_storage_is_back()
    told.get("NOVA", ("5m",))


def probed_while_the_provider_as_a_whole_is_spared(told):
    told.store("NOVA", (), "valid")
    told.time_passes(31 * DAY)
    told.the_provider_fails(FAILURES[2])
    told.get_or_validate("NOVA", (), "valid")
    told.time_passes(10.0)
    told.the_provider_fails(FAILURES[0])
    told.get_or_validate("VEGA", (), "valid")
    told.time_passes(RETRY_THROTTLE - 10)
    told.get_or_validate("NOVA", (), "valid")
    told.time_passes(10.0)
    told.get_or_validate("NOVA", (), "valid")


def validated_in_an_outage_by_one_who_knew_nothing(told):
    for verdict in ("valid", "invalid"):
        told.store("NOVA", ("1d",), "valid")
        told.reopen()
        told.the_storage_fails()
        told.get_or_validate("NOVA", ("1h",), verdict)
        told.get_or_validate("NOVA", ("5m",), verdict)
        told.the_storage_is_back()
        told.get("NOVA", ("1d", "1h"))


def asked_freely_once_the_provider_is_well(told):
    for error in FAILURES:
        for symbol in SYMBOLS:
            told.store(symbol, (), "valid")
        told.time_passes(31 * DAY)
        told.the_provider_fails(error)
        told.get_or_validate("NOVA", (), "valid")
        told.the_provider_works_again()
        told.time_passes(2 * MINUTE)
        told.get_or_validate("NOVA", (), "valid")
        told.get_or_validate("NOVA", ("1h",), "valid")
        told.get_or_validate("VEGA", (), "valid")


def not_refreshed_at_each_hit_in_an_outage(told):
    told.store("NOVA", (), "valid")
    told.time_passes(28 * DAY)
    told.the_provider_fails(FAILURES[0])
    told.get_or_validate("NOVA", (), "valid")
    told.get_or_validate("NOVA", (), "valid")


STORIES = (
    refreshed_although_doubted,
    asked_at_each_lookup_for_an_old_part,
    contradicted_from_the_future,
    near_with_a_part_from_the_future,
    prolonged_in_an_outage,
    probed_while_the_provider_as_a_whole_is_spared,
    validated_in_an_outage_by_one_who_knew_nothing,
    asked_freely_once_the_provider_is_well,
    not_refreshed_at_each_hit_in_an_outage,
)


class AgreesWithTheModel(Harness):
    @pytest.fixture(autouse=True)
    def _silent(self, caplog):
        caplog.set_level(logging.CRITICAL, "symcache")  # thousands of outages fill any log

    def machine(self, folder):
        return CacheMachine(lambda: self.open(folder, ExitStack()), is_persistent=self.record.persistent)

    @pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
    def test_it_agrees_where_it_is_easily_mistaken(self, tmp_path, story):
        with closing(self.machine(tmp_path)) as machine:
            story(machine)

    def test_it_agrees_whatever_happens(self, tmp_path):
        self.whatever_happens(tmp_path, 50)

    @pytest.mark.soak
    def test_it_agrees_whatever_happens_two_thousand_times(self, tmp_path):
        self.whatever_happens(tmp_path, 2000)

    def whatever_happens(self, tmp_path, examples):
        folders = (tmp_path / str(number) for number in count())
        run_state_machine_as_test(
            lambda: self.machine(next(folders)),
            settings=settings(
                max_examples=examples,
                stateful_step_count=30,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )


class TestMemory(AgreesWithTheModel):
    backend = "memory"


class TestJson(AgreesWithTheModel):
    backend = "json"

    def settings(self, tmp_path):
        return {"path": tmp_path / "symbols.json"}


class TestDiskcache(AgreesWithTheModel):
    backend = "diskcache"

    def settings(self, tmp_path):
        return {"path": tmp_path / "symbols"}


class TestRedis(AgreesWithTheModel):
    backend = "redis"

    @pytest.fixture(autouse=True)
    def _server(self, redis_server):
        self.url = redis_server.url

    def settings(self, tmp_path):
        return {"url": self.url, "namespace": ":".join(tmp_path.parts[1:])}
