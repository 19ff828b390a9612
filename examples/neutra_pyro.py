"""What a trained flow does for NUTS: effective draws a gradient and divergences (Pyro).

NUTS runs on a built-in posterior twice: as it is, and on the posterior warped by a trained inverse
autoregressive flow (NeuTra, the host's ``NeuTraReparam``). Where the posterior is known exactly
the errors against it are shown, too: a bad flow can hide behind clean diagnostics.

    python examples/neutra_pyro.py --problem funnel
"""

import argparse

from pyro_deepgen.compare import PROBLEMS, compare

SHOWN = ("ess_per_gradient", "num_gradients", "divergences", "rhat", "quantile_error_max")


def main(args):
    problem = PROBLEMS[args.problem]
    reference = problem.reference_fn(20000, seed=1) if problem.reference_fn else None
    comparison = compare(
        problem.model,
        kwargs=problem.data,
        methods=["nuts", "neutra"],
        reference=reference,
        num_steps=args.num_steps,
        num_warmup=args.num_warmup,
        num_samples=args.num_samples,
        num_chains=args.num_chains,
        seed=args.seed,
        name=args.problem,
        progress=not args.quiet,
    )
    for result in comparison.results:
        metrics = [f"{name} {result.metrics[name]}" for name in SHOWN if name in result.metrics]
        print(f"{result.name}: {result.error or ', '.join(metrics)}")
        print(f"  {result.verdict.level}: {result.verdict.reasons[0]}")
    return comparison


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problem", choices=list(PROBLEMS), default="funnel")
    parser.add_argument("--num-steps", type=int, default=2000, help="of the training of the flow")
    parser.add_argument("--num-warmup", type=int, default=300)
    parser.add_argument("--num-samples", type=int, default=500)
    parser.add_argument("--num-chains", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
