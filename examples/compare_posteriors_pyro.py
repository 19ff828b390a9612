"""Compare SVI guides and NUTS on a real posterior, and see which to trust (Pyro).

The posterior is a built-in one (``--problem``): eight schools, a horseshoe regression on diabetes
data, a logistic regression on breast cancer data, or Neal's funnel, which is known exactly. The
model is ordinary Pyro; a normalizing flow is plugged into the guide by its name. The table gives
wall times, bounds, diagnostics, errors against the reference draws, and a verdict for each method.

    python examples/compare_posteriors_pyro.py --problem eight_schools --output results
"""

import argparse

from pyro_deepgen.compare import METHODS, PROBLEMS, compare


def main(args):
    problem = PROBLEMS[args.problem]
    reference = problem.reference_fn(20000, seed=1) if problem.reference_fn else None
    settings = problem.settings | {
        name: getattr(args, name)
        for name in ("num_samples", "num_warmup", "num_chains", "num_steps")
        if getattr(args, name) is not None
    }
    comparison = compare(
        problem.model,
        kwargs=problem.data,
        methods=args.methods,
        reference=reference,
        seed=args.seed,
        output=args.output,
        progress=not args.quiet,
        name=args.problem,
        reference_source="exact draws" if reference else None,
        **settings,
    )
    print(comparison.table())
    return comparison


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problem", choices=list(PROBLEMS), default="eight_schools")
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=list(METHODS),
        default=["nuts", "auto_normal", "nsf", "neutra"],
    )
    parser.add_argument("--num-samples", type=int, help="draws a chain")
    parser.add_argument("--num-warmup", type=int, help="warm-up steps a chain")
    parser.add_argument("--num-chains", type=int, help="chains")
    parser.add_argument("--num-steps", type=int, help="optimisation steps of a guide")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", help="directory for table, JSON, NetCDF and plots")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
