"""Every method by its name, whatever its family."""

from __future__ import annotations

from mmrl.recipe.methods.critic import CRITIC
from mmrl.recipe.methods.entry import Method
from mmrl.recipe.methods.flow import FLOW
from mmrl.recipe.methods.group import GROUP
from mmrl.recipe.methods.mixed import MIXED
from mmrl.recipe.methods.offline import OFFLINE
from mmrl.recipe.methods.preference import PREFERENCE
from mmrl.recipe.methods.ratios import RATIOS
from mmrl.recipe.methods.reinforce import REINFORCE
from mmrl.recipe.methods.supervised import SUPERVISED
from mmrl.recipe.registry import Registry

METHODS: Registry[Method] = Registry(
    "method", {**SUPERVISED, **GROUP, **REINFORCE, **RATIOS, **CRITIC, **PREFERENCE, **MIXED, **OFFLINE, **FLOW}
)
