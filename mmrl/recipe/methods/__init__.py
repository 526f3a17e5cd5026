"""Published methods as named settings of the objective: one table per family, joined in one registry.

Adding a method is an entry in the table of its family, with its source; `docs/methods.md` is generated from them.
"""

from mmrl.recipe.methods.entry import Method
from mmrl.recipe.methods.registry import METHODS
from mmrl.recipe.methods.resolving import complete_objective, list_stages, resolve_objective

__all__ = ["METHODS", "Method", "complete_objective", "list_stages", "resolve_objective"]
