"""`mmrl config`."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from mmrl.contracts.errors import UserError


def run(args: Namespace) -> int:
    """Prints the resolved recipe or the schema."""
    if args.schema:
        print(json.dumps(recipe_schema(), indent=2))
        return 0
    if args.recipe is None:
        raise UserError("config: give a RECIPE, or --schema")
    from mmrl.recipe.reading import to_yaml
    from mmrl.recipe.record import record
    from mmrl.recipe.schema import load_recipe

    print(to_yaml(record(load_recipe(args.recipe, args.overrides), needed=())), end="")
    return 0


def recipe_schema() -> dict[str, Any]:
    """JSON schema of a recipe as people write it: a stage's keys may stand at the top, as defaults of all stages."""
    from mmrl.recipe.reading import STAGE_DEFAULTS
    from mmrl.recipe.schema import Recipe

    schema = Recipe.model_json_schema()
    stage = schema["$defs"]["StageConfig"]
    # What a method has need not be written.
    for part in ("StageConfig", "Objective", "Schedule"):
        schema["$defs"][part].pop("required")
    schema["required"].remove("stages")
    schema["properties"] |= {key: stage["properties"][key] for key in STAGE_DEFAULTS}
    return schema
