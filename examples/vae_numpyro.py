"""Train variational auto-encoders on grey images (NumPyro).

Bits are Bernoulli variables, more levels discretised logistic ones. The negative log-likelihood of
the validation images is estimated by importance sampling, beside the bound, the active units and
pictures. With `--checkpoint` a run that was cut goes on.

    python examples/vae_numpyro.py --model iwae --num-particles 5 --output results
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from images import combine, load_images, save_curve, save_pictures

from numpyro_deepgen import distributions, io
from numpyro_deepgen.distributions.conditionals import DiscretizedLogisticConditional
from numpyro_deepgen.infer import IWELBO, BetaELBO, KLWarmup, fit, latent_statistics, log_evidence
from numpyro_deepgen.models import stacked_vae, vae

NETWORKS = ("dense", "gated", "convolutional", "gated_convolutional")
MODELS = ("vae", "iwae", "two-layer", "vamp", "planar", "iaf", "sylvester")
NUM_FEATURES = 200


def build(rng_key, images, args):
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
    pair_key, rng_key = jax.random.split(rng_key)
    if args.model == "two-layer":
        half = (args.hidden_dim // 2, args.hidden_dim // 2)
        return stacked_vae(pair_key, shape, (2 * dim, dim), (widths, half), **options)
    if args.model == "vamp":
        count = min(args.num_components, len(train))
        options["prior"] = distributions.VampPrior(rng_key, count, shape, limits, train[:count])
    elif args.model in ("planar", "iaf", "sylvester"):
        hidden_dims = (args.hidden_dim,) if args.model == "iaf" else ()
        recipe, sizes = getattr(distributions, args.model), (args.num_transforms, hidden_dims)
        extra = {"rank": min(args.rank, dim)} if args.model == "sylvester" else {}
        options["posterior"] = recipe(rng_key, dim, *sizes, context_dim=NUM_FEATURES, **extra)
    return vae(pair_key, shape, dim, widths, **options)


def bound_of(args, steps_per_epoch):
    """What is trained: importance weighted with several particles, else with a warm-up if asked."""
    if args.num_particles > 1:
        return IWELBO(args.num_particles)
    if args.num_warmup_epochs:
        return BetaELBO(KLWarmup(args.num_warmup_epochs * steps_per_epoch))
    return BetaELBO()


def train_pair(rng_key, pair, images, args):
    """Train, keeping the parameters with the best bound on the validation images."""
    train, valid = (
        jnp.asarray(images.shaped(rows, args.of_images)) for rows in (images.train, images.valid)
    )
    steps_per_epoch = len(train) // args.batch_size
    return fit(
        rng_key,
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


def likelihood(rng_key, pair, params, valid, args):
    """The negative log-likelihood of the validation images."""

    def weights(rows, num_samples, chunk):
        found = [
            log_evidence(
                jax.random.fold_in(rng_key, start),
                pair.model,
                pair.guide,
                params,
                num_samples,
                args=(jnp.asarray(rows[start : start + 100]),),
                chunk=chunk,
            )
            for start in range(0, len(rows), 100)
        ]
        return [np.concatenate([getattr(f, n) for f in found]) for n in ("log_evidence", "elbo")]

    some = valid[: min(args.num_evaluated, len(valid))]
    found = weights(some, args.num_samples, 100)
    return combine(weights(valid, 20, 20)[1], *found, dims=valid[0].size)


def pictures(rng_key, pair, valid, args):
    """Samples, reconstructions beside their originals, ways between images, and a grid."""
    keys, valid = jax.random.split(rng_key, 3), jnp.asarray(valid)
    found = {
        "samples": pair.sample(keys[0], 64, mean=True).reshape(8, 8, *valid.shape[1:]),
        "reconstructions": jnp.stack([valid[:12], pair.reconstruct(valid[:12], rng_key=keys[1])]),
        "interpolations": jnp.swapaxes(
            pair.interpolate(valid[:6], valid[6:12], 12, rng_key=keys[2]), 0, 1
        ),
    }
    if args.latent_dim == 2 and args.model != "vamp":
        found["manifold"] = pair.manifold(16)
    return {name: np.asarray(grid) for name, grid in found.items()}


def main(args):
    keys = jax.random.split(jax.random.key(args.seed), 5)
    images = load_images(args.data)
    pair = build(keys[0], images, args)
    result = train_pair(keys[1], pair, images, args)
    pair = pair.with_params(result.params)
    valid = images.shaped(images.valid, args.of_images)
    site = "z1" if args.model == "two-layer" else "z"
    units = latent_statistics(
        keys[2], pair.model, pair.guide, result.params, site, args=(valid[:2000],)
    )
    print(f"{args.model}: {len(images.train)} training images, best after {result.best_step} steps")
    print(f"{units.num_active} of {units.activity.size} units active, divergence {units.kl:.2f}")
    nll = likelihood(keys[3], pair, result.params, valid, args)
    print(nll)
    paths = []
    if args.output:
        output = Path(args.output)
        losses = result.losses / len(images.train)
        held_out = [(step, loss / len(valid)) for step, loss in result.evaluations]
        paths = [save_curve(output / "curve.png", losses, held_out)]
        paths += save_pictures(output, pictures(keys[4], pair, valid, args), images)
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
