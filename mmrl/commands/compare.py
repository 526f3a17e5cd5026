"""`mmrl compare`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmrl.contracts.errors import UserError


def add_arguments(parser: ArgumentParser) -> None:
    """Two runs, and where a page goes."""
    parser.add_argument("first", metavar="DIR", help="a run's folder, or one of `mmrl eval --tasks`")
    parser.add_argument("second", metavar="DIR", help="another of the same kind")
    parser.add_argument("--output", metavar="FILE", help="of runs: also write an HTML page, with the curves of both")
    parser.add_argument(
        "--across-protocols", action="store_true", help="of benchmarks: compare them though their protocols differ"
    )


def run(args: Namespace) -> int:
    """Prints what differs: of runs settings, held-out accuracy and last figures; of benchmarks answers and scores."""
    from mmrl.evaluation.suite.comparing import compare_evaluations, is_evaluation, render

    first, second = Path(args.first), Path(args.second)
    if is_evaluation(first) and is_evaluation(second):
        if args.output:
            raise UserError("--output: a page is written of two runs; of benchmarks there is the table alone")
        print(render(compare_evaluations(first, second, args.across_protocols), (str(first), str(second))))
        return 0
    from mmrl.tracking.comparison import compare, render_page, render_text
    from mmrl.tracking.files import write_atomic

    comparison = compare(first, second)
    print(render_text(comparison))
    if args.output:
        print(f"written: {write_atomic(Path(args.output), render_page(comparison))}")
    return 0
