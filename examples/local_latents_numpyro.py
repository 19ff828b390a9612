"""Regression with a latent weight of each row, trained on minibatches (NumPyro).

The progression of diabetes in 442 patients is linear in ten covariates, with noise whose precision
is the patient's own,

    y_n ~ Normal(x_n w + b, scale / sqrt(tau_n)),    tau_n ~ Gamma(dof / 2, dof / 2).

``AutoFlow(local=LocalFlow())`` puts a flow over the global variables and an encoder of each row,
with a conditional flow, over its weight; a step sees one minibatch. The weights can be summed out
by hand, which gives Student's t, so the price of guiding them is known: the difference of the two
bounds on the evidence.

    python examples/local_latents_numpyro.py --output results
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import lax
from numpyro.infer import SVI, Trace_ELBO
from tables import load_diabetes, save_weights

from numpyro_deepgen.distributions import iaf
from numpyro_deepgen.infer import AutoFlow, LocalFlow


def global_variables(num_covariates):
    weights = numpyro.sample("weights", dist.Normal(jnp.zeros(num_covariates), 1.0).to_event(1))
    bias = numpyro.sample("bias", dist.Normal(0.0, 1.0))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    return weights, bias, scale, numpyro.sample("dof", dist.Gamma(2.0, 0.2))


def model(x, y, size=None):
    weights, bias, scale, dof = global_variables(x.shape[-1])
    with numpyro.plate("patients", len(x), subsample_size=size) as index:
        tau = numpyro.sample("tau", dist.Gamma(dof / 2, dof / 2))
        loc = x[index] @ weights + bias
        numpyro.sample("y", dist.Normal(loc, scale * lax.rsqrt(tau)), obs=y[index])


def collapsed_model(x, y):
    """The same model, the weights of the patients integrated out."""
    weights, bias, scale, dof = global_variables(x.shape[-1])
    with numpyro.plate("patients", len(x)):
        numpyro.sample("y", dist.StudentT(dof, x @ weights + bias, scale), obs=y)


def train(rng_key, model, guide, args, *data, **static):
    def learning_rate(step):
        return args.learning_rate * 0.01 ** (step / args.num_steps)

    optim = numpyro.optim.ClippedAdam(learning_rate)
    svi = SVI(model, guide, optim, Trace_ELBO(args.num_particles), **static)
    return svi.run(rng_key, args.num_steps, *data, progress_bar=False)


def bound(rng_key, model, guide, params, num_draws, *data):
    """The evidence lower bound on all rows."""
    loss = jax.jit(lambda key: Trace_ELBO(num_draws).loss(key, params, model, guide, *data))
    return -float(loss(rng_key))


def main(args):
    keys = jax.random.split(jax.random.key(args.seed), 5)
    x, y = map(jnp.asarray, load_diabetes())
    flow = partial(iaf, num_transforms=2, hidden_dims=(32,))
    guide = AutoFlow(model, flow, local=LocalFlow(flow=flow))
    result = train(keys[0], model, guide, args, x, y, size=args.batch_size)
    collapsed = AutoFlow(collapsed_model, flow)
    other = train(keys[1], collapsed_model, collapsed, args, x, y).params
    num_draws, params = args.num_draws, result.params
    bounds = {
        "with a weight of each patient": bound(keys[2], model, guide, params, num_draws, x, y),
        "weights integrated out": bound(
            keys[3], collapsed_model, collapsed, other, num_draws, x, y
        ),
    }
    for name, value in bounds.items():
        print(f"evidence lower bound, {name}: {value:.2f}")
    tau = np.asarray(guide.quantiles(params, [0.05, 0.5, 0.95], x, y)["tau"])
    draws = guide.sample_posterior(keys[4], params, x, y, sample_shape=(1000,))
    residuals = (y - x @ draws["weights"].mean(0) - draws["bias"].mean()) / draws["scale"].mean()
    residuals = np.asarray(residuals)
    print("patients with the least weight: residual in scales, median weight")
    for row in tau[1].argsort()[:5]:
        print(f"  {row:4d}  {residuals[row]:6.2f}  {tau[1, row]:.2f}")
    paths = []
    if args.output:
        output = Path(args.output)
        output.mkdir(parents=True, exist_ok=True)
        paths = [save_weights(output / "weights.png", residuals, tau)]
    losses = np.asarray(result.losses)
    return {"losses": losses, "bounds": bounds, "tau": tau, "residuals": residuals, "paths": paths}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=64, help="patients a step")
    parser.add_argument("--num-particles", type=int, default=1)
    parser.add_argument("--num-draws", type=int, default=200, help="draws of the bounds")
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", help="directory for the picture")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
