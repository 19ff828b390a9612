"""The command line: ``python -m <package>`` with ``compare``, ``compare-hosts`` and ``list``.

Bad input is one line on standard error and exit code 2; an interrupt keeps what is finished and
ends with exit code 130.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import engine
from .errors import CompareError
from .hosts import compare_hosts
from .method_names import DEFAULT_METHODS, resolve_methods
from .problems import PROBLEMS
from .run import compare
from .settings import Settings
from .targets import load_target

__all__ = ["build_parser", "main"]

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
REFERENCE_DRAWS = 20000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: the arguments, without the program's name; ``sys.argv`` by default.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except CompareError as error:
        print(f"{parser.prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted before any method finished", file=sys.stderr)
        return EXIT_INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """The parser with its subcommands."""
    package = __package__.split(".")[0]
    parser = argparse.ArgumentParser(prog=f"python -m {package}", description="Compare posteriors.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="list methods and built-in problems")
    listing.set_defaults(run=_list)
    command = commands.add_parser("compare", help="run SVI guides and MCMC, say which to trust")
    command.set_defaults(run=_compare)
    command.add_argument("target", help="file.py:model, or a built-in problem's name")
    command.add_argument("--data", type=Path, help="JSON, NPZ or CSV; keys are argument names")
    command.add_argument(
        "--methods",
        default=",".join(DEFAULT_METHODS),
        help="comma-separated names, or module:object or file.py:object of a guide class, a kernel "
        "class, or a function of the model that gives a guide or kernel (default: %(default)s)",
    )
    command.add_argument(
        "--reference",
        help="NetCDF file of InferenceData, an MCMC method among those run, 'exact' (for problems "
        "known exactly) or 'none' (default: exact where known, else nuts)",
    )
    _add_output(command)
    _add_settings(command)
    command.add_argument(
        "--sbc",
        type=int,
        default=0,
        metavar="N",
        help="simulation-based calibration: run each method again on N data sets drawn from the "
        "model (at least 10)",
    )
    command.add_argument(
        "--ppc", action="store_true", help="posterior predictive checks of each method"
    )
    command.add_argument("--quiet", action="store_true", help="no progress bars")
    _add_hosts(commands)
    return parser


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--output", type=Path, help="directory for table, JSON, NetCDF, plots and report.html"
    )
    command.add_argument("--no-plots", action="store_true", help="write no PNG files")


def _add_hosts(commands) -> None:
    command = commands.add_parser(
        "compare-hosts", help="judge finished comparisons of one model, from either host, together"
    )
    command.set_defaults(run=_compare_hosts)
    command.add_argument("folders", nargs="+", type=Path, help="directories that compare wrote")
    command.add_argument(
        "--reference",
        help="NetCDF file of InferenceData, a label as 'pyro:nuts', or 'none' (default: the "
        "reference draws in a folder, else the first trusted chains)",
    )
    _add_output(command)


def _add_settings(command: argparse.ArgumentParser) -> None:
    default = Settings()
    helps = {
        "num_samples": "draws a chain",
        "num_warmup": "warm-up steps a chain",
        "num_chains": "chains",
        "num_steps": "optimisation steps of a guide",
        "num_particles": "ELBO particles a step",
        "num_guide_draws": "independent draws of a guide",
        "seed": "random seed",
    }
    for name, text in helps.items():
        command.add_argument(
            "--" + name.replace("_", "-"),
            type=int,
            help=f"{text} (default: {getattr(default, name)}, or the problem's own)",
        )
    command.add_argument(
        "--learning-rate",
        type=_rate,
        help="peak rate, or 'auto' to find it by short trials (default: the method's)",
    )
    command.add_argument(
        "--target-accept-prob",
        type=float,
        help=f"of NUTS (default: {default.target_accept_prob}, or the problem's own)",
    )
    command.add_argument("--x64", action="store_true", help="compute in float64")
    command.add_argument(
        "--time-budget",
        type=float,
        metavar="SECONDS",
        help="seconds that each method gets after compilation, in place of steps and draws",
    )


def _rate(text: str) -> float | str:
    return text if text == "auto" else float(text)


def _list(args: argparse.Namespace) -> int:
    print("Methods")
    for name, method in engine.METHODS.items():
        print(f"  {name.ljust(14)}{method.kind.ljust(7)}{method.description}")
    print("Built-in problems")
    for name, problem in PROBLEMS.items():
        print(f"  {name.ljust(24)}{problem.description} ({problem.citation})")
    return 0


def _compare(args: argparse.Namespace) -> int:
    resolve_methods(args.methods)
    model, data, exact = load_target(args.target, args.data)
    settings = _settings(args)
    reference, source = _reference(args, exact)
    comparison = compare(
        model,
        (),
        data,
        args.methods,
        reference,
        **settings,
        sbc=args.sbc,
        ppc=args.ppc,
        output=args.output,
        plots=not args.no_plots,
        progress=not args.quiet,
        name=args.target,
        reference_source=source,
    )
    print(comparison.table())
    if args.output is not None:
        print(f"Written to {args.output}")
    return EXIT_INTERRUPTED if comparison.interrupted else 0


def _compare_hosts(args: argparse.Namespace) -> int:
    merged = compare_hosts(
        args.folders, args.reference, output=args.output, plots=not args.no_plots
    )
    print(merged.table())
    if args.output is not None:
        print(f"Written to {args.output}")
    return 0


def _settings(args: argparse.Namespace) -> dict:
    """What was asked for, else what suits a built-in problem, else the defaults."""
    problem = PROBLEMS.get(args.target)
    asked = {name: getattr(args, name) for name in Settings.__dataclass_fields__}
    asked = {name: value for name, value in asked.items() if value is not None}
    return Settings(**((problem.settings if problem else {}) | asked)).to_dict()


def _reference(args: argparse.Namespace, exact: Callable | None):
    """The reference and what to call it."""
    wanted = args.reference
    if wanted is None and exact is not None:
        wanted = "exact"
    if wanted != "exact":
        return wanted, None
    if exact is None:
        raise CompareError(f"no exact draws are known of {args.target}: give a file, nuts or none")
    return exact(REFERENCE_DRAWS, seed=args.seed), "exact draws"
