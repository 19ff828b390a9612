"""The command line: ``python -m <package> compare TARGET ...`` and ``python -m <package> list``.

Bad input is one line on standard error and exit code 2; an interrupt keeps what is finished and
ends with exit code 130.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import engine
from .data import check_arguments, load_data
from .errors import CompareError
from .problems import PROBLEMS
from .results import Settings
from .run import DEFAULT_METHODS, compare, resolve_methods

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
    """The parser with its two subcommands."""
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
        help="comma-separated (default: %(default)s)",
    )
    command.add_argument(
        "--reference",
        help="NetCDF file of InferenceData, an MCMC method among those run, 'exact' (for problems "
        "known exactly) or 'none' (default: exact where known, else nuts)",
    )
    command.add_argument("--output", type=Path, help="directory for table, JSON, NetCDF and plots")
    _add_settings(command)
    command.add_argument("--no-plots", action="store_true", help="write no PNG files")
    command.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


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
    command.add_argument("--learning-rate", type=float, help="peak rate (default: the method's)")
    command.add_argument(
        "--target-accept-prob",
        type=float,
        help=f"of NUTS (default: {default.target_accept_prob}, or the problem's own)",
    )
    command.add_argument("--x64", action="store_true", help="compute in float64")


def _list(args: argparse.Namespace) -> int:
    print("Methods")
    for name, method in engine.METHODS.items():
        print(f"  {name.ljust(14)}{method.kind.ljust(7)}{method.description}")
    print("Built-in problems")
    for name, problem in PROBLEMS.items():
        print(f"  {name.ljust(24)}{problem.description} ({problem.citation})")
    return 0


def _compare(args: argparse.Namespace) -> int:
    methods = resolve_methods(args.methods)
    model, data, exact = _load(args.target, args.data)
    settings = _settings(args)
    reference, source = _reference(args, exact)
    comparison = compare(
        model,
        (),
        data,
        methods,
        reference,
        **settings,
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


def _load(target: str, path: Path | None):
    """Model, data and the exact draws' function (or None) of a target."""
    if target in PROBLEMS:
        problem = PROBLEMS[target]
        data = problem.data if path is None else load_data(path)
        check_arguments(problem.model, data)
        return problem.model, data, problem.reference_fn if path is None else None
    model = _load_model(target)
    data = {} if path is None else load_data(path)
    check_arguments(model, data)
    return model, data, None


def _load_model(target: str) -> Callable:
    file, separator, name = target.rpartition(":")
    if not separator or not name:
        raise CompareError(
            f"target {target!r} is neither file.py:model nor one of {', '.join(PROBLEMS)}"
        )
    path = Path(file)
    if not path.is_file():
        raise CompareError(f"model file {file} does not exist")
    module = _import_file(path)
    model = getattr(module, name, None)
    if not callable(model):
        found = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise CompareError(
            f"model file {file} has no function {name!r}; it has {', '.join(found) or 'none'}"
        )
    return model


def _import_file(path: Path):
    """Run a Python file as a module; its own directory is importable meanwhile."""
    spec = importlib.util.spec_from_file_location(f"_compared_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CompareError(f"model file {path} is not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise CompareError(
            f"model file {path} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(folder)
    return module
