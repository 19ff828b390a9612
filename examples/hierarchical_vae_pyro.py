"""Train hierarchies of latent variables on grey images (Pyro).

Ladder and bidirectional auto-encoders of vectors, NVAE and the very deep auto-encoder of images.
The guide is a handler over the generator, so that a step runs it once. With `--checkpoint` a run
that was cut goes on.

    python examples/hierarchical_vae_pyro.py --model nvae --output results
"""

import argparse
from pathlib import Path

import torch
from images import load_images, save_curve, save_pictures

from pyro_deepgen import io
from pyro_deepgen.distributions.conditionals import DiscretizedLogisticConditional
from pyro_deepgen.infer import BetaELBO, KLWarmup, PenalizedELBO, fit, spectral_penalty
from pyro_deepgen.models import NVAE, BidirectionalVAE, LadderVAE, VeryDeepVAE

MODELS = ("ladder", "bidirectional", "nvae", "very-deep")


def shaped(images, rows, args):
    """Images with a channel, or without where a model is of vectors."""
    of_images = args.model in ("nvae", "very-deep")
    return images.shaped(rows, of_images)


def build(images, args):
    """The pair of a model's name."""
    shape, limits = shaped(images, images.train, args).shape[1:], (0, images.num_levels - 1)
    options = {}
    if images.num_levels > 2:
        options["conditional"] = DiscretizedLogisticConditional(*limits)
        options["input_range"] = limits
    if args.model in ("ladder", "bidirectional"):
        kind = LadderVAE if args.model == "ladder" else BidirectionalVAE
        sizes = [max(args.latent_dim >> i, 2) for i in range(args.num_layers)]
        widths = [max(args.hidden_dim >> i, 8) for i in range(args.num_layers)]
        return kind(shape, sizes, widths, **options)
    kind = NVAE if args.model == "nvae" else VeryDeepVAE
    groups = (0,) + (args.num_groups,) * 2
    return kind(shape, args.channels, args.latent_channels, groups, **options)


def train_pair(pair, images, args):
    """Train, keeping the parameters with the best bound on the validation images."""
    train, valid = (
        torch.as_tensor(shaped(images, rows, args), device=args.device)
        for rows in (images.train, images.valid)
    )
    steps_per_epoch = len(train) // args.batch_size
    warmup = args.num_warmup_epochs * steps_per_epoch
    analytic = args.model != "bidirectional"
    loss = BetaELBO(KLWarmup(warmup) if warmup else 1.0, analytic=analytic)
    if args.spectral_weight:
        weight = args.spectral_weight * len(train)
        loss = PenalizedELBO(BetaELBO(analytic=analytic), lambda: spectral_penalty(pair), weight)
    options = {
        "kwargs": {"size": len(train)},
        "batch_size": args.batch_size,
        "held_out_args": (valid,),
        "held_out_kwargs": {"size": len(valid)},
        "learning_rate": args.learning_rate,
        "evaluate_every": args.eval_every * steps_per_epoch,
        "checkpoint": args.checkpoint,
        "checkpoint_every": args.eval_every * steps_per_epoch,
        "progress": not args.quiet,
    }
    num_steps = args.num_epochs * steps_per_epoch
    return fit(pair.model, pair.guide, num_steps, args=(train,), loss=loss, **options)


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
    pair = build(images, args).to(args.device)
    result = train_pair(pair, images, args)
    valid = torch.as_tensor(shaped(images, images.valid, args), device=args.device)
    held_out = [(step, loss / len(valid)) for step, loss in result.evaluations]
    print(f"{args.model}: {len(images.train)} training images, {len(result.losses)} steps")
    print(f"bound on validation images {-min(loss for _, loss in held_out):.2f} nats")
    paths = []
    if args.output:
        output = Path(args.output)
        paths = [save_curve(output / "curve.png", result.losses / len(images.train), held_out)]
        paths += save_pictures(output, pictures(pair, valid), images)
        io.save(output / "pair.safetensors", pair)
    return {"pair": pair, "fit": result, "held_out": held_out, "paths": paths}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help=".npz file of images, default scikit-learn's digits")
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument("--latent-dim", type=int, default=32, help="of the lowest layer")
    parser.add_argument("--hidden-dim", type=int, default=256, help="of the lowest layer")
    parser.add_argument("--num-layers", type=int, default=3)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--latent-channels", type=int, default=4)
    parser.add_argument("--num-groups", type=int, default=2, help="at each scale")
    parser.add_argument("--num-warmup-epochs", type=int, default=0)
    parser.add_argument("--spectral-weight", type=float, default=0.0)
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
