"""`mmrl compare`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    """Two runs, and where a page goes."""
    parser.add_argument("first", metavar="RUN", help="a run's folder")
    parser.add_argument("second", metavar="RUN", help="another's")
    parser.add_argument("--output", metavar="FILE", help="also write an HTML page, with the curves of both")


def run(args: Namespace) -> int:
    """Prints what differs: settings, held-out accuracy and the last figures of training."""
    from mmrl.tracking.comparison import compare, render_page, render_text
    from mmrl.tracking.files import write_atomic

    comparison = compare(Path(args.first), Path(args.second))
    print(render_text(comparison))
    if args.output:
        print(f"written: {write_atomic(Path(args.output), render_page(comparison))}")
    return 0
