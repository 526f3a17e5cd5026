"""Tells a worker whether this module was imported in it, or before it in the server that it was forked from."""

import os

PROCESS = os.getpid()


def make_world():
    """Fails with where this module was imported."""
    raise ValueError("in the worker" if os.getpid() == PROCESS else "in the server")
