"""Amortised inference from simulations, checked by simulation-based calibration (Pyro).

The guide ``flow(encoder(x))`` gives the posterior of location, scale and tail index of Student's t
for any sample of thirty values. It is trained on draws of the prior predictive distribution alone
(neural posterior estimation): maximum likelihood of the parameters given the simulated data, which
is SVI with the parameters observed and an empty guide. Whether its posteriors are calibrated is
tested on new simulations: the rank of the true parameters among posterior draws is uniform (Talts
et al. 2018). Then it is used on real data, columns of the wine table, where importance weights
against the model show how good it is.

    python examples/amortized_inference_pyro.py --output results
"""

import argparse
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from tables import load_columns, save_ranks

from pyro_deepgen.distributions import nsf
from pyro_deepgen.infer import importance_resample, rank_statistics, uniformity
from pyro_deepgen.nn import Dense

NAMES = ("loc", "log scale", "log dof")
NUM_VALUES = 30


def model(x=None, num_sets=1):
    """Data sets in a plate, each with its own three parameters."""
    with pyro.plate("sets", num_sets):
        prior = dist.Normal(torch.tensor([0.0, 0.0, 1.5]), torch.tensor([1.0, 0.5, 0.7]))
        theta = pyro.sample("theta", prior.to_event(1))
        loc, scale, dof = (part.unsqueeze(-1) for part in theta.unbind(-1))
        values = dist.StudentT(dof.exp(), loc, scale.exp()).expand(theta.shape[:-1] + (NUM_VALUES,))
        return theta, pyro.sample("x", values.to_event(1), obs=x)


class Posterior(torch.nn.Module):
    """The flow of the parameters given an encoding of the sorted values."""

    def __init__(self, num_transforms):
        super().__init__()
        self.encoder = Dense(NUM_VALUES, 16, hidden_dims=(64, 64))
        self.flow = nsf(3, num_transforms=num_transforms, context_dim=16)

    def forward(self, x):
        # far values are drawn in
        return self.flow(self.encoder(x.sort(-1).values.arcsinh()))


def simulate(num_sets):
    with torch.no_grad(), pyro.poutine.block():
        return model(num_sets=num_sets)


def train(posterior, args):
    def likelihood(theta, x):
        pyro.module("posterior", posterior)
        with pyro.plate("sets", len(x)):
            pyro.sample("theta", posterior(x), obs=theta)

    decay = 0.01 ** (1 / args.num_steps)
    optim = pyro.optim.ClippedAdam({"lr": args.learning_rate, "lrd": decay})
    svi = SVI(likelihood, lambda *data: None, optim, Trace_ELBO())
    return [svi.step(*simulate(args.batch_size)) / args.batch_size for _ in range(args.num_steps)]


def calibrate(posterior, args):
    """Ranks of the true parameters of new simulations, tested for uniformity by parameter."""
    theta, x = simulate(args.num_simulations)
    with torch.no_grad():
        draws = posterior(x).sample((args.num_draws,)).transpose(0, 1)
    ranks = rank_statistics(draws.numpy(), theta.numpy())
    return {
        name: uniformity(column, args.num_draws)
        for name, column in zip(NAMES, ranks.T, strict=True)
    }


def main(args):
    pyro.clear_param_store()
    pyro.set_rng_seed(args.seed)
    posterior = Posterior(args.num_transforms)
    losses = train(posterior, args)
    print(f"mean -log q(theta | x): {losses[0]:.3f} at first, {losses[-1]:.3f} at last")
    tests = calibrate(posterior, args)
    print("ranks uniform?  p-value of chi-square, of the distribution function")
    for name, found in tests.items():
        print(f"  {name:10s} {found.chi_square_p_value:.3f}  {found.ecdf_p_value:.3f}")

    def guide(x, num_sets=1):
        with pyro.plate("sets", num_sets):
            pyro.sample("theta", posterior(x))

    columns, values = load_columns(NUM_VALUES, args.num_columns, args.seed)
    khats = {}
    print("columns of the wine table: mean of loc, scale, dof; k-hat")
    for column, x in zip(columns, torch.from_numpy(values), strict=True):
        found = importance_resample(
            model, guide, 1000, num_proposals=args.num_proposals, args=(x.unsqueeze(0),)
        )
        theta = found.samples["theta"].squeeze(1)
        means = (theta[:, 0].mean(), *theta[:, 1:].exp().mean(0))
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
