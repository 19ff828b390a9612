"""Train vector-quantised auto-encoders on grey images (Pyro).

The bound is that of the codes with their learned prior. Codebooks start at vectors of training
images. With `--checkpoint` a run that was cut goes on.

    python examples/vq_vae_pyro.py --model vq-vae-2 --output results
"""

import argparse
from pathlib import Path

import torch
from images import load_images, save_curve, save_pictures

from pyro_deepgen import io
from pyro_deepgen.distributions.conditionals import DiscretizedLogisticConditional
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


def train_pair(pair, images, args):
    """Train, keeping the parameters with the best bound on the validation images."""
    train, valid = (
        torch.as_tensor(shaped(images, rows, args), device=args.device)
        for rows in (images.train, images.valid)
    )
    steps_per_epoch = len(train) // args.batch_size
    loss = BetaELBO()
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
    pair = build(images, args)
    result = train_pair(pair, images, args)
    valid = torch.as_tensor(shaped(images, images.valid, args), device=args.device)
    held_out = [(step, loss / len(valid)) for step, loss in result.evaluations]
    print(f"{args.model}: {len(images.train)} training images, {len(result.losses)} steps")
    print(f"bound on validation images {-min(loss for _, loss in held_out):.2f} nats")
    print(f"perplexity {pair.perplexity(valid)} of {args.num_codes} codes")
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
    parser.add_argument("--num-codes", type=int, default=64)
    parser.add_argument("--code-dim", type=int, default=8)
    parser.add_argument("--codebook-decay", type=float, help="default: learned by gradients")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--halvings", type=int, default=1)
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
