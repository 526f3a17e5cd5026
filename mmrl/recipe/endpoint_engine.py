"""Settings of the `endpoint` engine. Imports no torch."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from mmrl.recipe.engine_settings import EngineSettings


class EndpointEngineSettings(EngineSettings):
    """An OpenAI-compatible server, asked for a chat completion per answer."""

    adapter: ClassVar[str] = "mmrl.engines.endpoint:EndpointEngine"
    samples: ClassVar[frozenset[str]] = frozenset({"endpoint"})
    serves: ClassVar[str | None] = "endpoint"

    name: str = "endpoint"
    url: str = Field(description="base URL of the server, e.g. `http://localhost:8000/v1`")
    key_env: str | None = Field(
        None, description="environment variable that holds the key; the key itself is never a setting"
    )
    concurrency: PositiveInt = Field(16, description="requests at once")
    timeout: PositiveFloat = Field(
        120.0, description="seconds without a byte after which a request is given up; ten times as many in all"
    )
    retries: NonNegativeInt = Field(5, description="further tries after status 408, 409, 429, 5xx or a lost connection")
    backoff: NonNegativeFloat = Field(
        1.0, description="seconds before the first further try, doubled each time, or the server's Retry-After"
    )
    check_model: bool = Field(True, description="at the start, `/models` must list the model; false: a server has none")
    log_probs: bool = Field(False, description="ask for each token's log-prob, at temperature 1 or 0")

    @field_validator("url")
    @classmethod
    def _is_url(cls, written: str) -> str:
        if not written.startswith(("http://", "https://")):
            raise ValueError("it is no http or https URL")
        return written.rstrip("/")
