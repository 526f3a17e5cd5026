"""Users' own parts by `module:name`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from mmrl.contracts.errors import ConfigError, UserError, nearest


def import_named(path: str, place: str = "") -> Any:
    """What `module:name` stands for, with the working folder importable.

    Args:
        place: the recipe's key, put in front of what is wrong.

    Raises:
        ConfigError: not of that form, no such module, or no such name in it.
    """
    front = f"{place}: " if place else ""
    module_name, colon, attribute = path.partition(":")
    if not (colon and module_name and attribute):
        raise ConfigError(f"{front}'{path}' is not of the form module:function")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
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
        raise ConfigError(f"{front}'{path}': module has no function '{attribute}'.{nearest(attribute, vars(module))}")
    return getattr(module, attribute)


def import_attribute(path: str) -> Any:
    """The function or class that `module:name` stands for, with the working folder importable.

    Raises:
        UserError: not of that form, no such module, or nothing there that can be called.
    """
    part = import_named(path)
    if not callable(part):
        module_name, _, attribute = path.partition(":")
        known = vars(importlib.import_module(module_name))
        raise UserError(f"'{path}': module has no function '{attribute}'.{nearest(attribute, known)}")
    return part
