"""Time autoregressive networks: cached samples, densities, and a training step of both hosts.

Processor seconds of one thread. ``cached`` draws images with the cache; ``full`` is the time of one
full pass times the number of positions; ``floor`` that of the network at four neighbours in the
middle, with nothing kept or drawn, times a quarter of the number of positions; ``log_prob`` and
``network`` are one density and the pass of the network alone; ``step`` is a pass with its
gradients.

    OMP_NUM_THREADS=1 XLA_FLAGS=--xla_cpu_multi_thread_eigen=false \
        python tests/benchmarks/autoregressive.py --model pixel_cnn --host pyro
"""

import argparse
import math
import time

import numpy as np
from timing import interleaved

SIZES = {
    "pixel_cnn": {"hidden_dim": 16, "num_blocks": 7},
    "pixel_cnn_plus_plus": {"hidden_dim": 16, "num_blocks": 2},
    "image_gpt": {"hidden_dim": 64, "num_blocks": 4},
    "made": {"hidden_dims": (500,)},
}


def seconds(call, repeats: int) -> float:
    """The least time of several calls, after one that may compile."""
    call()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


def middle_of(sides) -> list[int]:
    """Four positions, of even and odd rows and columns."""
    start = (sides[0] // 2) * sides[1] + sides[1] // 2
    return [start, start + 1, start + sides[1], start + sides[1] + 1]


def run_pyro(args, sides) -> dict[str, float]:
    import torch

    from pyro_deepgen import distributions
    from pyro_deepgen.distributions.conditionals import BernoulliConditional

    torch.set_num_threads(1)
    torch.manual_seed(0)

    def build(sides):
        recipe = getattr(distributions, args.model)
        return recipe(sides, BernoulliConditional(), **SIZES[args.model])

    module, middle = build(sides), middle_of(sides)
    x = torch.bernoulli(torch.full((args.num_images, *sides), 0.2))
    inputs = x.reshape(-1, *module.network.grid_shape, 1)

    def without_graph(call):
        with torch.no_grad():
            return call()

    def step():
        module.zero_grad()
        module().log_prob(x).sum().backward()

    first = torch.zeros(args.num_images, 1)

    cache = module.network.init_cache(args.num_images)

    def positions():
        for index in middle:
            module.network.step(cache, first, index)

    return {
        "cached": seconds(lambda: module().sample((args.num_images,)), 2),
        **interleaved(
            {
                "network": lambda: without_graph(lambda: module.network(inputs)),
                "log_prob": lambda: without_graph(lambda: module().log_prob(x)),
            }
        ),
        "floor": seconds(lambda: without_graph(positions), 50) * math.prod(sides) / 4,
        "step": seconds(step, 3),
    }


def run_numpyro(args, sides) -> dict[str, float]:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from numpyro_deepgen import distributions
    from numpyro_deepgen.distributions.conditionals import BernoulliConditional

    key, count = jax.random.key(0), math.prod(sides)

    def build(sides):
        recipe = getattr(distributions, args.model)
        return recipe(key, sides, BernoulliConditional(), **SIZES[args.model])

    module, middle = build(sides), middle_of(sides)
    x = jnp.asarray(np.random.default_rng(0).random((args.num_images, *sides)) < 0.2, float)
    inputs = x.reshape(-1, *module.network.grid_shape, 1)
    first = jnp.zeros((args.num_images, 1))

    @eqx.filter_jit
    def positions(network):
        # each takes what the one before it gave, so that none is left out
        def visit(previous, index):
            params, _ = network.step(cache, previous, index)
            return params[:, :1], None

        cache = network.init_cache(args.num_images)

        return jax.lax.scan(visit, first, jnp.resize(jnp.array(middle), count))[0]

    network = eqx.filter_jit(lambda network, x: network(x))
    log_prob = eqx.filter_jit(lambda module, x: module().log_prob(x))
    step = eqx.filter_jit(eqx.filter_grad(lambda module, x: module().log_prob(x).sum()))
    sample = jax.jit(lambda d, key: d.sample(key, (args.num_images,)))
    ready = jax.block_until_ready
    return {
        "cached": seconds(lambda: ready(sample(module(), key)), 2),
        **interleaved(
            {
                "network": lambda: ready(network(module.network, inputs)),
                "log_prob": lambda: ready(log_prob(module, x)),
            }
        ),
        "floor": seconds(lambda: ready(positions(module.network)), 3),
        "step": seconds(lambda: ready(jax.tree.leaves(step(module, x))), 3),
    }


def main(args):
    sides = (args.side, args.side)
    found = (run_pyro if args.host == "pyro" else run_numpyro)(args, sides)
    found["full"] = found["network"] * math.prod(sides)
    for name, value in found.items():
        print(f"{args.host} {args.model} {name}: {value:.4g} s")
    print(
        f"full / cached {found['full'] / found['cached']:.1f}, cached / floor "
        f"{found['cached'] / found['floor']:.2f}, log_prob / network "
        f"{found['log_prob'] / found['network']:.3f}"
    )
    return found


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=tuple(SIZES), default="pixel_cnn")
    parser.add_argument("--host", choices=("pyro", "numpyro"), default="pyro")
    parser.add_argument("--num-images", type=int, default=100)
    parser.add_argument("--side", type=int, default=28)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
