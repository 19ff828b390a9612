"""Estimate the density of a target given covariates, with calibrated intervals (NumPyro).

A conditional flow gives the density of the diabetes progression given ten covariates, by maximum
likelihood, by `fit` stopping early. Its central intervals are the quantiles of samples, row by row;
they are calibrated by split conformal prediction on rows that the fit has not seen. The score of a
row is how far the rank of its target among the samples lies from the middle, and the interval holds
every target whose score is at most the ``ceil(level * (n + 1))``-th smallest of the ``n``
calibration scores. If the rows are exchangeable it covers a new target with probability at least
``level``, whatever the flow (Vovk et al. 2005, Algorithmic Learning in a Random World; Chernozhukov
et al. 2021, Distributional Conformal Prediction, theorem 2). The guarantee is an average over
covariates and over calibration sets.

    python examples/conditional_density_numpyro.py --output results
"""

import argparse
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import numpyro
from numpyro.contrib.module import eqx_module
from numpyro.infer import Trace_ELBO
from tables import (
    central_intervals,
    conformal_halfwidths,
    coverage,
    linear_log_prob,
    load_regression,
    mean_and_error,
    ranks,
    save_calibration,
)

from numpyro_deepgen import io
from numpyro_deepgen.distributions import nsf
from numpyro_deepgen.infer import fit


def guide(*args):
    """No latent variables: the evidence lower bound is the log-likelihood."""


def train(rng_key, flow, parts, args):
    """Train until the rows kept for stopping get no better; returns the flow with the best."""

    def model(x, y, batch_size):
        module = eqx_module("flow", flow)
        with numpyro.plate("rows", len(x), subsample_size=batch_size) as index:
            numpyro.sample("y", module(x[index]), obs=y[index])

    rows, other_rows = (tuple(map(jax.numpy.asarray, parts[name])) for name in ("train", "stop"))
    result = fit(
        rng_key,
        model,
        guide,
        args.num_steps,
        args=(*rows, min(args.batch_size, len(rows[0]))),
        held_out_args=(*other_rows, len(other_rows[0])),
        loss=Trace_ELBO(),
        learning_rate=args.learning_rate,
        decay="constant",
        patience=args.patience,
        evaluate_every=args.eval_every,
        progress=False,
    )
    return eqx.combine(result.params["flow$params"], flow), result


@jax.jit
def score(flow, x, y):
    return flow(x).log_prob(y)


def draw(rng_key, flow, x, num_samples):
    """Samples of each row's target, shape ``(num_samples, num_rows)``."""
    samples = jax.jit(lambda flow: flow(x).sample(rng_key, (num_samples,)))(flow)
    return np.asarray(samples).squeeze(-1)


def main(args):
    flow_key, fit_key, calibrate_key, test_key = jax.random.split(jax.random.key(args.seed), 4)
    parts = load_regression()
    flow = nsf(
        flow_key,
        input_dim=1,
        num_transforms=args.num_transforms,
        hidden_dims=args.hidden_dims,
        context_dim=10,
        num_bins=args.num_bins,
    )
    flow, result = train(fit_key, flow, parts, args)
    (x_calibrate, y_calibrate), (x, y) = parts["calibrate"], parts["test"]
    samples = draw(test_key, flow, x, args.num_samples)
    calibration_ranks = ranks(
        draw(calibrate_key, flow, x_calibrate, args.num_samples), y_calibrate[:, 0]
    )

    test_log_prob = np.asarray(score(flow, x, y))
    linear = linear_log_prob(parts)
    best = -min(loss for _, loss in result.evaluations) / len(parts["stop"][0])
    print(f"best log-likelihood {best:.4f} at step {result.best_step}")
    rows = {
        "flow": test_log_prob,
        "linear regression": linear,
        "flow - linear": test_log_prob - linear,
    }
    for name, values in rows.items():
        print("held-out log-likelihood, {}: {:.4f} +- {:.4f}".format(name, *mean_and_error(values)))

    halfwidths = conformal_halfwidths(calibration_ranks, args.num_samples, args.levels)
    raw = [round(level * args.num_samples) for level in args.levels]
    intervals = {
        "raw": central_intervals(samples, raw),
        "calibrated": central_intervals(samples, halfwidths),
    }
    covered = {name: coverage(found, y[:, 0]) for name, found in intervals.items()}
    print("level  raw coverage     calibrated coverage")
    for level, before, after in zip(args.levels, *covered.values(), strict=True):
        print("{:.2f}   {:.3f} +- {:.3f}  {:.3f} +- {:.3f}".format(level, *before, *after))
    paths = []
    if args.output:
        output = Path(args.output)
        output.mkdir(parents=True, exist_ok=True)
        paths = [output / "flow.safetensors", output / "calibration.png"]
        io.save(paths[0], flow)
        pit = ranks(samples, y[:, 0]) / args.num_samples
        save_calibration(paths[1], pit, intervals["calibrated"], y[:, 0], args.levels)
    return {
        "flow": flow,
        "parts": parts,
        "fit": result,
        "test_log_prob": test_log_prob,
        "linear_log_prob": linear,
        "coverage": covered,
        "intervals": intervals,
        "paths": paths,
    }


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-transforms", type=int, default=1, help="layers of the flow")
    parser.add_argument("--hidden-dims", type=int, nargs="+", default=[16])
    parser.add_argument("--num-bins", type=int, default=4, help="bins of each spline")
    parser.add_argument("--num-steps", type=int, default=2000, help="steps at most")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--eval-every", type=int, default=10, help="steps between two evaluations")
    parser.add_argument("--patience", type=int, default=20, help="evaluations without improvement")
    parser.add_argument("--num-samples", type=int, default=2000, help="samples a row")
    parser.add_argument("--levels", type=float, nargs="+", default=[0.5, 0.8, 0.9, 0.95])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", help="directory for the flow and the picture")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
