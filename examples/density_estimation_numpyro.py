"""Estimate the density of a table by maximum likelihood with a normalizing flow (NumPyro).

Maximum likelihood is SVI with an empty guide: the model registers the flow and observes rows, the
bound is the log-likelihood, and `fit` trains it. The parameters with the best validation
log-likelihood are kept, and the held-out log-likelihood is given with its standard error, in nats
a row of the standardised table. Columns whose values repeat are dequantised (uniform noise as wide
as their resolution); for the digits the bits per pixel of the 17 recorded levels are given too.

    python examples/density_estimation_numpyro.py --data two_moons --recipe nsf --output results
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
    DATA,
    gaussian_log_prob,
    load_table,
    mean_and_error,
    save_density,
    save_images,
    save_losses,
    save_pairs,
)

from numpyro_deepgen import distributions, io
from numpyro_deepgen.infer import fit

RECIPES = (
    *("nice", "realnvp", "flowpp", "maf", "iaf", "nsf", "naf", "unaf", "bnaf", "sospf"),
    *("gaussianization", "planar", "radial", "sylvester"),
)


def guide(*args):
    """No latent variables: the evidence lower bound is the log-likelihood."""


def train(rng_key, flow, table, args):
    """Train until the validation rows stop improving; returns the flow with the best parameters."""
    rows, valid = jax.numpy.asarray(table.train), jax.numpy.asarray(table.valid)

    def model(rows, batch_size):
        module = eqx_module("flow", flow)
        with numpyro.plate("rows", len(rows), subsample_size=batch_size) as index:
            numpyro.sample("x", module(), obs=rows[index])

    result = fit(
        rng_key,
        model,
        guide,
        args.num_steps,
        args=(rows, min(args.batch_size, len(rows))),
        held_out_args=(valid, len(valid)),
        loss=Trace_ELBO(),
        learning_rate=args.learning_rate,
        decay="constant",
        patience=args.patience,
        evaluate_every=args.eval_every,
        progress=False,
    )
    return eqx.combine(result.params["flow$params"], flow), result


@jax.jit
def score(flow, rows):
    return flow().log_prob(rows)


def draw(rng_key, flow, num_samples):
    return np.asarray(flow().sample(rng_key, (num_samples,)))


def save(rng_key, flow, table, result, output):
    """Write the flow and the pictures."""
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    io.save(output / "flow.safetensors", flow)
    samples = draw(rng_key, flow, 500)
    paths = [output / "flow.safetensors"]
    losses = result.losses / len(table.train)
    evaluations = [(step, loss / len(table.valid)) for step, loss in result.evaluations]
    paths.append(save_losses(output / "losses.png", losses, evaluations, result.best_step))
    paths.append(save_pairs(output / "samples.png", table.test, samples, table.columns))
    if table.name == "digits":
        images = (rows * table.scale + table.loc for rows in (table.test, samples))
        paths.append(save_images(output / "images.png", *images))
    if table.input_dim == 2:
        axis = np.linspace(-2.5, 2.5, 120, dtype=np.float32)
        grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
        log_prob = np.asarray(score(flow, grid))
        paths.append(save_density(output / "density.png", grid, log_prob, table.test))
    return paths


def main(args):
    flow_key, fit_key, draw_key = jax.random.split(jax.random.key(args.seed), 3)
    table = load_table(args.data)
    recipe = getattr(distributions, args.recipe)
    options = {} if args.num_transforms is None else {"num_transforms": args.num_transforms}
    flow = recipe(flow_key, table.input_dim, **options)
    flow, result = train(fit_key, flow, table, args)
    test_log_prob = np.asarray(score(flow, table.test))
    mean, error = mean_and_error(test_log_prob)
    print(f"{table.name}: {table.input_dim} columns, {len(table.train)} training rows", end="")
    print(f", dequantised: {', '.join(table.dequantised)}" if table.dequantised else "")
    best = -min(loss for _, loss in result.evaluations) / len(table.valid)
    print(f"best validation log-likelihood {best:.4f} at step {result.best_step}")
    print(f"held-out log-likelihood {mean:.4f} +- {error:.4f} nats a row (standardised)")
    gain, error = mean_and_error(test_log_prob - gaussian_log_prob(table))
    print(f"above a normal with full covariance by {gain:.4f} +- {error:.4f}")
    if table.name == "digits":
        print(f"held-out bits per dimension at most {table.bits_per_dim(mean):.4f}")
    paths = save(draw_key, flow, table, result, args.output) if args.output else []
    return {
        "flow": flow,
        "table": table,
        "fit": result,
        "test_log_prob": test_log_prob,
        "paths": paths,
    }


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", default="two_moons", help=f"{', '.join(DATA)}, or a .npy, .npz or .csv file"
    )
    parser.add_argument("--recipe", choices=RECIPES, default="nsf")
    parser.add_argument("--num-transforms", type=int, help="layers of the flow")
    parser.add_argument("--num-steps", type=int, default=3000, help="steps at most")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--eval-every", type=int, default=25, help="steps between two evaluations")
    parser.add_argument("--patience", type=int, default=16, help="evaluations without improvement")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", help="directory for the flow and the pictures")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
