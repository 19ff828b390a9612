"""Train variational auto-encoders on grey images (Pyro).

Bits are Bernoulli variables, more levels discretised logistic ones. The negative log-likelihood of
the validation images is estimated by importance sampling, beside the bound, the active units and
pictures. With `--checkpoint` a run that was cut goes on.

    python examples/vae_pyro.py --model iwae --num-particles 5 --output results
"""

import argparse
from pathlib import Path

import numpy as np
import pyro
import torch
from images import combine, load_images, save_curve, save_pictures

from pyro_deepgen import distributions, io
from pyro_deepgen.distributions.conditionals import DiscretizedLogisticConditional
from pyro_deepgen.infer import IWELBO, BetaELBO, KLWarmup, fit, latent_statistics, log_evidence
from pyro_deepgen.models import stacked_vae, vae

NETWORKS = ("dense", "gated", "convolutional", "gated_convolutional")
MODELS = ("vae", "iwae", "two-layer", "vamp", "planar", "iaf", "sylvester")
NUM_FEATURES = 200


def build(images, args):
    """The pair of a model's name."""
    train = images.shaped(images.train, args.of_images)
    shape, limits = train.shape[1:], (0, images.num_levels - 1)
    options = {"network": args.network, "init_data": train}
    if images.num_levels > 2:
        options["conditional"] = DiscretizedLogisticConditional(*limits)
        options["input_range"] = limits
    widths, dim = (args.hidden_dim, args.hidden_dim), args.latent_dim
    if args.of_images:
        widths = (args.hidden_dim // 4, args.hidden_dim // 2)
    if args.model == "two-layer":
        half = (args.hidden_dim // 2, args.hidden_dim // 2)
        return stacked_vae(shape, (2 * dim, dim), (widths, half), **options)
    if args.model == "vamp":
        count = min(args.num_components, len(train))
        start = torch.as_tensor(train[:count])
        options["prior"] = distributions.VampPrior(count, shape, limits, start)
    elif args.model in ("planar", "iaf", "sylvester"):
        hidden_dims = (args.hidden_dim,) if args.model == "iaf" else ()
        recipe, sizes = getattr(distributions, args.model), (args.num_transforms, hidden_dims)
        extra = {"rank": min(args.rank, dim)} if args.model == "sylvester" else {}
        options["posterior"] = recipe(dim, *sizes, context_dim=NUM_FEATURES, **extra)
    return vae(shape, dim, widths, **options)


def bound_of(args, steps_per_epoch):
    """What is trained: importance weighted with several particles, else with a warm-up if asked."""
    if args.num_particles > 1:
        return IWELBO(args.num_particles)
    if args.num_warmup_epochs:
        return BetaELBO(KLWarmup(args.num_warmup_epochs * steps_per_epoch))
    return BetaELBO()


def train_pair(pair, images, args):
    """Train, keeping the parameters with the best bound on the validation images."""
    train, valid = (
        torch.as_tensor(images.shaped(rows, args.of_images), device=args.device)
        for rows in (images.train, images.valid)
    )
    steps_per_epoch = len(train) // args.batch_size
    return fit(
        pair.model,
        pair.guide,
        args.num_epochs * steps_per_epoch,
        args=(train,),
        kwargs={"size": len(train)},
        batch_size=args.batch_size,
        held_out_args=(valid,),
        held_out_kwargs={"size": len(valid)},
        loss=bound_of(args, steps_per_epoch),
        learning_rate=args.learning_rate,
        clip_norm=None,
        evaluate_every=args.eval_every * steps_per_epoch,
        checkpoint=args.checkpoint,
        checkpoint_every=args.eval_every * steps_per_epoch,
        progress=not args.quiet,
    )


def likelihood(pair, valid, args):
    """The negative log-likelihood of the validation images."""

    def weights(rows, num_samples, chunk):
        found = [
            log_evidence(
                pair.model,
                pair.guide,
                num_samples,
                args=(rows[start : start + 100],),
                chunk=chunk,
            )
            for start in range(0, len(rows), 100)
        ]
        return [np.concatenate([getattr(f, n) for f in found]) for n in ("log_evidence", "elbo")]

    some = valid[: min(args.num_evaluated, len(valid))]
    found = weights(some, args.num_samples, 100)
    return combine(weights(valid, 20, 20)[1], *found, dims=valid[0].numel())


def pictures(pair, valid, args):
    """Samples, reconstructions beside their originals, ways between images, and a grid."""
    found = {
        "samples": pair.sample(64, mean=True).reshape(8, 8, *valid.shape[1:]),
        "reconstructions": torch.stack([valid[:12], pair.reconstruct(valid[:12])]),
        "interpolations": pair.interpolate(valid[:6], valid[6:12], 12).transpose(0, 1),
    }
    if args.latent_dim == 2 and args.model != "vamp":
        found["manifold"] = pair.manifold(16)
    return {name: grid.cpu().numpy() for name, grid in found.items()}


def main(args):
    pyro.set_rng_seed(args.seed)
    pyro.clear_param_store()
    images = load_images(args.data)
    pair = build(images, args).to(args.device)
    result = train_pair(pair, images, args)
    site = "z1" if args.model == "two-layer" else "z"
    valid = torch.as_tensor(images.shaped(images.valid, args.of_images), device=args.device)
    units = latent_statistics(pair.model, pair.guide, site, args=(valid[:2000],))
    print(f"{args.model}: {len(images.train)} training images, best after {result.best_step} steps")
    print(f"{units.num_active} of {units.activity.size} units active, divergence {units.kl:.2f}")
    nll = likelihood(pair, valid, args)
    print(nll)
    paths = []
    if args.output:
        output = Path(args.output)
        losses = result.losses / len(images.train)
        held_out = [(step, loss / len(valid)) for step, loss in result.evaluations]
        paths = [save_curve(output / "curve.png", losses, held_out)]
        paths += save_pictures(output, pictures(pair, valid, args), images)
        io.save(output / "pair.safetensors", pair)
    return {"pair": pair, "fit": result, "nll": nll, "units": units, "paths": paths}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help=".npz file of images; default digits, as bits")
    parser.add_argument("--model", choices=MODELS, default="vae")
    parser.add_argument("--network", choices=NETWORKS, default="dense")
    parser.add_argument("--num-particles", type=int, help="default 5 of iwae and two-layer, else 1")
    parser.add_argument("--latent-dim", type=int, default=50)
    parser.add_argument("--hidden-dim", type=int, default=200)
    parser.add_argument("--num-components", type=int, default=500, help="of vamp")
    parser.add_argument("--num-transforms", type=int, default=8, help="of flow posteriors")
    parser.add_argument("--rank", type=int, default=16, help="columns of sylvester's transforms")
    parser.add_argument("--num-epochs", type=int, default=100)
    parser.add_argument("--num-warmup-epochs", type=int, default=0, help="of the divergence")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--eval-every", type=int, default=5, help="epochs")
    parser.add_argument("--num-samples", type=int, default=5000, help="of the likelihood")
    parser.add_argument("--num-evaluated", type=int, default=1000, help="images with all samples")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--checkpoint", help="file to go on from")
    parser.add_argument("--output", help="directory for the pair and the pictures")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    args = parser.parse_args(argv)
    args.of_images = "convolutional" in args.network
    if args.num_particles is None:
        args.num_particles = 5 if args.model in ("iwae", "two-layer") else 1
    return args


if __name__ == "__main__":
    main(parse_args())
