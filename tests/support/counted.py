"""An engine of a package of its own: `hf`, with every call written down."""

from typing import ClassVar

from mmrl.engines.hf import HFEngine
from mmrl.recipe.engines import HFSettings

CALLS: list[tuple] = []


class CountedSettings(HFSettings):
    """Its section of a recipe; `fails_at`: the number of the call of `generate` that raises."""

    adapter: ClassVar[str] = "tests.support.counted:CountedEngine"
    name: str = "tests.support.counted:CountedSettings"
    fails_at: int | None = None


class CountedEngine(HFEngine):
    """`CALLS` holds what was called: a name and what matters of the arguments."""

    def start(self, policy, world):
        CALLS.append(("start", world.size))
        super().start(policy, world)

    def generate(self, requests, sampling, seed):
        CALLS.append(("generate", len(requests), requests[0].n, self.version))
        if len([call for call in CALLS if call[0] == "generate"]) == self.settings.fails_at:
            raise RuntimeError("out of memory")
        return super().generate(requests, sampling, seed)

    def sync(self, policy, version):
        CALLS.append(("sync", version))
        return super().sync(policy, version)

    def close(self):
        CALLS.append(("close",))
        super().close()
