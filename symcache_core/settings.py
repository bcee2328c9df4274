"""The settings: keyword arguments over environment variables over a TOML file over defaults."""

from __future__ import annotations

import json
import os
import re
import tomllib
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from .errors import ConfigurationError
from .messages import explain
from .paths import absolute_setting, expanded, working_directory
from .policy import Policy

EMBEDDED = "embedded"

PROVIDER_NAME = re.compile(r"[a-z][a-z0-9_-]*")
"""What a provider may be called: it is part of keys and of paths."""

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(value: object) -> object:
    """Read ``30d``, ``12h``, ``90s``, ``1h30m`` or a number of seconds into seconds.

    >>> parse_duration("12h"), parse_duration("1h30m"), parse_duration(90)
    (43200.0, 5400.0, 90)

    Raises:
        ValueError: The text is no duration.
    """
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    if re.fullmatch(r"(\d+(\.\d+)?(ms|[smhdw]))+", text):
        return float(sum(float(n) * _UNITS[unit] for n, _, unit in re.findall(r"(\d+(\.\d+)?)(ms|[smhdw])", text)))
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{value!r} is no duration: write 30d, 12h, 90s, or seconds") from None


Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
"""Seconds, or text such as ``30d``."""


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):  # as variables for other lists have it
        with suppress(ValueError):
            return json.loads(value)
    return tuple(filter(None, re.split(r"[\s,]+", value)))


class SymcacheSettings(BaseSettings):
    """Every setting of symcache.

    The file is the one that ``config`` (or ``SYMCACHE_CONFIG``) names, else the nearest ``symcache.toml`` in the
    working directory or its parents, else the ``[tool.symcache]`` table of the nearest ``pyproject.toml`` that has one.
    An environment variable is ``SYMCACHE_`` and the setting's name; ``__`` goes a level down
    (``SYMCACHE_BACKENDS__JSON__PATH``).

    Raises:
        ConfigurationError: A setting is unknown or wrong; the message names it, and shows no value.
    """

    model_config = SettingsConfigDict(
        env_prefix="SYMCACHE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    config: Path | None = Field(None, description="the TOML file to read")
    backend: str = Field("json", description="the storage backend, by name")
    backends: dict[str, dict[str, Any]] = Field({}, repr=False, description="the options of each backend")
    plugins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (), description="modules that register backends without being packaged"
    )
    provider: str = Field(
        "", pattern=rf"^({PROVIDER_NAME.pattern})?$", description="whose answers these are: replay, ib, ..."
    )
    host_service_url: str = Field(EMBEDDED, description="the host service's URL, or 'embedded' to start one")
    host_token: SecretStr | None = Field(None, description="the bearer token of a host service that asks for one")
    ttl: Duration = Field(30 * 86400, description="life of a valid verdict")
    negative_ttl: Duration = Field(3600, description="life of a confirmed negative, doubled on each repeat")
    negative_ttl_max: Duration = Field(86400, description="where that doubling ends")
    unconfirmed_ttl: Duration = Field(300, description="life of a negative that may be a disguised failure")
    refresh_ahead: float = Field(0.9, gt=0, le=1, description="the share of its life after which a hit refreshes it")
    stale_if_error: Duration = Field(7 * 86400, description="how long past its life an entry bridges an outage")
    retry_throttle: Duration = Field(30, description="how long a failed provider is left alone while stale answers do")
    soft_timeout: Duration = Field(
        2, description="how long a lookup waits for the provider when a stale answer is there"
    )
    timeout: Duration = Field(60, gt=0, description="how long one call to the provider may take")
    storage_retry: Duration = Field(5, description="how long a failed storage is left alone")
    lock_timeout: Duration = Field(
        10, gt=0, description="how long to wait for a file that another process has locked to read or write it"
    )
    jitter: float = Field(
        0.05, ge=0, lt=1, description="how much a life is shortened at most, so that not all end at once"
    )
    near_cache_size: int = Field(10_000, ge=0, description="entries kept decoded in this process")
    near_cache_age: Duration = Field(5, description="how long such a one is trusted without a look at the storage")
    data_dir: Path = Field(Path("data"), description="where files go that no other setting places")

    _base_dir: Path = PrivateAttr(default_factory=working_directory)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(explain(error, "setting", list(type(self).model_fields))) from None
        except SettingsError as error:
            raise ConfigurationError(f"{error}: a table or a list in the environment is written as JSON") from None
        if self.config is not None:
            object.__setattr__(self, "config", absolute_setting("config", self.config, working_directory()))
            self._base_dir = self.config.parent
        try:
            object.__setattr__(self, "data_dir", self._base_dir / expanded(self.data_dir))
        except ValueError as error:
            raise ConfigurationError(f"setting 'data_dir': {error}") from None
        if not self.provider:
            object.__setattr__(self, "provider", "replay" if self.host_service_url == EMBEDDED else "ib")

    @property
    def policy(self) -> Policy:
        """How long answers live, and how long to wait for one."""
        return Policy(**{field.name: getattr(self, field.name) for field in fields(Policy)})

    @property
    def base_dir(self) -> Path:
        """What a relative path in the settings is relative to."""
        return self._base_dir

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order of precedence; the file comes last because the others may name it."""
        return init_settings, env_settings, _ConfigFile(settings_cls)


class _ConfigFile(PydanticBaseSettingsSource):
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        named = self.current_state.get("config")
        if named is None:
            return _discover(working_directory())
        path = absolute_setting("config", Path(named), working_directory())
        table = _read_toml(path)
        if path.name == "pyproject.toml":
            table = _own_table(table, path) or {}
        return {**table, "config": path}


def _discover(start: Path) -> dict[str, Any]:
    for folder in (start, *start.parents):
        # A folder that may not be searched has nothing for this user.
        if os.path.isfile(path := folder / "symcache.toml"):
            return {**_read_toml(path), "config": path}
        # Another's project may keep its own to itself.
        if os.path.isfile(path := folder / "pyproject.toml") and os.access(path, os.R_OK):
            table = _own_table(_read_toml(path), path)
            if table is not None:
                return {**table, "config": path}
    return {}


def _own_table(document: dict[str, Any], path: Path) -> dict[str, Any] | None:
    tools = document.get("tool")
    table = tools.get("symcache") if isinstance(tools, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigurationError(f"config file {path}: tool.symcache is to be a table")
    return table


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"config file {path} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"config file {path} is not TOML: {error}") from None
