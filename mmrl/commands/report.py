"""`mmrl report`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path


def run(args: Namespace) -> int:
    """Writes the report and says where."""
    from mmrl.tracking.report.page import write_report

    print(write_report(Path(args.folder), Path(args.output) if args.output else None))
    return 0
