"""A trained flow carries MCMC between the modes of a posterior (Pyro).

The petal lengths of scikit-learn's irises are a mixture of two normals whose labels may be swapped:
the posterior has two modes of equal mass. NUTS stays in the one where it starts. A flow trained by
SVI, started by annealing, has both; its proposals, in turns with NUTS, make the chain visit both.

    python examples/flow_mcmc_pyro.py
"""

import argparse

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS
from sklearn.datasets import load_iris

from pyro_deepgen.distributions import nsf
from pyro_deepgen.infer import AutoFlow, FlowIndependence, fit


def model(lengths):
    loc = pyro.sample("loc", dist.Normal(4.0, 3.0).expand([2]).to_event(1))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    first = pyro.sample("first", dist.Beta(2.0, 2.0))
    with pyro.plate("flowers", len(lengths)):
        weights = torch.stack([first, 1.0 - first], -1)
        components = dist.Normal(loc, scale.unsqueeze(-1))
        mixture = dist.MixtureSameFamily(dist.Categorical(weights), components)
        pyro.sample("length", mixture, obs=lengths)


def main(args):
    lengths = torch.tensor(load_iris().data[:: args.every, 2], dtype=torch.get_default_dtype())
    pyro.set_rng_seed(args.seed)
    pyro.clear_param_store()

    alone = run_chains(lambda: NUTS(model), lengths, args)

    guide = AutoFlow(model, nsf)
    fit(model, guide, args.num_steps, args=(lengths,), learning_rate=5e-3, progress=False)
    together = run_chains(lambda: FlowIndependence(guide, NUTS(model)), lengths, args)
    together[-1].summary()

    results = {"NUTS": swapped(alone), "NUTS and flow": swapped(together)}
    found = [mcmc.diagnostics()["proposal acceptance rate"]["chain 0"] for mcmc in together]
    accepted = float(np.mean(found))
    print(f"start of the flow: {guide.init_report.chosen}; proposals accepted: {accepted:.0%}")
    for name, share in results.items():
        print(f"{name}: share of draws with the first normal to the left, by chain: {share}")
    return results | {"accepted": accepted}


def run_chains(make_kernel, lengths, args) -> list:
    """Chains one after the other, each with a kernel of its own."""
    chains = []
    for _ in range(args.num_chains):
        mcmc = MCMC(make_kernel(), args.num_samples, args.num_warmup, disable_progbar=True)
        mcmc.run(lengths)
        chains.append(mcmc)
    return chains


def swapped(chains: list) -> np.ndarray:
    """Share of the draws of each chain in which the first normal is the left one."""
    draws = [mcmc.get_samples()["loc"].numpy() for mcmc in chains]
    return np.array([(loc[:, 0] < loc[:, 1]).mean() for loc in draws])


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-steps", type=int, default=1000, help="of the training of the flow")
    parser.add_argument("--num-warmup", type=int, default=200)
    parser.add_argument("--num-samples", type=int, default=300)
    parser.add_argument("--num-chains", type=int, default=2)
    parser.add_argument("--every", type=int, default=3, help="take each such row of the data")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
