"""Train autoregressive networks on grey images (Pyro).

Levels are classes (bits: Bernoulli variables), and the log-likelihood of the validation images is
exact: one pass of the network. Samples, and images of which the lower half is drawn given the upper
one, are saved as pictures (where the upper half does not come first in the order, one of
`--num-particles` draws is kept by their weights, and a line says so); with `--labels` (digits
alone) a network is conditional on the class, and a row of samples of each is drawn. A MADE of
several masks (`--num-masks`) is trained on one of its orders a step, and scored as the mixture of
all. With `--checkpoint` a run that was cut goes on.

    python examples/autoregressive_pyro.py --model pixel_cnn --output results
"""

import argparse
from pathlib import Path

import numpy as np
import pyro
import torch
from images import Images, load_images, save_pictures
from pyro.infer import Trace_ELBO
from sklearn.datasets import load_digits

from pyro_deepgen import distributions, io
from pyro_deepgen.distributions.conditionals import BernoulliConditional, CategoricalConditional
from pyro_deepgen.infer import fit, muon

MODELS = (
    *("made", "pixel_cnn", "gated_pixel_cnn", "row_lstm", "diagonal_bilstm"),
    *("wavenet", "image_gpt", "video_transformer", "pixel_cnn_plus_plus"),
)


def load(args):
    """Images and labels; of the 17-level digits, a random 397 are put aside."""
    if args.data:
        return load_images(args.data, args.split_seed), None
    digits = load_digits()
    rows = digits.images.reshape(-1, 64).astype(np.float32)
    order = np.random.default_rng(args.split_seed).permutation(len(rows))
    valid, train = order[:397], order[397:]
    labels = digits.target[train], digits.target[valid]
    return Images(rows[train], rows[valid], (8, 8), 17), labels


def orders(images, args):
    """The order of the positions, or with several masks of MADE as many random ones."""
    if args.num_masks == 1:
        return args.order
    rng, size = np.random.default_rng(args.seed), images.sides[0] * images.sides[1]
    return [rng.permutation(size) for _ in range(args.num_masks)]


def build(images, args):
    """The distribution of a model's name."""
    conditional, options = BernoulliConditional(), {}
    if images.num_levels > 2:
        conditional = CategoricalConditional(images.num_levels)
        options["one_hot"] = images.num_levels <= 17
    if args.labels:
        options |= {"context_dim": 10, "context_kind": "label"}
    depth = "num_layers" if "lstm" in args.model else "num_blocks"
    if args.model == "made":
        options["hidden_dims"] = (args.hidden_dim,) * args.num_layers
    else:
        options |= {"hidden_dim": args.hidden_dim, depth: args.num_blocks}
    if args.model == "pixel_cnn_plus_plus":
        options["dropout"] = args.dropout
    if args.learned_positions:
        options["learned_positions"] = True
    if args.activation:
        options["activation"] = args.activation
    if args.model != "video_transformer":
        options["order"] = orders(images, args)
    recipe = getattr(distributions, args.model)
    return recipe(images.sides, conditional, **options)


def guide(*args, **kwargs):
    """No latent variables: the evidence lower bound is the log-likelihood."""


def train_module(module, train, valid, args):
    """Train, keeping the parameters with the best likelihood of validation images, or the last."""

    def model(x, labels=None, size=None, training=False):
        # dropout, where there is some, is for training alone
        density = pyro.module("density", module.train(training))
        order_index = None
        if training and args.num_masks > 1:
            order_index = int(torch.randint(args.num_masks, ()))
        with pyro.plate("data", size, subsample=torch.arange(len(x), device=x.device)):
            pyro.sample("x", density(labels, order_index), obs=x)

    steps_per_epoch = len(train[0]) // args.batch_size
    held_out = tuple(part[: args.num_held_out] for part in valid)
    result = fit(
        model,
        guide,
        args.num_epochs * steps_per_epoch,
        args=train,
        kwargs={"size": len(train[0]), "training": True},
        batch_size=args.batch_size,
        held_out_args=held_out,
        held_out_kwargs={"size": len(held_out[0])},
        loss=Trace_ELBO(),
        learning_rate=args.learning_rate,
        optimizer=muon if args.optimizer == "muon" else None,
        evaluate_every=args.eval_every * steps_per_epoch,
        keep=args.keep,
        checkpoint=args.checkpoint,
        checkpoint_every=args.eval_every * steps_per_epoch,
        progress=not args.quiet,
    )
    return result, module.eval()


def nats(module, x, labels=None):
    """Negative log-likelihood of every image."""
    parts = []
    for start in range(0, len(x), 200):
        context = None if labels is None else labels[start : start + 200]
        with torch.no_grad():
            parts.append(-module(context).log_prob(x[start : start + 200]).cpu().numpy())
    return np.concatenate(parts)


def pictures(module, valid, args):
    """Samples, and images of which the lower half is drawn given the upper one."""
    x, labels = valid
    mask = torch.zeros(x.shape[1:], dtype=torch.bool)
    mask[: len(mask) // 2] = True
    few = None if labels is None else labels[:12]
    d = module(few).expand((12,))
    given = d.sample_given(mask, x[:12], (5,))
    if not given.is_exact:
        given = d.sample_given(mask, x[:12], (5,), num_particles=args.num_particles)
    how = "are exact" if given.is_exact else f"are one of {args.num_particles} draws, by weights"
    print(f"inpaintings {how}")
    found = {"inpaintings": torch.cat([x[None, :12], given.value.to(x.dtype)])}
    if args.labels:
        samples = module(torch.arange(10, device=x.device)).sample((10,))
        found["samples_by_class"] = samples.transpose(0, 1)
    else:
        found["samples"] = module().sample((8, 8))
    return {name: grid.cpu().numpy() for name, grid in found.items()}


def main(args):
    pyro.set_rng_seed(args.seed)
    pyro.clear_param_store()
    images, labels = load(args)
    module = build(images, args).to(args.device)
    parts = []
    for i, rows in enumerate((images.train, images.valid)):
        x = torch.as_tensor(rows, device=args.device).reshape(-1, *images.sides)
        parts.append((x, torch.as_tensor(labels[i], device=args.device)) if args.labels else (x,))
    train, valid = parts
    result, module = train_module(module, train, valid, args)
    scores = nats(module, *valid)
    error = scores.std(ddof=1) / np.sqrt(len(scores))
    bits = scores.mean() / np.log(2) / valid[0][0].numel()
    print(f"{args.model}: {len(images.train)} training images, best after {result.best_step} steps")
    print(
        f"negative log-likelihood of {len(scores)} images {scores.mean():.2f} +- {error:.2f} nats, "
        f"{bits:.3f} bits per dimension"
    )
    paths = []
    if args.output:
        output = Path(args.output)
        known = valid if args.labels else (*valid, None)
        found = pictures(module, known, args)
        paths = save_pictures(output, found, images)
        io.save(output / "density.safetensors", module)
    return {"module": module, "fit": result, "bits": bits, "nats": scores, "paths": paths}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help=".npz file of images; default digits of 17 levels")
    parser.add_argument("--model", choices=MODELS, default="pixel_cnn")
    parser.add_argument("--labels", action="store_true", help="condition on the class (digits)")
    parser.add_argument("--order", default="raster", help="raster, reverse, snake or random")
    parser.add_argument("--hidden-dim", type=int, default=16)
    parser.add_argument("--num-blocks", type=int, default=7)
    parser.add_argument(
        "--learned-positions", action="store_true", help="of pixel_cnn and gated_pixel_cnn"
    )
    parser.add_argument("--activation", help="of pixel_cnn and made: relu, silu, gelu, elu, ...")
    parser.add_argument("--num-layers", type=int, default=1, help="hidden layers of made")
    parser.add_argument("--num-masks", type=int, default=1, help="random orders of made")
    parser.add_argument("--dropout", type=float, default=0.0, help="of pixel_cnn_plus_plus")
    parser.add_argument("--num-epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--optimizer", choices=("adam", "muon"), default="adam")
    parser.add_argument("--eval-every", type=int, default=1, help="epochs between evaluations")
    parser.add_argument("--num-held-out", type=int, help="images of an evaluation, default all")
    parser.add_argument(
        "--keep", choices=("best", "last"), default="best", help="epoch, by held-out images or not"
    )
    parser.add_argument("--num-particles", type=int, default=50, help="of inexact inpaintings")
    parser.add_argument("--checkpoint", help="file of the state of training")
    parser.add_argument("--output", help="folder of pictures and of the trained network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--split-seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true")
    args = parser.parse_args(argv)
    if args.dropout and args.model != "pixel_cnn_plus_plus":
        parser.error(f"--dropout must be 0 for {args.model}; it is of pixel_cnn_plus_plus alone")
    if args.model != "made" and (args.num_masks, args.num_layers) != (1, 1):
        parser.error(f"--num-masks and --num-layers must be 1 for {args.model}; they are of made")
    if args.learned_positions and args.model not in ("pixel_cnn", "gated_pixel_cnn"):
        parser.error("--learned-positions must go with pixel_cnn or gated_pixel_cnn")
    if args.activation and args.model not in ("pixel_cnn", "made"):
        parser.error("--activation must go with pixel_cnn or made")
    if args.model == "video_transformer" and args.order != "raster":
        parser.error("--order must be raster for video_transformer, whose order is its own")
    if args.labels and args.data:
        parser.error("--labels must go without --data: files of images hold no labels")
    return args


if __name__ == "__main__":
    main(parse_args())
