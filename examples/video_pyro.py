"""Train autoregressive models of videos (Pyro).

`video_transformer` is block-local attention over the pixels: its likelihood is exact. Frames after
given ones are drawn by `sample_given`, which is exact where the given frames come first in the
order: with `--factors 1 1 1`. With other factors a first slice of all frames comes before, and of
some draws one is kept by their weights (`--num-particles`).

`video_vq_vae` compresses videos into codes with a uniform prior first, and then trains a
transformer over the codes; what is printed is a bound. Frames are drawn on in the codes, given the
first ones, which have seen some frames after them.

With `--labels` (digits alone) all is conditional on the class. With `--checkpoint` a run that was
cut goes on.

    python examples/video_pyro.py --model video_transformer --output results
"""

import argparse
import math
from pathlib import Path

import pyro
import torch
from pyro.infer import Trace_ELBO
from videos import bits_per_dim, independent_bits, load_videos, save_rows

from pyro_deepgen import io
from pyro_deepgen.distributions import image_gpt, video_transformer
from pyro_deepgen.distributions.conditionals import (
    BernoulliConditional,
    CategoricalConditional,
    DiscretizedLogisticConditional,
)
from pyro_deepgen.infer import BetaELBO, fit
from pyro_deepgen.models import VideoVQVAE

MODELS = ("video_transformer", "video_vq_vae")


def guide(*args, **kwargs):
    """No latent variables: the evidence lower bound is the log-likelihood."""


def train(model, guide, loss, parts, args, stage=""):
    """Train on the first of two tuples of arrays, keeping the parameters best on the second."""
    size, valid_size = (len(part[0]) for part in parts)
    steps_per_epoch = max(size // args.batch_size, 1)
    return fit(
        model,
        guide,
        args.num_epochs * steps_per_epoch,
        args=parts[0],
        kwargs={"size": size},
        batch_size=min(args.batch_size, size),
        held_out_args=parts[1],
        held_out_kwargs={"size": valid_size},
        loss=loss,
        learning_rate=args.learning_rate,
        evaluate_every=args.eval_every * steps_per_epoch,
        checkpoint=args.checkpoint and args.checkpoint + stage,
        checkpoint_every=args.eval_every * steps_per_epoch,
        progress=not args.quiet,
    )


def train_density(start, parts, args, stage=""):
    """Train a distribution of the first array of each part given the others."""

    def model(x, context=None, size=None):
        density = pyro.module("density", start)
        with pyro.plate("data", size, subsample=torch.arange(len(x), device=x.device)):
            pyro.sample("x", density(context), obs=x)

    return train(model, guide, Trace_ELBO(), parts, args, stage), start


def batches(function, arrays, size=100):
    """Results of a function of rows, some at a time."""
    starts = range(0, len(arrays[0]), size)
    with torch.no_grad():
        found = [function(*(a[start : start + size] for a in arrays)) for start in starts]
    return torch.cat(found)


def run_transformer(videos, parts, args):
    """The trained density, its bits per dimension, and videos by name."""
    conditional, options = BernoulliConditional(), {"factors": args.factors}
    if videos.num_levels > 2:
        conditional = CategoricalConditional(videos.num_levels)
    if args.labels:
        options["context_dim"] = 10
    sizes = {"hidden_dim": args.hidden_dim, "num_blocks": args.num_blocks}
    density = video_transformer(videos.shape, conditional, **sizes, **options).to(args.device)
    result, density = train_density(density, parts, args)
    scores = batches(lambda x, *c: density(*c).log_prob(x), parts[1])
    x, *context = (part[: args.num_shown] for part in parts[1])
    d = density(*context).expand((len(x),))
    mask = torch.zeros(videos.shape, dtype=torch.bool)
    mask[: args.num_given] = True
    particles = 1 if math.prod(args.factors) == 1 else args.num_particles
    given = d.sample_given(mask, x, num_particles=particles)
    shown = {"samples": d.sample(), "continuations": given.value.to(x.dtype)}
    return density, result, -scores.cpu().numpy(), shown


def run_vq_vae(videos, parts, args):
    """The trained pair, the bits per dimension of its bound, and videos by name."""
    parts = [(x[:, None], *context) for x, *context in parts]
    limits, options = (0, videos.num_levels - 1), {}
    if videos.num_levels > 2:
        options["conditional"] = DiscretizedLogisticConditional(*limits)
        options["input_range"] = limits
    if args.labels:
        options["context_dim"] = 10
    pair = VideoVQVAE(
        parts[0][0].shape[1:],
        args.num_codes,
        args.code_dim,
        args.channels,
        args.halvings,
        num_heads=args.num_heads,
        prior="uniform",
        codebook_decay=args.codebook_decay,
        **options,
    ).to(args.device)
    some = [part[:500] for part in parts[0]]
    pair = pair.restart_dead_codes(some[0], min_usage=10**9, context=(*some[1:], None)[0])
    result = train(pair.model, pair.guide, BetaELBO(), parts, args)
    uniform = -batches(pair.bound, parts[1]).cpu().numpy()
    print(f"bound with a uniform prior {bits_per_dim(uniform, videos.shape):.4f} bits")
    # codes are integers: their prior does not move the auto-encoder
    codes = [(batches(lambda *row: pair.codes(*row)["z1"], part), *part[1:]) for part in parts]
    prior = image_gpt(
        codes[0][0].shape[1:],
        CategoricalConditional(args.num_codes),
        hidden_dim=args.hidden_dim,
        num_blocks=args.num_blocks,
        context_dim=options.get("context_dim", 0),
    ).to(args.device)
    _, prior = train_density(prior, codes, args, ".prior")
    pair = pair.with_prior(prior)
    scores = batches(pair.bound, parts[1])
    print(f"perplexity {pair.perplexity(*parts[1])['z1']:.1f} of {args.num_codes} codes")
    x, *context = (part[: args.num_shown] for part in parts[1])
    shown = {
        "samples": pair.sample(len(x), *context),
        "reconstructions": pair.reconstruct(x, *context),
        "continuations": continued(pair, x, context, args),
    }
    return pair, result, -scores.cpu().numpy(), {k: v[:, 0] for k, v in shown.items()}


def continued(pair, x, context, args):
    """Videos of which the codes of the given frames stay, and the others are drawn."""
    codes = pair.codes(x, *context)["z1"]
    frames = -(-args.num_given * codes.shape[1] // x.shape[2])
    mask = torch.zeros(codes.shape[1:], dtype=torch.bool)
    mask[:frames] = True
    prior = pair.generator.priors[0](*context).expand((len(x),))
    codes = prior.sample_given(mask, codes).value
    (book,) = pair.generator.codebooks
    z = book.weight.detach()[codes].movedim(-1, -4)
    return pair.decode({"z1": z}, *context, mean=False)


def main(args):
    torch.manual_seed(args.seed)
    videos = load_videos(args.data, args.num_videos, args.num_frames, args.side, args.split_seed)
    parts = []
    for i, x in enumerate((videos.train, videos.valid)):
        arrays = (x, videos.labels[i]) if args.labels else (x,)
        parts.append(tuple(torch.as_tensor(array, device=args.device) for array in arrays))
    run = run_transformer if args.model == "video_transformer" else run_vq_vae
    module, result, nats, shown = run(videos, parts, args)
    shown = {name: rows.cpu().numpy() for name, rows in shown.items()}
    bits, floor = bits_per_dim(nats, videos.shape), independent_bits(videos)
    print(f"{args.model}: {len(videos.train)} training videos, best after {result.best_step} steps")
    print(f"{bits:.4f} bits per dimension of {len(nats)} videos, independent pixels {floor:.4f}")
    paths = []
    if args.output:
        output = Path(args.output)
        given = {"continuations": args.num_given}
        paths = [
            save_rows(output / f"{name}.png", rows, videos.num_levels, given.get(name, 0))
            for name, rows in shown.items()
        ]
        io.save(output / "model.safetensors", module)
    return {"module": module, "fit": result, "bits": bits, "floor": floor, "paths": paths}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help=".npz file of videos; default moving digits")
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument("--labels", action="store_true", help="condition on the class (digits)")
    parser.add_argument("--num-videos", type=int, default=1000)
    parser.add_argument("--num-frames", type=int, default=6)
    parser.add_argument("--side", type=int, default=12)
    parser.add_argument("--factors", type=int, nargs=3, default=(1, 1, 1))
    parser.add_argument("--hidden-dim", type=int, default=32)
    parser.add_argument("--num-blocks", type=int, default=4)
    parser.add_argument("--num-codes", type=int, default=64)
    parser.add_argument("--code-dim", type=int, default=8)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--halvings", type=int, nargs=3, default=(1, 2, 2))
    parser.add_argument("--num-heads", type=int, default=0, help="of axial attention")
    parser.add_argument("--codebook-decay", type=float, help="default: learned by gradients")
    parser.add_argument("--num-epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--eval-every", type=int, default=1, help="epochs between evaluations")
    parser.add_argument("--num-given", type=int, default=2, help="frames given")
    parser.add_argument("--num-particles", type=int, default=20)
    parser.add_argument("--num-shown", type=int, default=8, help="videos in a picture")
    parser.add_argument("--checkpoint", help="file of the state of training")
    parser.add_argument("--output", help="folder of pictures and of the trained model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--split-seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true")
    args = parser.parse_args(argv)
    if args.labels and args.data:
        parser.error("--labels must go without --data: files of videos hold no labels")
    return args


if __name__ == "__main__":
    main(parse_args())
