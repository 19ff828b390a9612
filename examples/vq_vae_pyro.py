"""Train vector-quantised auto-encoders on grey images (Pyro).

The bound is that of the codes with their learned prior: independent codes at first, and with
`--priors pixel_cnn` a gated PixelCNN of each level of codes, the lower given the vectors of the
upper, trained after the pair (Razavi, van den Oord & Vinyals 2019). Codebooks start at vectors of
training images. With `--checkpoint` a run that was cut goes on.

    python examples/vq_vae_pyro.py --model vq-vae-2 --priors pixel_cnn --output results
"""

import argparse
from pathlib import Path

import pyro
import torch
from images import load_images, save_curve, save_pictures
from pyro.infer import Trace_ELBO

from pyro_deepgen import io
from pyro_deepgen.distributions import gated_pixel_cnn
from pyro_deepgen.distributions.conditionals import (
    CategoricalConditional,
    DiscretizedLogisticConditional,
)
from pyro_deepgen.infer import BetaELBO, fit
from pyro_deepgen.models import VQVAE, VQVAE2

MODELS = ("vq-vae", "vq-vae-2")


def shaped(images, rows, args):
    """Images with a channel."""
    return images.shaped(rows, True)


def build(images, args):
    """The pair of a model's name, its codebooks at vectors of training images."""
    shape, limits = shaped(images, images.train, args).shape[1:], (0, images.num_levels - 1)
    options = {"codebook_decay": args.codebook_decay}
    if images.num_levels > 2:
        options["conditional"] = DiscretizedLogisticConditional(*limits)
        options["input_range"] = limits
    kind = VQVAE if args.model == "vq-vae" else VQVAE2
    sizes = (args.num_codes, args.code_dim, args.channels, args.halvings)
    pair = kind(shape, *sizes, **options).to(args.device)
    some = torch.as_tensor(shaped(images, images.train[:500], args), device=args.device)
    return pair.restart_dead_codes(some, min_usage=len(some) ** 2)


def guide(*args, **kwargs):
    """No latent variables: the evidence lower bound is the log-likelihood."""


def train(model, guide, loss, parts, num_epochs, args, stage=""):
    """Train on the first of two tuples of arrays, keeping the parameters best on the second."""
    sizes = [len(part[0]) for part in parts]
    steps_per_epoch = sizes[0] // args.batch_size
    return fit(
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


def pixel_cnns(pair, x, args):
    """A gated PixelCNN of each level of codes, the lowest first, given the vectors above."""
    conditional, codes = CategoricalConditional(args.num_codes), pair.codes(x[:1])
    priors = []
    for i, name in enumerate(sorted(codes)):
        options = {"hidden_dim": args.prior_channels, "num_blocks": args.prior_blocks}
        if i + 1 < len(codes):
            options |= {"context_dim": args.code_dim, "context_kind": "image"}
        shape = codes[name].shape[1:]
        prior = gated_pixel_cnn(shape, conditional, one_hot=True, **options)
        priors.append(prior.to(args.device))
    return priors


def code_model(prior, name):
    """The model of codes as data of their prior."""

    def model(codes, context=None, size=None):
        density = pyro.module(name, prior)
        rows = torch.arange(len(codes), device=codes.device)
        with pyro.plate("data", size, subsample=rows):
            pyro.sample("codes", density(context), obs=codes)

    return model


def train_priors(pair, parts, args):
    """Put priors that are trained on the codes of the data in the place of independent ones."""
    priors = pixel_cnns(pair, parts[0], args)
    pair, trained = pair.with_priors(priors), []
    found = [pair.prior_data(x) for x in parts]
    for i, start in enumerate(priors):
        # codes, and the context where there is one
        data = [tuple(a for a in part[f"z{i + 1}"] if a is not None) for part in found]
        model = code_model(start, f"prior{i + 1}")
        train(model, guide, Trace_ELBO(), data, args.prior_epochs, args, f".prior{i + 1}")
        trained.append(start)
    return pair.with_priors(trained)


def pictures(pair, valid):
    """Samples, reconstructions beside their originals, and ways between images."""
    found = {
        "samples": pair.sample(64, mean=True).reshape(8, 8, *valid.shape[1:]),
        "reconstructions": torch.stack([valid[:12], pair.reconstruct(valid[:12])]),
        "interpolations": pair.interpolate(valid[:6], valid[6:12], 12).swapaxes(0, 1),
    }
    return {name: grid.cpu().numpy() for name, grid in found.items()}


def main(args):
    torch.manual_seed(args.seed)
    images = load_images(args.data)
    pair = build(images, args)
    rows = (images.train, images.valid)
    parts = [torch.as_tensor(shaped(images, x, args), device=args.device) for x in rows]
    arrays, valid = [(x,) for x in parts], parts[1]
    result = train(pair.model, pair.guide, BetaELBO(), arrays, args.num_epochs, args)
    held_out = [(step, loss / len(valid)) for step, loss in result.evaluations]
    print(f"{args.model}: {len(images.train)} training images, {len(result.losses)} steps")
    bound = -min(loss for _, loss in held_out)
    print(f"bound on validation images {bound:.2f} nats")
    print(f"perplexity {pair.perplexity(valid)} of {args.num_codes} codes")
    if args.priors == "pixel_cnn":
        pair = train_priors(pair, parts, args)
        with torch.no_grad():
            bound = float(pair.bound(valid).mean())
        print(f"bound with PixelCNNs as priors {bound:.2f} nats")
    paths = []
    if args.output:
        output = Path(args.output)
        paths = [save_curve(output / "curve.png", result.losses / len(images.train), held_out)]
        paths += save_pictures(output, pictures(pair, valid), images)
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
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--quiet", action="store_true")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
