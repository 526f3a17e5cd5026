"""Users' own functions and datasets by `module:function`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from mmrl.contracts.errors import UserError, nearest


def import_attribute(path: str) -> Any:
    """`module:attribute`, with the working folder importable.

    Raises:
        UserError: not of that form, no such module, or no such attribute.
    """
    module_name, colon, attribute = path.partition(":")
    if not (colon and module_name and attribute):
        raise UserError(f"'{path}' is not of the form module:function")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that is missing inside the user's own module is the user's traceback to read.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise UserError(f"'{path}': no module '{module_name}' in the working folder or the environment") from error
    if not callable(getattr(module, attribute, None)):
        raise UserError(f"'{path}': module has no function '{attribute}'.{nearest(attribute, vars(module))}")
    return getattr(module, attribute)
