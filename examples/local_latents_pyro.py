"""Regression with a latent weight of each row, trained on minibatches (Pyro).

The progression of diabetes in 442 patients is linear in ten covariates, with noise whose precision
is the patient's own,

    y_n ~ Normal(x_n w + b, scale / sqrt(tau_n)),    tau_n ~ Gamma(dof / 2, dof / 2).

``AutoFlow(local=LocalFlow())`` puts a flow over the global variables and an encoder of each row,
with a conditional flow, over its weight; a step sees one minibatch. The weights can be summed out
by hand, which gives Student's t, so the price of guiding them is known: the difference of the two
bounds on the evidence.

    python examples/local_latents_pyro.py --output results
"""

import argparse
from functools import partial
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from tables import load_diabetes, save_weights

from pyro_deepgen.distributions import iaf
from pyro_deepgen.infer import AutoFlow, LocalFlow


def global_variables(num_covariates):
    weights = pyro.sample("weights", dist.Normal(torch.zeros(num_covariates), 1.0).to_event(1))
    bias = pyro.sample("bias", dist.Normal(0.0, 1.0))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    return weights, bias, scale, pyro.sample("dof", dist.Gamma(2.0, 0.2))


def model(x, y, size=None):
    weights, bias, scale, dof = global_variables(x.shape[-1])
    with pyro.plate("patients", len(x), subsample_size=size) as index:
        tau = pyro.sample("tau", dist.Gamma(dof / 2, dof / 2))
        loc = x[index] @ weights + bias
        pyro.sample("y", dist.Normal(loc, scale * tau.rsqrt()), obs=y[index])


def collapsed_model(x, y):
    """The same model, the weights of the patients integrated out."""
    weights, bias, scale, dof = global_variables(x.shape[-1])
    with pyro.plate("patients", len(x)):
        pyro.sample("y", dist.StudentT(dof, x @ weights + bias, scale), obs=y)


def train(model, guide, args, *data):
    decay = 0.01 ** (1 / args.num_steps)
    optim = pyro.optim.ClippedAdam({"lr": args.learning_rate, "lrd": decay})
    svi = SVI(model, guide, optim, Trace_ELBO(args.num_particles))
    return [svi.step(*data) for _ in range(args.num_steps)]


@torch.no_grad()
def bound(model, guide, num_draws, *data):
    """The evidence lower bound on all rows."""
    return -Trace_ELBO(num_draws).loss(model, guide, *data)


def main(args):
    pyro.clear_param_store()
    pyro.set_rng_seed(args.seed)
    x, y = map(torch.from_numpy, load_diabetes())
    flow = partial(iaf, num_transforms=2, hidden_dims=(32,))
    guide = AutoFlow(model, flow, local=LocalFlow(flow=flow))
    losses = train(model, guide, args, x, y, args.batch_size)
    collapsed = AutoFlow(collapsed_model, flow)
    pyro.clear_param_store()
    train(collapsed_model, collapsed, args, x, y)
    bounds = {
        "with a weight of each patient": bound(model, guide, args.num_draws, x, y),
        "weights integrated out": bound(collapsed_model, collapsed, args.num_draws, x, y),
    }
    for name, value in bounds.items():
        print(f"evidence lower bound, {name}: {value:.2f}")
    tau = guide.quantiles([0.05, 0.5, 0.95], x, y)["tau"].numpy()
    draws = guide.sample_posterior((1000,), x, y)
    residuals = (y - x @ draws["weights"].mean(0) - draws["bias"].mean()) / draws["scale"].mean()
    residuals = residuals.numpy()
    print("patients with the least weight: residual in scales, median weight")
    for row in tau[1].argsort()[:5]:
        print(f"  {row:4d}  {residuals[row]:6.2f}  {tau[1, row]:.2f}")
    paths = []
    if args.output:
        output = Path(args.output)
        output.mkdir(parents=True, exist_ok=True)
        paths = [save_weights(output / "weights.png", residuals, tau)]
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
