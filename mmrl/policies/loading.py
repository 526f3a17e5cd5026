"""Checkpoint folders to models, with every load problem an error instead of random weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from mmrl.contracts.errors import CheckpointError, ConfigError, UserError, first_line, nearest
from mmrl.policies import adapter
from mmrl.policies.chat_template import settle_template
from mmrl.policies.compat import ensure_torchvision, quiet_transformers
from mmrl.policies.digests import STATE, damaged, listed, naming_whole, verify_model
from mmrl.policies.saving import ABOUT, Source
from mmrl.recipe.policies.registry import POLICIES, alternatives, attribute, entry_of, policies_of
from mmrl.recipe.policy import PolicyConfig

_SIZE = re.compile("(size|layers|heads|depth|dim|experts)$")
_ASSETS = Path(__file__).resolve().parents[1] / "assets"
PACKAGED = {name: _ASSETS / name for name in ("quickstart", "quickstart_robot")}

# How long the hub may take to say whether it has a model.
HUB_SECONDS = 10.0
# Tokenizer, preprocessor and published code beside the weights.
COMPANIONS = (".json", ".model", ".txt", ".py", ".jinja")


def resolve_device(name: str) -> torch.device:
    """`auto` takes CUDA where there is one. Raises ConfigError on a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name != "cpu" and not re.fullmatch(r"cuda(:\d+)?", name):
        raise ConfigError(f"policy.device: '{name}' is no device. Allowed: auto, cpu, cuda, cuda:0, …")
    device = torch.device(name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ConfigError(f"policy.device: '{name}' is not here: torch sees {count} CUDA devices; use cpu or auto")
    return device


def resolve_dtype(config: PolicyConfig) -> PolicyConfig:
    """The settings with the dtype that `auto` stands for on the policy's device."""
    if config.dtype != "auto":
        return config
    on_cuda = resolve_device(config.device).type == "cuda"
    return config.model_copy(update={"dtype": "bfloat16" if on_cuda else "float32"})


def checkpoint_path(path: str, kind: str) -> str:
    """The folder or hub name to load.

    Args:
        kind: the `policy.type` that it is for, to say where a checkpoint of it comes from.

    Raises:
        CheckpointError: it reads as a folder, and none is there.
    """
    if path in PACKAGED:
        return str(PACKAGED[path])
    folder = Path(path).expanduser()
    if folder.is_dir():
        return str(_model_in(folder, path))
    is_hub_name = path.count("/") == 1 and not path.startswith((".", "/", "~")) and not folder.parent.is_dir()
    if not is_hub_name or not _is_on_hub(path):
        siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
        entry = entry_of(kind)
        allowed = ["a folder", "a hub name (owner/name)", *entry.packaged]
        cure = f"; `mmrl tiny {entry.tiny[0]} {path}` makes a small one there" if entry.tiny else ""
        raise CheckpointError(
            f"policy.path: no checkpoint folder at '{path}'.{nearest(folder.name, [*siblings, *entry.packaged])} "
            f"Give {alternatives(allowed)}{cure}"
        )
    return path


def _model_in(folder: Path, shown: str) -> Path:
    """The folder itself, or the model of a checkpoint folder, or of a run's newest checkpoint."""
    if config_file(folder).is_file():
        return folder
    if (folder / "checkpoints").is_dir():
        checkpoints = listed(folder / "checkpoints")
        if not checkpoints:
            raise CheckpointError(f"policy.path: the run '{shown}' has no checkpoint yet")
        folder = checkpoints[-1]
        if not (folder / STATE).is_file():
            raise naming_whole(damaged(folder, f"{STATE} is missing"), folder)
    if (saved := saved_model(folder)) is not None:
        return saved
    if (folder / adapter.SETTINGS).is_file():
        raise CheckpointError(
            f"policy.path: '{shown}' holds adapters without {adapter.CONFIG}; merge them into their base with peft's "
            "merge_and_unload"
        )
    raise CheckpointError(f"policy.path: '{shown}' holds no config.json, so it is no checkpoint")


def config_file(folder: Path) -> Path:
    """The model's config.json, which has another name in a folder of adapters."""
    return folder / (adapter.CONFIG if (folder / adapter.SETTINGS).is_file() else "config.json")


def saved_model(checkpoint: Path) -> Path | None:
    """What a policy is loaded from in a checkpoint's folder: its model, or the adapters in place of one."""
    for name in ("model", "adapter"):
        if config_file(checkpoint / name).is_file():
            return checkpoint / name
    return None


def model_of(checkpoint: Path) -> Path:
    """See `saved_model`. Raises CheckpointError where there is neither."""
    if (saved := saved_model(checkpoint)) is None:
        raise CheckpointError(f"checkpoint '{checkpoint}' has neither a model nor adapters; copy it again")
    return saved


@cache
def _is_on_hub(name: str) -> bool:
    """Whether the hub, or its cache on this machine, has a model of this name; one that may not be seen counts too.

    Raises:
        CheckpointError: the hub does not answer, and the cache has no such model.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return True
        HfApi().model_info(name, timeout=HUB_SECONDS)
    except GatedRepoError:
        return True
    except (RepositoryNotFoundError, HFValidationError):
        return False
    # Its client has exceptions of its own for every way in which a network fails.
    except Exception as error:
        raise CheckpointError(
            f"policy.path: no checkpoint folder at '{name}', and as a hub name it cannot be looked up: "
            f"{first_line(error)}"
        ) from None
    return True


def local_folder(path: str, kind: str, also: Sequence[str] = ()) -> Path:
    """The folder of a checkpoint; that of the hub's cache, fetched first where it is not there, for a hub name.

    Args:
        kind: see `checkpoint_path`.
        also: patterns of files that are fetched besides safetensors and companions.

    Raises:
        CheckpointError: it is not there, or cannot be fetched.
    """
    folder = Path(checkpoint_path(path, kind))
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    patterns = ["*.safetensors", *(f"*{suffix}" for suffix in COMPANIONS), *ABOUT, *also]
    try:
        return Path(snapshot_download(path, allow_patterns=patterns))
    # See `_is_on_hub`.
    except Exception as error:
        raise CheckpointError(f"policy.path: '{path}' cannot be fetched: {first_line(error)}") from None


def read_config(path: str, kind: str) -> Any:
    """The transformers config of a checkpoint. Raises CheckpointError when there is none that can be read.

    Args:
        kind: see `checkpoint_path`.
    """
    ensure_torchvision()
    from transformers import AutoConfig

    source = checkpoint_path(path, kind)
    if Path(source).is_dir() and config_file(Path(source)).name == adapter.CONFIG:
        source = str(config_file(Path(source)))
    for layout in sorted({entry_of(name).layout or "" for name in POLICIES} - {""}):
        if (config := attribute(layout)(Path(source))) is not None:
            return config
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    # A file of anybody's: settings of other types make transformers raise whatever they make it raise.
    except Exception as error:
        raise CheckpointError(f"policy.path: cannot read '{path}': {first_line(error)}") from None


def read_own_config(path: str, kind: str, shown: str) -> Any:
    """`read_config` of a checkpoint that this type of policy loads.

    Args:
        shown: what the recipe calls it.

    Raises:
        CheckpointError: also one of another family.
    """
    config = read_config(path, kind)
    if config.model_type not in (known := entry_of(kind).reads):
        able = policies_of(config.model_type)
        cure = f"set policy.type to {alternatives(able)}" if able else "no policy.type reads that"
        raise CheckpointError(
            f"policy.path: '{shown}' is a checkpoint of {config.model_type}, and policy.type '{kind}' reads "
            f"{', '.join(known)}; {cure}"
        )
    return config


def difference(first: str, second: str, kind: str) -> str | None:
    """The first size in which two checkpoints' models differ, or None for two of the same shape.

    Args:
        kind: see `checkpoint_path`.

    Raises:
        CheckpointError: one of them is not there.
    """
    here, there = (dict(_sizes(read_config(path, kind).to_dict())) for path in (first, second))
    for name in {**here, **there}:
        if here.get(name) != there.get(name):
            return f"{name} is {here.get(name)} there and {there.get(name)} here"
    return None


def _sizes(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if key == "params":
            # Settings that a robot policy was saved with. Published checkpoints leave them to the recipe.
            continue
        if isinstance(value, Mapping):
            yield from _sizes(value, f"{prefix}{key}.")
        elif key == "model_type" or (isinstance(value, int) and _SIZE.search(key)):
            yield prefix + key, value


def load_checkpoint(config: PolicyConfig, device: torch.device) -> tuple[Any, Any, Source]:
    """(model, processor, the files beside the weights) of a checkpoint of one of transformers' own models.

    Raises:
        CheckpointError: not there, of another family, weights missing or of other shapes.
    """
    ensure_torchvision()
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = local_folder(config.path, config.type)
    read_own_config(str(folder), config.type, config.path)
    model = load_pretrained(AutoModelForImageTextToText, folder, config)
    processor = load_companion(AutoProcessor, folder, config.path)
    source = Source(folder, processor)
    settle_template(processor, getattr(config, "chat_template", None), config.path)
    return model.to(device).train(), processor, source


def load_pretrained(
    cls: Any,
    source: Path,
    policy: PolicyConfig,
    may_lack: Callable[[str], bool] | None = None,
    base: Callable[[Path], Any] | None = None,
    **options: Any,
) -> Any:
    """`cls.from_pretrained` with the policy's dtype and attention. Reads safetensors alone.

    Args:
        source: a folder with a model's weights, or with LoRA adapters, which are merged into those of their base.
        may_lack: whether the checkpoint may be without a weight, by its name; without `may_lack` it has all.
        base: loads the weights of a base from its folder; None: as this function does.
        options: further arguments of `from_pretrained`.

    Raises:
        CheckpointError: nothing that loads, or weights that are damaged, missing, unknown or of other shapes.
    """
    if (below := base_of(source, policy.type)) is not None:
        model = load_pretrained(cls, below, policy, may_lack, **options) if base is None else base(below)
        adapter.merge(model, source, policy.type)
        return model
    with load_errors(policy.path), quiet_transformers():
        model, info = cls.from_pretrained(
            source,
            dtype=getattr(torch, policy.dtype),
            attn_implementation=policy.attention,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
            **options,
        )
    missing = [name for name in info["missing_keys"] if may_lack is None or not may_lack(name)]
    refuse_incomplete({**info, "missing_keys": missing}, policy.path)
    return model


def base_of(folder: Path, kind: str) -> Path | None:
    """The folder of the model that adapters were trained on; None of a folder with weights of its own.

    Args:
        kind: see `checkpoint_path`.

    Raises:
        CheckpointError: it is not there, or the adapters are of a kind that is not known here.
    """
    if (settings := adapter.read_settings(folder)) is None:
        return None
    path = settings["base_model_name_or_path"]
    try:
        below = local_folder(path, kind)
    except CheckpointError as error:
        raise CheckpointError(
            f"policy.path: '{folder}' holds adapters on '{path}', which is not there: {error}"
        ) from None
    verify_model(below)
    return below


def load_companion(cls: Any, source: str | Path, shown: str) -> Any:
    """A tokenizer or processor by a class of transformers, without any code that the checkpoint brings.

    Args:
        source: a folder or hub name.
        shown: what the recipe calls the checkpoint.

    Raises:
        CheckpointError: nothing that loads.
    """
    with load_errors(shown):
        return cls.from_pretrained(source, trust_remote_code=False)


@contextmanager
def load_errors(shown: str) -> Iterator[None]:
    """Inside, what goes wrong with the files of a checkpoint is a CheckpointError that names it.

    Damaged or odd files make the libraries that read them raise whatever they make them raise.
    """
    from safetensors import SafetensorError

    try:
        yield
    except UserError:
        raise
    except SafetensorError as error:
        raise CheckpointError(
            f"policy.path: a weights file of '{shown}' is damaged ({first_line(error)}); copy it again"
        ) from None
    except Exception as error:
        raise CheckpointError(f"policy.path: '{shown}' does not load: {first_line(error)}") from error


def refuse_incomplete(info: Mapping[str, Any], shown: str) -> None:
    """Raises CheckpointError where transformers' loading info names weights that are missing, unknown or misshapen."""
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(problem):
            # Mismatched ones come with the file's shape and the model's.
            names = sorted(item if isinstance(item, str) else item[0] for item in info[problem])
            raise CheckpointError(
                f"policy.path: '{shown}' has {len(names)} {problem.replace('_', ' ')}, first '{names[0]}'; "
                "it is a checkpoint of another model or an incomplete one"
            )
