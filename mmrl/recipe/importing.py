"""Users' own parts by `module:name`."""

from __future__ import annotations

import importlib
import os
from typing import Any

from mmrl.contracts.errors import ConfigError, UserError, nearest, shortened
from mmrl.recipe.working_folder import search_last


def import_named(path: str, place: str = "") -> Any:
    """What `module:name` stands for, where the working folder is searched last.

    Args:
        place: the recipe's key, put in front of what is wrong.

    Raises:
        ConfigError: not of that form, no such module, or no such name in it.
    """
    front = f"{place}: " if place else ""
    module_name, colon, attribute = path.partition(":")
    if not (colon and module_name and attribute):
        raise ConfigError(f"{front}'{shortened(path)}' is not of the form module:function")
    search_last(module_name)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that is missing inside the user's own module is the user's traceback to read.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(
            f"{front}'{path}': no module '{module_name}' in the working folder or the environment"
        ) from error
    if not hasattr(module, attribute):
        cure = _hidden(module) or nearest(attribute, vars(module))
        raise ConfigError(f"{front}'{path}': module has no function '{attribute}'.{cure}")
    return getattr(module, attribute)


def import_attribute(path: str) -> Any:
    """The function or class that `module:name` stands for, where the working folder is searched last.

    Raises:
        UserError: not of that form, no such module, or nothing there that can be called.
    """
    part = import_named(path)
    if not callable(part):
        module_name, _, attribute = path.partition(":")
        known = vars(importlib.import_module(module_name))
        raise UserError(f"'{path}': module has no function '{attribute}'.{nearest(attribute, known)}")
    return part


def _hidden(module: Any) -> str:
    """A cure where the working folder holds a module of a name that something else has too, which goes first."""
    name, file = module.__name__.partition(".")[0], getattr(module, "__file__", None)
    here = os.getcwd()
    theirs = [path for path in (f"{name}.py", name) if os.path.exists(os.path.join(here, path))]
    if not theirs or (file is not None and os.path.abspath(file).startswith(os.path.join(here, ""))):
        return ""
    return f" It is {file or 'part of Python'}, which goes before '{theirs[0]}' of the working folder; rename yours"
