"""What the tests of the `vllm` engine share: prompts of every modality, gaps, and updates of all weights."""

import numpy as np
import torch
from PIL import Image

from mmrl.contracts.engine import Request
from mmrl.contracts.world import ALONE
from mmrl.engines.vllm.engine import VLLMEngine
from mmrl.objectives.rows import Row, collate
from mmrl.recipe.rollout import SamplingConfig
from mmrl.recipe.vllm_engine import VLLMSettings
from tests.support.policy import image_sample, text_sample
from tests.support.videos import video_sample

SAMPLING = SamplingConfig(max_new_tokens=8, temperature=0.7)


def pictures(count, size=56, seed=0):
    """Pictures of noise."""
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)) for _ in range(count)]


def clip(frames, fps, seed, size=56, **settings):
    """A video of noise, `frames` of it at `fps`."""
    settings = settings or {"all_frames": True}
    return {"path": pictures(frames, size, seed), "source_fps": fps, **settings}


def samples():
    """name -> a sample of text, pictures, videos, and mixtures of them."""
    first, second = pictures(2)
    two = clip(8, 2.0, 1)
    uneven = clip(8, 2.0, 4, timestamps=[0.0, 0.5, 1.0, 1.5, 2.5, 3.0, 3.5])
    return {
        "text": text_sample("How many digits are there in the picture?"),
        "image": image_sample(first),
        "two images": image_sample(first, second),
        "video": video_sample(two),
        # The same frames and ids at another rate: nothing of theirs may be shared.
        "video at another rate": video_sample(clip(8, 7.3, 1)),
        "two videos": video_sample(two, clip(8, 4.0, 2)),
        "video and image": video_sample(two, images=(first,)),
        "more time than space": video_sample(clip(16, 2.0, 3, size=28)),
        "slow video": video_sample(clip(16, 0.48, 5)),
        "uneven video": video_sample(uneven),
    }


def engine_of(policy):
    """An engine that takes little memory, started."""
    engine = VLLMEngine(VLLMSettings(cache_gb=1, max_length=2048))
    engine.start(policy, ALONE)
    return engine


def gap(policy, prompts, answers, sampling=SAMPLING, restrict=None):
    """Largest |engine log-prob - trainer log-prob| of each prompt's answers, given units left out."""
    worst = []
    for prompt, group in zip(prompts, answers, strict=True):
        rows = [Row(a.decision(prompt, restrict), "rl", 1.0, i, len(a.tokens)) for i, a in enumerate(group)]
        with torch.no_grad():
            scored_RU = policy.log_probs(collate(rows)).log_probs_RU
        differences = [
            (scored[a.given : len(a.tokens)] - a.log_probs[a.given :]).abs().max()
            for a, scored in zip(group, scored_RU)
        ]
        worst.append(float(max(differences)))
    return max(worst)


def sampled(engine, prompts, n=4, sampling=SAMPLING, seed=0, **request):
    """n answers to each prompt."""
    return engine.generate([Request(prompt, n, **request) for prompt in prompts], sampling, seed)


def moved(policy, part="", scale=0.02, seed=0):
    """The policy with noise added to every weight whose name holds `part`."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in policy.module.named_parameters():
            if part in name:
                parameter.add_(scale * torch.randn(parameter.shape, generator=g))
    return policy
