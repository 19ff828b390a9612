"""A trained flow carries MCMC between the modes of a posterior (NumPyro).

The petal lengths of scikit-learn's irises are a mixture of two normals whose labels may be swapped:
the posterior has two modes of equal mass. NUTS stays in the one where it starts. A flow trained by
SVI, started by annealing, has both; its proposals, in turns with NUTS, make the chain visit both.

    python examples/flow_mcmc_numpyro.py
"""

import argparse

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import random
from numpyro.infer import MCMC, NUTS
from sklearn.datasets import load_iris

from numpyro_deepgen.distributions import nsf
from numpyro_deepgen.infer import AutoFlow, FlowIndependence, fit


def model(lengths):
    loc = numpyro.sample("loc", dist.Normal(4.0, 3.0).expand([2]).to_event(1))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    first = numpyro.sample("first", dist.Beta(2.0, 2.0))
    with numpyro.plate("flowers", len(lengths)):
        weights = jnp.stack([first, 1.0 - first], -1)
        components = dist.Normal(loc, scale[..., None])
        mixture = dist.MixtureSameFamily(dist.Categorical(weights), components)
        numpyro.sample("length", mixture, obs=lengths)


def main(args):
    lengths = jnp.asarray(load_iris().data[:: args.every, 2], float)
    keys = random.split(random.key(args.seed), 3)
    options = {"num_warmup": args.num_warmup, "num_samples": args.num_samples}
    options |= {"num_chains": args.num_chains, "chain_method": "vectorized", "progress_bar": False}

    alone = MCMC(NUTS(model), **options)
    alone.run(keys[0], lengths)

    guide = AutoFlow(model, nsf)
    trained = fit(
        keys[1], model, guide, args.num_steps, args=(lengths,), learning_rate=5e-3, progress=False
    )
    kernel = FlowIndependence(guide, trained.params, NUTS(model))
    together = MCMC(kernel, **options)
    together.run(keys[2], lengths, extra_fields=("accept_prob",))
    together.print_summary()

    results = {"NUTS": swapped(alone), "NUTS and flow": swapped(together)}
    accepted = float(together.get_extra_fields()["accept_prob"].mean())
    print(f"start of the flow: {guide.init_report.chosen}; proposals accepted: {accepted:.0%}")
    for name, share in results.items():
        print(f"{name}: share of draws with the first normal to the left, by chain: {share}")
    return results | {"accepted": accepted}


def swapped(mcmc) -> np.ndarray:
    """Share of the draws of each chain in which the first normal is the left one."""
    loc = np.asarray(mcmc.get_samples(group_by_chain=True)["loc"])
    return (loc[..., 0] < loc[..., 1]).mean(1)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-steps", type=int, default=1000, help="of the training of the flow")
    parser.add_argument("--num-warmup", type=int, default=300)
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument("--num-chains", type=int, default=2)
    parser.add_argument("--every", type=int, default=3, help="take each such row of the data")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
