"""mmrl: post-training of vision-language models and vision-language-action policies."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Recipe", "Sample", "evaluate", "generate", "load_recipe", "rows", "train"]

_HOMES = {
    "Recipe": "mmrl.recipe.schema",
    "load_recipe": "mmrl.recipe.schema",
    "Sample": "mmrl.contracts.types",
    "rows": "mmrl.data.from_python",
    "train": "mmrl.run",
    "evaluate": "mmrl.run",
    "generate": "mmrl.run",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: `import mmrl` must not pay for torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'mmrl' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
