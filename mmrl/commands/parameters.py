"""Parameters of rewards on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmrl.contracts.errors import UserError
from mmrl.recipe.yaml_text import parse_yaml


def read_params(items: Sequence[str]) -> dict[str, Any]:
    """`k=v` with v in YAML. Raises UserError."""
    params = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--param '{item}' is not of the form k=v")
        params[key.strip()] = parse_yaml(text)
    return params
