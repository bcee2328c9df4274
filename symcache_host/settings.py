"""The host service's settings: command line over environment over defaults."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from symcache_core.errors import ConfigurationError
from symcache_core.messages import explain
from symcache_core.settings import Duration

from .loopback import is_loopback


class HostSettings(BaseSettings):
    """Every setting of the host service; in the environment each is ``SYMCACHE_HOST_`` and its name.

    Raises:
        ConfigurationError: A setting is wrong; the message names it, and shows no value.
    """

    model_config = SettingsConfigDict(
        env_prefix="SYMCACHE_HOST_", extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )

    bind: str = Field("127.0.0.1", min_length=1, description="the address to listen on; beyond loopback needs a token")
    port: int = Field(5001, ge=0, le=65535, description="the port to listen on; 0 takes any free one")
    gateway: Literal["replay", "ib"] = Field(
        "replay", description="where answers come from: replay (recorded history) or ib (Interactive Brokers)"
    )
    latency: Duration = Field(0.3, description="how long the replay gateway takes for a call")
    as_of: date = Field(date(2013, 3, 1), description="the last day that the replay gateway knows")
    ib_host: str = Field("127.0.0.1", min_length=1, description="where TWS or IB Gateway runs")
    ib_port: int = Field(4002, ge=1, le=65535, description="the port of its API")
    ib_client_id: int = Field(1, ge=1, description="the first client id to try there; while one is taken, the next")
    ib_quiet_start: Duration = Field(
        15.0,
        description="how long after a start no history is asked for, as if much had been before; 0 if nobody asked",
    )
    token: SecretStr | None = Field(
        None,
        min_length=1,
        description="the bearer token to ask for; others can see a command line: use the environment",
    )
    data_dir: Path = Field(Path("data"), description="the folder of the host's own cache")
    until_stdin_closes: bool = Field(False, description="end when standard input closes")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(explain(error, "setting", list(type(self).model_fields))) from None

    @field_validator("token")
    @classmethod
    def _guarded_beyond_loopback(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        bind = info.data.get("bind", "")
        if token is None and bind and not is_loopback(bind):
            raise ValueError(f"listening on {bind} lets other machines in: set one, as SYMCACHE_HOST_TOKEN")
        if token is not None and not re.fullmatch(r"[!-~]+", token.get_secret_value()):
            raise ValueError("a token has visible ASCII characters only")
        return token
