"""Train vector-quantised auto-encoders on grey images (NumPyro).

The bound is that of the codes with their learned prior: independent codes at first, and with
`--priors pixel_cnn` a gated PixelCNN of each level of codes, the lower given the vectors of the
upper, trained after the pair (Razavi, van den Oord & Vinyals 2019). Codebooks start at vectors of
training images. With `--checkpoint` a run that was cut goes on.

    python examples/vq_vae_numpyro.py --model vq-vae-2 --priors pixel_cnn --output results
"""

import argparse
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro
from images import load_images, save_curve, save_pictures
from jax import random
from numpyro.contrib.module import eqx_module
from numpyro.infer import Trace_ELBO

from numpyro_deepgen import io
from numpyro_deepgen.distributions import gated_pixel_cnn
from numpyro_deepgen.distributions.conditionals import (
    CategoricalConditional,
    DiscretizedLogisticConditional,
)
from numpyro_deepgen.infer import BetaELBO, fit
from numpyro_deepgen.models import VQVAE, VQVAE2

MODELS = ("vq-vae", "vq-vae-2")


def shaped(images, rows, args):
    """Images with a channel."""
    return images.shaped(rows, True)


def build(rng_key, images, args):
    """The pair of a model's name, its codebooks at vectors of training images."""
    shape, limits = shaped(images, images.train, args).shape[1:], (0, images.num_levels - 1)
    options = {"codebook_decay": args.codebook_decay}
    if images.num_levels > 2:
        options["conditional"] = DiscretizedLogisticConditional(*limits)
        options["input_range"] = limits
    kind = VQVAE if args.model == "vq-vae" else VQVAE2
    sizes = (args.num_codes, args.code_dim, args.channels, args.halvings)
    pair = kind(rng_key, shape, *sizes, **options)
    some = jnp.asarray(shaped(images, images.train[:500], args))
    return pair.restart_dead_codes(rng_key, some, min_usage=len(some) ** 2)


def guide(*args, **kwargs):
    """No latent variables: the evidence lower bound is the log-likelihood."""


def train(rng_key, model, guide, loss, parts, num_epochs, args, stage=""):
    """Train on the first of two tuples of arrays, keeping the parameters best on the second."""
    sizes = [len(part[0]) for part in parts]
    steps_per_epoch = sizes[0] // args.batch_size
    return fit(
        rng_key,
        model,
        guide,
        num_epochs * steps_per_epoch,
        args=parts[0],
        kwargs={"size": sizes[0]},
        batch_size=args.batch_size,
        held_out_args=parts[1],
        held_out_kwargs={"size": sizes[1]},
        loss=loss,
        learning_rate=args.learning_rate,
        evaluate_every=args.eval_every * steps_per_epoch,
        checkpoint=args.checkpoint and args.checkpoint + stage,
        checkpoint_every=args.eval_every * steps_per_epoch,
        progress=not args.quiet,
    )


def pixel_cnns(rng_key, pair, x, args):
    """A gated PixelCNN of each level of codes, the lowest first, given the vectors above."""
    conditional, codes = CategoricalConditional(args.num_codes), pair.codes(x[:1])
    priors = []
    for i, name in enumerate(sorted(codes)):
        options = {"hidden_dim": args.prior_channels, "num_blocks": args.prior_blocks}
        if i + 1 < len(codes):
            options |= {"context_dim": args.code_dim, "context_kind": "image"}
        rng_key, key = random.split(rng_key)
        shape = codes[name].shape[1:]
        priors.append(gated_pixel_cnn(key, shape, conditional, one_hot=True, **options))
    return priors


def code_model(prior):
    """The model of codes as data of their prior."""

    def model(codes, context=None, size=None):
        density = eqx_module("density", prior)
        with numpyro.plate("data", size, subsample_size=len(codes)):
            numpyro.sample("codes", density(context), obs=codes)

    return model


def train_priors(rng_key, pair, parts, args):
    """Put priors that are trained on the codes of the data in the place of independent ones."""
    keys = random.split(rng_key, 1 + len(pair.generator.sites))
    priors = pixel_cnns(keys[0], pair, parts[0], args)
    pair, trained = pair.with_priors(priors), []
    found = [pair.prior_data(x) for x in parts]
    for i, start in enumerate(priors):
        # codes, and the context where there is one
        data = [tuple(a for a in part[f"z{i + 1}"] if a is not None) for part in found]
        model, loss, stage = code_model(start), Trace_ELBO(), f".prior{i + 1}"
        result = train(keys[1 + i], model, guide, loss, data, args.prior_epochs, args, stage)
        trained.append(eqx.combine(result.params["density$params"], start))
    return pair.with_priors(trained)


def pictures(rng_key, pair, valid):
    """Samples, reconstructions beside their originals, and ways between images."""
    found = {
        "samples": pair.sample(rng_key, 64, mean=True).reshape(8, 8, *valid.shape[1:]),
        "reconstructions": jnp.stack([valid[:12], pair.reconstruct(valid[:12])]),
        "interpolations": pair.interpolate(valid[:6], valid[6:12], 12).swapaxes(0, 1),
    }
    return {name: np.asarray(grid) for name, grid in found.items()}


def main(args):
    keys = random.split(random.key(args.seed), 3)
    images = load_images(args.data)
    pair = build(keys[0], images, args)
    parts = [jnp.asarray(shaped(images, x, args)) for x in (images.train, images.valid)]
    arrays, valid = [(x,) for x in parts], parts[1]
    result = train(keys[1], pair.model, pair.guide, BetaELBO(), arrays, args.num_epochs, args)
    pair = pair.with_params(result.params)
    held_out = [(step, loss / len(valid)) for step, loss in result.evaluations]
    print(f"{args.model}: {len(images.train)} training images, {len(result.losses)} steps")
    bound = -min(loss for _, loss in held_out)
    print(f"bound on validation images {bound:.2f} nats")
    print(f"perplexity {pair.perplexity(valid)} of {args.num_codes} codes")
    if args.priors == "pixel_cnn":
        pair = train_priors(random.fold_in(keys[1], 1), pair, parts, args)
        bound = float(pair.bound(valid).mean())
        print(f"bound with PixelCNNs as priors {bound:.2f} nats")
    paths = []
    if args.output:
        output = Path(args.output)
        paths = [save_curve(output / "curve.png", result.losses / len(images.train), held_out)]
        paths += save_pictures(output, pictures(keys[2], pair, valid), images)
        io.save(output / "pair.safetensors", pair)
    return {"pair": pair, "fit": result, "held_out": held_out, "bound": bound, "paths": paths}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help=".npz file of images, default scikit-learn's digits")
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument("--num-codes", type=int, default=64)
    parser.add_argument("--code-dim", type=int, default=8)
    parser.add_argument("--codebook-decay", type=float, help="default: learned by gradients")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--halvings", type=int, default=1)
    parser.add_argument("--priors", choices=("independent", "pixel_cnn"), default="independent")
    parser.add_argument("--prior-channels", type=int, default=16)
    parser.add_argument("--prior-blocks", type=int, default=2)
    parser.add_argument("--prior-epochs", type=int, default=50)
    parser.add_argument("--num-epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--eval-every", type=int, default=10, help="epochs between evaluations")
    parser.add_argument("--checkpoint", help="file from which a run that was cut goes on")
    parser.add_argument("--output", help="folder for pictures and the trained pair")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
