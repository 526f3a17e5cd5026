"""The helper process of the plot sandbox without its list of names: what code does there, the kernel must refuse."""

import importlib.util
from pathlib import Path

script = Path(__file__).parents[2] / "vision_rewards" / "plot_sandbox_helper.py"
spec = importlib.util.spec_from_file_location("plot_sandbox_helper", script)
helper = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helper)
helper.is_allowed = lambda tree: True
helper.main()
