"""Backends that say too little when something is wrong, or too much at any time.

The docstring of each is its one defect; ``caught_by`` names the test of the contract that catches it.
"""

import logging
from contextlib import suppress
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr, field_serializer, field_validator
from reference_backends import SqliteStore, mutants_of, record

from symcache_core import StorePath, hookimpl
from symcache_core.errors import BackendUnavailableError, ClosedError, ConfigurationError


class SaysNothingWhenClosed(SqliteStore):
    """raises an error without a message when it is used after close"""

    caught_by = "test_an_error_says_something"

    def _mapped(self):
        if self._is_closed:
            raise ClosedError
        return super()._mapped()


class TakesALongKeyForAnOutage(SqliteStore):
    """calls its storage unavailable when a key is too long"""

    caught_by = "test_a_key_that_is_refused_is_refused_alone"

    def _to_row(self, key):
        if len(key) > 1000:
            raise BackendUnavailableError("the key does not fit")
        return super()._to_row(key)


class RefusesALongKeyInItsOwnWords(SqliteStore):
    """raises a ValueError when a key is too long"""

    caught_by = "test_a_key_that_is_refused_is_refused_alone"

    def _to_row(self, key):
        if len(key) > 1000:
            raise ValueError("the key does not fit")
        return super()._to_row(key)


class TakesWhatChangeRaisesForItsOwn(SqliteStore):
    """calls its storage unavailable when change raises an OSError"""

    caught_by = "test_what_change_raises_is_taken_for_nobody_elses"

    def update(self, key, change):
        try:
            super().update(key, change)
        except OSError as error:
            raise BackendUnavailableError(f"the storage is away: {error}") from None


class WithAUrl(SqliteStore):
    class Settings(BaseModel):
        path: StorePath
        url: SecretStr

    def __init__(self, settings):
        try:
            is_right = urlsplit(settings.url.get_secret_value()).hostname
        except ValueError:
            is_right = False
        if not is_right:
            self.refuse(settings.url.get_secret_value())
        super().__init__(settings)


class TakesAWrongUrlForAnOutage(WithAUrl):
    """calls its storage unavailable when it is given a URL that cannot be right"""

    caught_by = "test_a_url_that_cannot_be_right_is_a_wrong_configuration"

    def refuse(self, url):
        raise BackendUnavailableError("there is no server at the URL")


class KeepsAWrongUrlAsTheCause(WithAUrl):
    """refuses a URL, and has it in the cause of its error, password and all"""

    caught_by = "test_a_secret_that_cannot_be_right_is_not_shown"

    def refuse(self, url):
        raise ConfigurationError("the URL cannot be right") from ValueError(f"invalid URL: {url!r}")


class DumpsItsSecret(SqliteStore):
    """writes its password into a dump of its settings"""

    caught_by = "test_no_secret_is_in_a_dump_of_the_settings"

    class Settings(BaseModel):
        path: StorePath
        password: SecretStr

        @field_serializer("password")
        def _plain(self, password):
            return password.get_secret_value()


class LogsItsSecret(SqliteStore):
    """logs what it is opened with, password and all"""

    caught_by = "test_no_secret_is_logged_or_printed"

    def __init__(self, settings):
        super().__init__(settings)
        logging.getLogger("symcache").debug("opened with %s", settings.password.get_secret_value())


class PrintsItsSecret(SqliteStore):
    """prints what it is opened with, password and all"""

    caught_by = "test_no_secret_is_logged_or_printed"

    def __init__(self, settings):
        super().__init__(settings)
        print("opened with", settings.password.get_secret_value())


class QuotesARefusedSecret(SqliteStore):
    """quotes a password that it refuses"""

    caught_by = "test_a_secret_that_is_refused_is_not_shown"

    class Settings(BaseModel):
        path: StorePath
        password: SecretStr

        @field_validator("password")
        @classmethod
        def _is_printable(cls, password):
            if not password.get_secret_value().isprintable():
                raise ValueError(f"not a password: {password.get_secret_value()!r}")
            return password


class SwallowsAnInterrupt(SqliteStore):
    """takes an interrupt inside change for an update that is not to be made"""

    caught_by = "test_an_interrupt_inside_change_goes_out"

    def update(self, key, change):
        with suppress(KeyboardInterrupt):
            super().update(key, change)


@hookimpl
def symcache_backends():
    return map(record, mutants_of(globals()))
