"""What every ManiSkill worker would import by itself, for five seconds of processor time each.

The server that workers are forked from imports this module once. Nothing of it draws, starts a thread or touches a GPU.
"""

import gc
from contextlib import suppress

# What an import makes lives to the end: looking through it for garbage takes a fifth of the time, in each worker again.
gc.disable()
# A worker that needs what is missing or broken says so itself, in words; an exception here would end the server.
with suppress(Exception):
    import mani_skill.envs  # noqa: F401
gc.freeze()
gc.enable()
