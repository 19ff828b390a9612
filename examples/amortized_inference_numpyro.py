"""Amortised inference from simulations, checked by simulation-based calibration (NumPyro).

The guide ``flow(encoder(x))`` gives the posterior of location, scale and tail index of Student's t
for any sample of thirty values. It is trained on draws of the prior predictive distribution alone
(neural posterior estimation): maximum likelihood of the parameters given the simulated data, which
is SVI with the parameters observed and an empty guide. Whether its posteriors are calibrated is
tested on new simulations: the rank of the true parameters among posterior draws is uniform (Talts
et al. 2018). Then it is used on real data, columns of the wine table, where importance weights
against the model show how good it is.

    python examples/amortized_inference_numpyro.py --output results
"""

import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import lax, random
from numpyro.contrib.module import eqx_module
from numpyro.infer import SVI, Trace_ELBO
from tables import load_columns, save_ranks

from numpyro_deepgen.distributions import nsf
from numpyro_deepgen.infer import importance_resample, rank_statistics, uniformity
from numpyro_deepgen.nn import Dense

NAMES = ("loc", "log scale", "log dof")
NUM_VALUES = 30


def model(x=None, num_sets=1):
    """Data sets in a plate, each with its own three parameters."""
    with numpyro.plate("sets", num_sets):
        prior = dist.Normal(jnp.array([0.0, 0.0, 1.5]), jnp.array([1.0, 0.5, 0.7]))
        theta = numpyro.sample("theta", prior.to_event(1))
        loc, scale, dof = jnp.split(theta, 3, -1)
        values = dist.StudentT(jnp.exp(dof), loc, jnp.exp(scale))
        values = values.expand(theta.shape[:-1] + (NUM_VALUES,)).to_event(1)
        return theta, numpyro.sample("x", values, obs=x)


class Posterior(eqx.Module):
    """The flow of the parameters given an encoding of the sorted values."""

    encoder: Dense
    flow: eqx.Module

    def __init__(self, rng_key, num_transforms):
        encoder_key, flow_key = random.split(rng_key)
        self.encoder = Dense(encoder_key, NUM_VALUES, 16, hidden_dims=(64, 64))
        self.flow = nsf(flow_key, 3, num_transforms=num_transforms, context_dim=16)

    def __call__(self, x):
        # far values are drawn in
        return self.flow(self.encoder(jnp.arcsinh(jnp.sort(x, -1))))


def simulate(rng_key, num_sets):
    with numpyro.handlers.block(), numpyro.handlers.seed(rng_seed=rng_key):
        return model(num_sets=num_sets)


def train(rng_key, posterior, args):
    def likelihood(theta, x):
        module = eqx_module("posterior", posterior)
        with numpyro.plate("sets", len(x)):
            numpyro.sample("theta", module(x), obs=theta)

    def learning_rate(step):
        return args.learning_rate * 0.01 ** (step / args.num_steps)

    optim = numpyro.optim.ClippedAdam(learning_rate)
    svi = SVI(likelihood, lambda *data: None, optim, Trace_ELBO())
    init_key, rng_key = random.split(rng_key)

    @jax.jit
    def run(state):
        keys = random.split(rng_key, args.num_steps)
        return lax.scan(lambda s, key: svi.update(s, *simulate(key, args.batch_size)), state, keys)

    state, losses = run(svi.init(init_key, *simulate(rng_key, args.batch_size)))
    posterior = eqx.combine(svi.get_params(state)["posterior$params"], posterior)
    return posterior, np.asarray(losses) / args.batch_size


def calibrate(rng_key, posterior, args):
    """Ranks of the true parameters of new simulations, tested for uniformity by parameter."""
    data_key, draw_key = random.split(rng_key)
    theta, x = simulate(data_key, args.num_simulations)
    draws = jax.jit(lambda x: posterior(x).sample(draw_key, (args.num_draws,)))(x)
    ranks = rank_statistics(np.swapaxes(draws, 0, 1), np.asarray(theta))
    return {
        name: uniformity(column, args.num_draws)
        for name, column in zip(NAMES, ranks.T, strict=True)
    }


def main(args):
    keys = random.split(random.key(args.seed), 4)
    posterior, losses = train(keys[1], Posterior(keys[0], args.num_transforms), args)
    print(f"mean -log q(theta | x): {losses[0]:.3f} at first, {losses[-1]:.3f} at last")
    tests = calibrate(keys[2], posterior, args)
    print("ranks uniform?  p-value of chi-square, of the distribution function")
    for name, found in tests.items():
        print(f"  {name:10s} {found.chi_square_p_value:.3f}  {found.ecdf_p_value:.3f}")

    def guide(x, num_sets=1):
        with numpyro.plate("sets", num_sets):
            numpyro.sample("theta", posterior(x))

    columns, values = load_columns(NUM_VALUES, args.num_columns, args.seed)
    khats = {}
    print("columns of the wine table: mean of loc, scale, dof; k-hat")
    for column, x in zip(columns, values, strict=True):
        found = importance_resample(
            keys[3], model, guide, {}, 1000, num_proposals=args.num_proposals, args=(x[None],)
        )
        theta = np.asarray(found.samples["theta"])[:, 0]
        means = (theta[:, 0].mean(), *np.exp(theta[:, 1:]).mean(0))
        khats[column] = found.khat
        print(f"  {column:30s} " + " ".join(f"{m:6.2f}" for m in means) + f"  {found.khat:5.2f}")
    paths = []
    if args.output:
        output = Path(args.output)
        output.mkdir(parents=True, exist_ok=True)
        paths = [save_ranks(output / "ranks.png", tests)]
    return {"losses": losses, "tests": tests, "khats": khats, "paths": paths}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-transforms", type=int, default=2, help="layers of the flow")
    parser.add_argument("--num-steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=256, help="simulations a step")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--num-simulations", type=int, default=500, help="of the calibration")
    parser.add_argument("--num-draws", type=int, default=99, help="posterior draws of each")
    parser.add_argument("--num-columns", type=int, default=4, help="of the wine table")
    parser.add_argument("--num-proposals", type=int, default=2000, help="of importance weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", help="directory for the picture")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
