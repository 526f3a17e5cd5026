"""One vLLM in this process: opening it, running requests, taking weights, forgetting what it computed with old ones."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrl.contracts.errors import EngineError, UserError, first_line
from mmrl.engines.vllm.inputs import positions_of, vllm_input
from mmrl.engines.vllm.prompts import EnginePrompt, Marks
from mmrl.engines.vllm.surroundings import environment, kept_randomness, kept_threads
from mmrl.policies.compat import ensure_torchvision
from mmrl.recipe.vllm_engine import INSTALL, INSTALL_CPU, VLLMSettings


@dataclass(frozen=True, slots=True)
class Job:
    """A request as vLLM runs it: the prompt, and arguments of `SamplingParams`."""

    prompt: EnginePrompt
    arguments: Mapping[str, Any]


class Core:
    """vLLM's `LLM` with random weights, which `receive` replaces.

    Args:
        folder: the model's config, tokenizer and processor; read until `close`.
        config: the model's transformers config.
        dtype: what it computes in.

    Raises:
        EngineError: vLLM does not start.
    """

    def __init__(self, settings: VLLMSettings, folder: Path, config: Any, dtype: str, device: torch.device):
        self.settings, self.marks = settings, Marks.of(config)
        self.model_type, self._count = config.model_type, 0
        self.limit = min(settings.max_length, config.get_text_config().max_position_embeddings)
        variables = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}
        variables["VLLM_LOGGING_LEVEL"] = os.environ.get("VLLM_LOGGING_LEVEL", "ERROR")
        if device.type == "cpu":
            variables["VLLM_CPU_KVCACHE_SPACE"] = str(settings.cache_gb)
            # The trainer's threads stay on the cores that they are on.
            variables["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        with kept_randomness(), kept_threads(), environment(variables):
            self._llm = _opened(_arguments(settings, folder, dtype, self.limit, device))
        self._llm.init_weight_transfer_engine({"init_info": {}})
        self.worker_model().get_mrope_input_positions = positions_of(config, self.marks)

    def worker_model(self) -> Any:
        """The model that computes, in this process."""
        executor = self._llm.llm_engine.engine_core.engine_core.model_executor
        return executor.driver_worker.worker.model_runner.get_model()

    def run(self, jobs: Sequence[Job]) -> list[Any]:
        """vLLM's `RequestOutput` of each job, in their order.

        Raises:
            EngineError: vLLM fails, or read another prompt than it was given.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        engine = self._llm.llm_engine
        outputs: dict[str, Any] = {}
        names = [str(self._count + i) for i in range(len(jobs))]
        self._count += len(jobs)
        with kept_randomness():
            try:
                for name, job in zip(names, jobs):
                    # The enum: a plain number is taken too, and gives one of n completions.
                    params = SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, **job.arguments)
                    engine.add_request(name, vllm_input(job.prompt, self.marks), params)
                while engine.has_unfinished_requests():
                    outputs |= {output.request_id: output for output in engine.step() if output.finished}
            except Exception as error:
                # What is left in its scheduler would fail, or hang, whatever it is asked next.
                engine.abort_request(names)
                raise EngineError(f"engine 'vllm' failed while sampling: {first_line(error)}") from error
        for name, job in zip(names, jobs):
            if list(outputs[name].prompt_token_ids) != job.prompt.ids:
                raise EngineError(
                    f"engine 'vllm' read a prompt of {len(outputs[name].prompt_token_ids)} tokens, and was given "
                    f"another one of {len(job.prompt.ids)}: something expanded or changed it"
                )
        return [outputs[name] for name in names]

    def receive(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Takes weights of whole modules. Raises EngineError where vLLM does not."""
        try:
            self._llm.start_weight_update()
            self._llm.update_weights({"update_info": {"weights": weights}})
            self._llm.finish_weight_update(weight_version=str(version))
        except Exception as error:
            raise EngineError(f"engine 'vllm' does not take the trainer's weights: {first_line(error)}") from error

    def forget(self) -> None:
        """Drops what was computed with earlier weights: keys and values of prompts, and embeddings of pictures."""
        if not self._llm.reset_prefix_cache():
            raise EngineError("engine 'vllm' keeps keys and values of earlier weights: requests are still running")
        self._llm.llm_engine.reset_encoder_cache()

    def close(self) -> None:
        """Gives its memory back."""
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None
            gc.collect()


def _arguments(settings: VLLMSettings, folder: Path, dtype: str, limit: int, device: torch.device) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": str(folder),
        "load_format": "dummy",
        "dtype": dtype,
        "seed": 0,
        "enforce_eager": settings.eager,
        "max_model_len": limit,
        "max_num_seqs": settings.batch_size,
        "logprobs_mode": "processed_logprobs",
        # Patches come as floats; vLLM would take them for bytes and normalise them.
        "mm_device_do_normalize": False,
        "mm_processor_cache_gb": 0,
        # Its dummy pictures are of sizes that no prompt here has.
        "skip_mm_profiling": True,
        "enable_prefix_caching": settings.prefix_caching,
        "weight_transfer_config": {"backend": "mmrl"},
        "disable_log_stats": True,
    }
    if device.type == "cpu":
        # Prompts that are cut cannot be sampled with seeds of their own on a CPU.
        return arguments | {"enable_chunked_prefill": False, "max_num_batched_tokens": limit}
    return arguments | {"gpu_memory_utilization": settings.memory_share}


def _opened(arguments: Mapping[str, Any]) -> Any:
    ensure_torchvision()
    try:
        import vllm.model_executor.models.registry as registry
        from vllm import LLM

        from mmrl.engines.vllm.transfer import register
    # Of another torch, or beside a torchaudio that does not load, it fails with whatever its libraries fail with.
    except Exception as error:
        raise UserError(
            f"engine.name: vllm is installed and does not import ({first_line(error)}); in a fresh environment: "
            f"{INSTALL} (without a GPU: {INSTALL_CPU}, then pip uninstall torchaudio torchcodec)"
        ) from error
    register()
    inspect = registry._run_in_subprocess
    # Another process would lack what `ensure_torchvision` did in this one.
    registry._run_in_subprocess = lambda function: function()
    try:
        return LLM(**arguments)
    except Exception as error:
        raise EngineError(f"engine 'vllm' does not start: {first_line(error)}") from error
    finally:
        registry._run_in_subprocess = inspect
