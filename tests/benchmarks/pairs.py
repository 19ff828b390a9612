"""Time a training step of a variational auto-encoder against the framework alone.

The floor is the same networks, bound and Adam written by hand: 784-200-200-50 and back, tanh, bits,
batches of 100, float32, one thread, processor time, medians of interleaved rounds; or two strided
convolutions of 32 and 64 channels and back. Needs nothing but the hosts.

    python tests/benchmarks/pairs.py torch
    python tests/benchmarks/pairs.py jax
"""

import argparse
import os

import numpy as np
from timing import interleaved

SHAPES = {"dense": (784,), "convolutional": (1, 28, 28)}
HIDDEN = {"dense": (200, 200), "convolutional": (32, 64)}
BATCH, LATENT = 100, 50
# of one call, as training takes many: on JAX they are one compiled loop
STEPS = {
    "torch": {"dense": 20, "convolutional": 1},
    "jax": {"dense": 100, "convolutional": 3},
}


def main(args):
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    contest = {"torch": torch_steps, "jax": jax_steps}[args.backend]
    print("| network | by hand | SVI | fit, minibatches cut |\n|---|---|---|---|")
    for network in args.networks:
        seconds = interleaved(contest(network), args.rounds)
        floor = seconds["by hand"]
        steps = STEPS[args.backend][network]
        ratios = " | ".join(f"{seconds[name] / floor:.2f}" for name in ("SVI", "fit"))
        print(f"| {network} | {1e3 * floor / steps:.2f} ms | {ratios} |", flush=True)


def _data(network: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.uniform(size=(10 * BATCH, *SHAPES[network])) < 0.15).astype(np.float32)


def torch_steps(network: str) -> dict:
    """Steps of each kind; each ends when its work is done."""
    import pyro
    import torch
    from pyro.infer import SVI, Trace_ELBO

    from pyro_deepgen.infer.training.settings import FitSettings
    from pyro_deepgen.infer.training.trainer import SVITrainer
    from pyro_deepgen.models import vae

    torch.set_num_threads(1)
    x = torch.as_tensor(_data(network))
    batch, size = x[:BATCH], len(x)

    def pair(name):
        return vae(SHAPES[network], LATENT, HIDDEN[network], network=network, name=name)

    raw = pair("raw")
    optimizer = torch.optim.Adam(raw.parameters(), 1e-3)

    def by_hand():
        optimizer.zero_grad()
        loc, raw_scale = raw.encoder.features(batch).unflatten(-1, (LATENT, 2)).unbind(-1)
        scale = torch.nn.functional.softplus(raw_scale)
        noise = torch.randn_like(loc)
        z = loc + scale * noise
        logits = raw.decoder.features(z).reshape(batch.shape)
        likelihood = -torch.nn.functional.binary_cross_entropy_with_logits(
            logits, batch, reduction="sum"
        )
        # log p(z) - log q(z), the constants cancel
        rest = (scale.log() + 0.5 * (noise.square() - z.square())).sum()
        loss = -(likelihood + rest) * size / BATCH
        loss.backward()
        optimizer.step()
        return loss.item()

    pyro.clear_param_store()
    hosted = pair("hosted")
    svi = SVI(hosted.model, hosted.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    fitted = pair("fitted")
    trainer = _trainer(SVITrainer, FitSettings, fitted, x, Trace_ELBO())
    steps = STEPS["torch"][network]

    def fit():
        trainer.advance(np.full(steps, 1e-3), np.zeros(steps), [], lambda: False)

    return {
        "by hand": repeated(by_hand, steps),
        "SVI": repeated(lambda: svi.step(batch, size=size), steps),
        "fit": fit,
    }


def jax_steps(network: str) -> dict:
    """Several steps of each kind."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpyro
    import optax
    from jax import random
    from numpyro.infer import SVI, Trace_ELBO

    from numpyro_deepgen.infer.training.settings import FitSettings
    from numpyro_deepgen.infer.training.trainer import SVITrainer
    from numpyro_deepgen.models import vae

    x = jnp.asarray(_data(network))
    batch, size, key = x[:BATCH], len(x), random.key(0)
    pair = vae(key, SHAPES[network], LATENT, HIDDEN[network], network=network)
    params, static = eqx.partition((pair.encoder, pair.decoder), eqx.is_inexact_array)
    optimizer = optax.adam(1e-3)

    def loss(params, key):
        encoder, decoder = eqx.combine(params, static)
        features = encoder.features(batch).reshape(BATCH, LATENT, 2)
        loc, scale = features[..., 0], jax.nn.softplus(features[..., 1])
        noise = random.normal(key, loc.shape)
        z = loc + scale * noise
        logits = decoder.features(z).reshape(batch.shape)
        likelihood = -optax.sigmoid_binary_cross_entropy(logits, batch).sum()
        rest = (jnp.log(scale) + 0.5 * (noise**2 - z**2)).sum()
        return -(likelihood + rest) * size / BATCH

    @jax.jit
    def by_hand(carry):
        params, state, key = carry
        key, use = random.split(key)
        gradient = jax.grad(loss)(params, use)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, key

    raw = [(params, optimizer.init(params), key)]
    svi = SVI(pair.model, pair.guide, numpyro.optim.Adam(1e-3), Trace_ELBO())
    update = jax.jit(lambda state: svi.update(state, batch, size=size)[0])
    hosted = [svi.init(key, batch, size=size)]
    trainer = _trainer(SVITrainer, FitSettings, pair, x, Trace_ELBO(), key)

    def stepping(function, held):
        def step():
            held[0] = jax.block_until_ready(function(held[0]))

        return step

    steps = STEPS["jax"][network]

    def fit():
        trainer.advance(np.full(steps, 1e-3), np.zeros(steps), [], lambda: False)

    return {
        "by hand": repeated(stepping(by_hand, raw), steps),
        "SVI": repeated(stepping(update, hosted), steps),
        "fit": fit,
    }


def repeated(call, steps: int):
    """A function that calls several times."""

    def run():
        for _ in range(steps):
            call()

    return run


def _trainer(trainer, settings, pair, x, loss, *first):
    options = settings(
        num_steps=10**6,
        learning_rate=1e-3,
        decay="constant",
        clip_norm=None,
        patience=None,
        evaluate_every=STEPS["jax"]["dense"],
        keep="last",
        average=None,
        batch_size=BATCH,
        skip_norm=None,
        aggressive_steps=0,
        checkpoint=None,
        checkpoint_every=1000,
        resume=False,
        progress=False,
    )
    arguments = ((x,), {"size": len(x)})
    return trainer(*first, pair.model, pair.guide, arguments, None, loss, None, options)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backend", choices=("torch", "jax"))
    parser.add_argument("--networks", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
