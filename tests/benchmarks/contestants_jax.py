"""Flows of one size in JAX: ours, flowjax's, NumPyro's own, and the bare networks.

A contestant is a tree of arrays with pure functions of it: ``log_prob(params, x)`` and
``joint(params, rng_key, n)``, samples with their log-densities.
"""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import flowjax.bijections
import flowjax.distributions
import flowjax.flows
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import numpyro.nn
import optax
import paramax
from jax import Array

from numpyro_deepgen.distributions import iaf, maf, nsf, realnvp

HIDDEN, LAYERS, BINS, BOUND, BATCH = (64, 64), 5, 8, 5.0, 1024
FAMILIES = ("MAF", "IAF", "NSF-AR", "RealNVP", "NSF-coupling")


@dataclass
class Contestant:
    params: object
    log_prob: Callable
    joint: Callable
    sample: Callable


def ours(family: str, dim: int, num_transforms: int = LAYERS) -> Contestant:
    key = jax.random.key(0)
    settings = {"num_transforms": num_transforms, "hidden_dims": HIDDEN, "activation": "relu"}
    spline = {"num_bins": BINS, "bound": BOUND}
    flow = {
        "MAF": lambda: maf(key, dim, **settings),
        "IAF": lambda: iaf(key, dim, **settings),
        "NSF-AR": lambda: nsf(key, dim, **settings, **spline, kind="autoregressive"),
        "RealNVP": lambda: realnvp(key, dim, **settings),
        "NSF-coupling": lambda: nsf(key, dim, **settings, **spline),
    }[family]()
    params, static = eqx.partition(flow, eqx.is_inexact_array)

    def density(params):
        return eqx.combine(params, static)()

    def joint(params, rng_key, n):
        x, [log_prob] = density(params).sample_with_intermediates(rng_key, (n,))
        return x, log_prob

    return Contestant(
        params,
        lambda params, x: density(params).log_prob(x),
        joint,
        lambda params, rng_key, n: density(params).sample(rng_key, (n,)),
    )


def of_flowjax(family: str, dim: int) -> Contestant:
    if family in ("RealNVP", "NSF-coupling") and dim < 2:
        raise ValueError("couplings of this library need two inputs")
    make = flowjax.flows.coupling_flow
    if family in ("MAF", "IAF", "NSF-AR"):
        make = flowjax.flows.masked_autoregressive_flow
    transformer = None
    if family.startswith("NSF"):
        transformer = flowjax.bijections.RationalQuadraticSpline(knots=BINS, interval=BOUND)
    flow = make(
        jax.random.key(0),
        base_dist=flowjax.distributions.Normal(jnp.zeros(dim)),
        transformer=transformer,
        flow_layers=LAYERS,
        nn_width=HIDDEN[0],
        nn_depth=len(HIDDEN),
        nn_activation=jax.nn.relu,
        invert=family != "IAF",
    )
    params, static = eqx.partition(
        flow, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable)
    )

    def density(params):
        return paramax.unwrap(eqx.combine(params, static))

    return Contestant(
        params,
        lambda params, x: density(params).log_prob(x),
        lambda params, rng_key, n: density(params).sample_and_log_prob(rng_key, (n,)),
        lambda params, rng_key, n: density(params).sample(rng_key, (n,)),
    )


def of_numpyro(family: str, dim: int) -> Contestant:
    if family not in ("MAF", "IAF"):
        raise ValueError("the host has no such flow")
    init, apply = numpyro.nn.AutoregressiveNN(
        dim, list(HIDDEN), nonlinearity=jax.example_libraries.stax.Relu
    )
    keys = jax.random.split(jax.random.key(0), LAYERS)
    params = [init(key, (dim,))[1] for key in keys]

    def density(params):
        chain = []
        for layer in params:
            step = dist.flows.InverseAutoregressiveTransform(lambda x, layer=layer: apply(layer, x))
            chain.append(step.inv if family == "MAF" else step)
            chain.append(dist.transforms.PermuteTransform(jnp.arange(dim)[::-1]))
        return dist.TransformedDistribution(dist.Normal(jnp.zeros(dim), 1.0).to_event(1), chain)

    def joint(params, rng_key, n):
        made = density(params)
        x, intermediates = made.sample_with_intermediates(rng_key, (n,))
        return x, made.log_prob(x, intermediates)

    return Contestant(
        params,
        lambda params, x: density(params).log_prob(x),
        joint,
        lambda params, rng_key, n: density(params).sample(rng_key, (n,)),
    )


def floor(family: str, dim: int) -> Contestant:
    """Return the networks alone: matrix products, biases and activations, no masks."""
    num_params = 3 * BINS - 1 if family.startswith("NSF") else 2
    coupling = family in ("RealNVP", "NSF-coupling")
    num_inputs = dim - dim // 2 if coupling else dim
    num_outputs = num_params * (dim // 2 if coupling else dim)
    sizes = [num_inputs, *HIDDEN, num_outputs]
    keys = iter(jax.random.split(jax.random.key(0), LAYERS * len(sizes)))
    params = [
        [
            (jax.random.normal(next(keys), (other, one)) / one**0.5, jnp.zeros(other))
            for one, other in zip(sizes[:-1], sizes[1:], strict=True)
        ]
        for _ in range(LAYERS)
    ]

    def log_prob(params, x):
        x, total = x[..., :num_inputs], 0.0
        for *hidden, (weight, bias) in params:
            h = x
            for hidden_weight, hidden_bias in hidden:
                h = jax.nn.relu(h @ hidden_weight.T + hidden_bias)
            total = total + jnp.square(h @ weight.T + bias).sum(-1)
        return total

    def joint(params, rng_key, n):
        x = jax.random.normal(rng_key, (n, dim))
        return x, log_prob(params, x)

    return Contestant(
        params, log_prob, joint, lambda params, rng_key, n: joint(params, rng_key, n)[1]
    )


LIBRARIES = {"floor": floor, "ours": ours, "flowjax": of_flowjax, "numpyro": of_numpyro}


def train_step(family: str, entry: Contestant) -> tuple[Callable, optax.OptState]:
    optimizer = optax.adam(1e-4)

    def loss(params, rng_key, x):
        if family == "IAF":
            # reverse Kullback-Leibler divergence: the cheap direction of this flow
            return entry.joint(params, rng_key, x.shape[0])[1].mean()
        return -entry.log_prob(params, x).mean()

    def step(params, state, rng_key, x):
        gradient = jax.grad(loss)(params, rng_key, x)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state

    return jax.jit(step, donate_argnums=(0, 1)), optimizer.init(entry.params)


def perturbed(params, rng_key: Array):
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(rng_key, len(leaves))
    moved = [x + 0.05 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(treedef, moved)


def operations(library: str, family: str, dim: int, device: str) -> dict[str, Callable]:
    """Return what is timed: log_prob, train, sample and joint, on trained-like weights."""
    entry = LIBRARIES[library](family, dim)
    entry.params = perturbed(entry.params, jax.random.key(1))
    rng_key, x = jax.random.key(2), jax.random.normal(jax.random.key(3), (BATCH, dim))
    log_prob = jax.jit(entry.log_prob)
    joint = jax.jit(entry.joint, static_argnums=2)
    sample = jax.jit(entry.sample, static_argnums=2)
    step, state = train_step(family, entry)
    # the step takes its arguments' memory
    held = [jax.tree.map(jnp.copy, entry.params), state]

    def train():
        held[:] = step(*held, rng_key, x)
        jax.block_until_ready(held)

    return {
        "log_prob": lambda: jax.block_until_ready(log_prob(entry.params, x)),
        "train": train,
        "sample": lambda: jax.block_until_ready(sample(entry.params, rng_key, BATCH)),
        "joint": lambda: jax.block_until_ready(joint(entry.params, rng_key, BATCH)),
    }


def num_parameters(library: str, family: str, dim: int) -> int:
    return sum(x.size for x in jax.tree.leaves(LIBRARIES[library](family, dim).params))


def compile_train_step(family: str, dim: int, num_transforms: int) -> Callable[[], object]:
    """Return a call that traces and compiles a training step of our flow, from nothing."""
    entry = ours(family, dim, num_transforms)
    rng_key, x = jax.random.key(2), jnp.zeros((BATCH, dim))

    def call():
        jax.clear_caches()
        step, state = train_step(family, entry)
        return step.lower(entry.params, state, rng_key, x).compile()

    return call
