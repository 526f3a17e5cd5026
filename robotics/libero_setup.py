"""LIBERO's package made usable: no prompt at its first import, assets from a folder that is named, safe reading."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = "hf-libero==0.1.4"
# Versions in which recorded starts settle as those of published figures did: first, and first that is too new.
MUJOCO = ((3, 2, 7), (3, 4))
ASSET_FOLDERS = ("articulated_objects", "scenes", "stable_hope_objects", "stable_scanned_objects", "turbosquid_objects")
DOWNLOADED = "~/.cache/libero/assets"
DOWNLOAD = f"hf download lerobot/libero-assets --repo-type dataset --local-dir {DOWNLOADED}"
RENDERING = {
    "egl": "install EGL (apt-get install libegl1 libgl1, and a GPU's driver or Mesa) or set renderer: osmesa",
    "osmesa": "install OSMesa (apt-get install libosmesa6) or set renderer: egl",
}


def package_root() -> Path:
    """The folder with LIBERO's `bddl_files` and `init_files`. Raises ImportError where it is not installed."""
    package = importlib.util.find_spec("libero")
    for place in (package.submodule_search_locations if package else None) or ():
        if (Path(place) / "libero" / "bddl_files").is_dir():
            return Path(place) / "libero"
    raise ImportError(f"libero: the package libero is not installed; install it: pip install {PACKAGE}")


def mujoco_problem(version: str) -> str | None:
    """What is wrong with a version of MuJoCo, in one line; None for one in which LIBERO's tasks are what they say.

    From 3.4 on the bowl of libero_spatial's task 5 settles beside the ramekin that it is said to be on.
    """
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if MUJOCO[0] <= numbers < MUJOCO[1]:
        return None
    first, end = (".".join(map(str, limit)) for limit in MUJOCO)
    return (
        f"libero: MuJoCo {version} settles recorded starts differently (libero_spatial task 5 is another task), so "
        f"that figures are not those of published results; pip install 'mujoco>={first},<{end}'"
    )


def find_assets(assets: str | None, root: Path) -> Path:
    """The folder of meshes and textures: `assets`, else one beside the package, else where the package downloads to.

    Raises ValueError where there is none; nothing is downloaded here.
    """
    places = [Path(assets)] if assets else [root / "assets", Path(DOWNLOADED)]
    for place in (place.expanduser() for place in places):
        missing = [name for name in ASSET_FOLDERS if not (place / name).is_dir()]
        if not missing:
            return place.resolve()
    if assets:
        raise ValueError(
            f"libero: assets={assets!r} is not allowed; allowed: a folder that holds {', '.join(ASSET_FOLDERS)} "
            f"(missing: {', '.join(missing)}); download them: {DOWNLOAD}"
        )
    raise ValueError(
        f"libero: no assets in {' or '.join(map(str, places))}; download them: {DOWNLOAD}, or set assets: PATH"
    )


def load_package(assets: Path, renderer: str) -> Any:
    """LIBERO's environment class, reading meshes from `assets` and drawing with `renderer` (egl or osmesa).

    Changes environment variables of this process, so it belongs into a worker.

    Raises:
        ImportError: a package that LIBERO needs is missing.
        ValueError: the renderer's libraries are missing.
    """
    os.environ["MUJOCO_GL"] = renderer
    root = package_root()
    # Without this file LIBERO asks on the terminal where its data lies. It is read at import only.
    with tempfile.TemporaryDirectory() as folder:
        lines = [
            f"benchmark_root: {root}",
            f"bddl_files: {root / 'bddl_files'}",
            f"init_states: {root / 'init_files'}",
            f"datasets: {folder}",
            f"assets: {assets}",
        ]
        (Path(folder) / "config.yaml").write_text("\n".join(lines) + "\n")
        os.environ["LIBERO_CONFIG_PATH"] = folder
        # robosuite warns at import that its own optional settings file is absent.
        logging.getLogger("robosuite_logs").addFilter(lambda record: record.levelno >= logging.ERROR)
        try:
            import libero.libero

            libero.libero._assets_path_cache = str(assets)
            from libero.libero.envs import OffScreenRenderEnv
        except ModuleNotFoundError as error:
            raise ImportError(f"libero: {error}; install it: pip install {PACKAGE}") from error
        except (ImportError, AttributeError, OSError, RuntimeError) as error:
            # PyOpenGL raises one or the other where a library is missing.
            raise rendering_error(renderer, error) from error
    return OffScreenRenderEnv


def rendering_error(renderer: str, error: Exception) -> ValueError:
    """What to say where nothing can be drawn."""
    words = " ".join(str(error).split())
    return ValueError(f"libero: renderer={renderer!r} does not work here ({words}); {RENDERING[renderer]}")


def task_names(suite: str) -> list[str]:
    """The suite's tasks in LIBERO's own order."""
    from libero.libero.benchmark.libero_suite_task_map import libero_task_map

    return list(libero_task_map[suite])


def task_text(name: str) -> str:
    """The instruction in words, as LIBERO's benchmark and the published policies have it."""
    from libero.libero.benchmark import grab_language_from_filename

    return grab_language_from_filename(name + ".bddl")


def init_states(suite: str, name: str) -> np.ndarray:
    """The task's recorded start states, float64 [N, D] of MuJoCo's time, positions and velocities."""
    import torch
    from numpy import dtypes
    from numpy._core.multiarray import _reconstruct

    path = package_root() / "init_files" / suite / f"{name}.pruned_init"
    # The files are pickled arrays of an older numpy; nothing else is let through.
    allowed = [(_reconstruct, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype, dtypes.Float64DType]
    with torch.serialization.safe_globals(allowed):
        return np.asarray(torch.load(path, weights_only=True))
