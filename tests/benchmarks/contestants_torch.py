"""Flows of one size in torch: ours, four peers', and the bare networks.

A contestant is a pair of functions: ``log_prob(x)``, and ``sample(n)`` that returns samples with
their log-densities where ``joint`` is set. Parameters sit in a module.
"""

from collections.abc import Callable
from dataclasses import dataclass

import nflows.transforms
import normflows
import pyro.distributions as dist
import pyro.distributions.transforms as pyro_transforms
import torch
import zuko
from pyro.nn import AutoRegressiveNN
from torch import Tensor, nn

from pyro_deepgen.distributions import iaf, maf, nsf, realnvp

HIDDEN, LAYERS, BINS, BOUND, BATCH = (64, 64), 5, 8, 5.0, 1024
FAMILIES = ("MAF", "IAF", "NSF-AR", "RealNVP", "NSF-coupling")


class Network(nn.Sequential):
    """The network of a coupling, as the peers call it: with a context that is None."""

    def __init__(self, num_inputs: int, num_outputs: int):
        sizes = [num_inputs, *HIDDEN, num_outputs]
        parts = []
        for one, other in zip(sizes[:-1], sizes[1:], strict=True):
            parts += [nn.Linear(one, other), nn.ReLU()]
        super().__init__(*parts[:-1])

    def forward(self, x: Tensor, context: None = None) -> Tensor:
        return super().forward(x)


@dataclass
class Contestant:
    module: nn.Module
    log_prob: Callable[[Tensor], Tensor]
    sample: Callable[[int], Tensor]
    joint: Callable[[int], tuple[Tensor, Tensor]]


def ours(family: str, dim: int) -> Contestant:
    settings = {"num_transforms": LAYERS, "hidden_dims": HIDDEN, "activation": "relu"}
    spline = {"num_bins": BINS, "bound": BOUND}
    flow = {
        "MAF": lambda: maf(dim, **settings),
        "IAF": lambda: iaf(dim, **settings),
        "NSF-AR": lambda: nsf(dim, **settings, **spline, kind="autoregressive"),
        "RealNVP": lambda: realnvp(dim, **settings),
        "NSF-coupling": lambda: nsf(dim, **settings, **spline),
    }[family]()

    def joint(n):
        density = flow()
        x = density.rsample((n,))
        return x, density.log_prob(x)

    return Contestant(flow, lambda x: flow().log_prob(x), lambda n: flow().rsample((n,)), joint)


def of_zuko(family: str, dim: int) -> Contestant:
    settings = {"transforms": LAYERS, "hidden_features": HIDDEN}
    flow = {
        "MAF": lambda: zuko.flows.MAF(dim, **settings),
        "IAF": lambda: zuko.flows.MAF(dim, **settings),
        "NSF-AR": lambda: zuko.flows.NSF(dim, bins=BINS, **settings),
        "RealNVP": lambda: zuko.flows.MAF(dim, passes=2, **settings),
        "NSF-coupling": lambda: zuko.flows.NSF(dim, bins=BINS, passes=2, **settings),
    }[family]()
    if family == "IAF":
        flow = zuko.lazy.Flow(flow.transform.inv, flow.base)
    return Contestant(
        flow,
        lambda x: flow().log_prob(x),
        lambda n: flow().rsample((n,)),
        lambda n: flow().rsample_and_log_prob((n,)),
    )


def of_pyro(family: str, dim: int) -> Contestant:
    hidden = list(HIDDEN)
    splits = {"split_dim": dim // 2, "hidden_dims": hidden}
    make = {
        "MAF": lambda: pyro_transforms.affine_autoregressive(dim, hidden),
        "IAF": lambda: pyro_transforms.affine_autoregressive(dim, hidden),
        "NSF-AR": lambda: pyro_transforms.SplineAutoregressive(
            dim,
            AutoRegressiveNN(dim, hidden, param_dims=[BINS, BINS, BINS - 1]),
            count_bins=BINS,
            bound=BOUND,
            order="quadratic",
        ),
        "RealNVP": lambda: pyro_transforms.affine_coupling(dim, **splits),
        "NSF-coupling": lambda: pyro_transforms.spline_coupling(
            dim, **splits, count_bins=BINS, bound=BOUND
        ),
    }[family]
    layers = [make() for _ in range(LAYERS)]
    base = dist.Normal(torch.zeros(dim), 1.0).to_event(1)

    def density():
        chain = []
        for layer in layers:
            layer.clear_cache()
            chain.append(layer.inv if family in ("MAF", "NSF-AR") else layer)
            chain.append(pyro_transforms.Permute(torch.arange(dim - 1, -1, -1)))
        return dist.TransformedDistribution(base, chain)

    def joint(n):
        made = density()
        x = made.rsample((n,))
        return x, made.log_prob(x)

    return Contestant(
        nn.ModuleList(layers),
        lambda x: density().log_prob(x),
        lambda n: density().rsample((n,)),
        joint,
    )


def chained(layers: list[nn.Module], dim: int, forward_scores: bool) -> Contestant:
    """Return the contestant of layers whose forward and inverse give a pair."""
    base = dist.Normal(torch.zeros(dim), 1.0).to_event(1)
    score, draw = ("forward", "inverse") if forward_scores else ("inverse", "forward")

    def log_prob(x):
        total = 0.0
        for layer in layers:
            x, log_det = getattr(layer, score)(x)
            x, total = x.flip(-1), total + log_det
        return base.log_prob(x) + total

    def joint(n):
        x = base.rsample((n,))
        total = base.log_prob(x)
        for layer in reversed(layers):
            x, log_det = getattr(layer, draw)(x.flip(-1))
            total = total - log_det
        return x, total

    return Contestant(nn.ModuleList(layers), log_prob, lambda n: joint(n)[0], joint)


def of_nflows(family: str, dim: int) -> Contestant:
    masked = {"features": dim, "hidden_features": 64, "num_blocks": 1, "use_residual_blocks": False}
    spline = {"num_bins": BINS, "tails": "linear", "tail_bound": BOUND}
    mask = torch.arange(dim) % 2

    t = nflows.transforms
    make = {
        "MAF": lambda: t.MaskedAffineAutoregressiveTransform(**masked),
        "IAF": lambda: t.MaskedAffineAutoregressiveTransform(**masked),
        "NSF-AR": lambda: t.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            **masked, **spline
        ),
        "RealNVP": lambda: t.AffineCouplingTransform(mask, Network),
        "NSF-coupling": lambda: t.PiecewiseRationalQuadraticCouplingTransform(
            mask, Network, **spline
        ),
    }[family]
    return chained([make() for _ in range(LAYERS)], dim, family != "IAF")


def of_normflows(family: str, dim: int) -> Contestant:
    masked = {"features": dim, "hidden_features": 64, "num_blocks": 1, "use_residual_blocks": False}
    spline = {"num_bins": BINS, "tails": "linear", "tail_bound": BOUND}
    mask = torch.arange(dim) % 2

    splines = normflows.flows.neural_spline
    make = {
        "MAF": lambda: normflows.flows.MaskedAffineAutoregressive(**masked),
        "IAF": lambda: normflows.flows.MaskedAffineAutoregressive(**masked),
        "NSF-AR": lambda: splines.autoregressive.MaskedPiecewiseRationalQuadraticAutoregressive(
            **masked, **spline
        ),
        "RealNVP": lambda: normflows.flows.AffineCouplingBlock(
            Network(dim - dim // 2, 2 * (dim // 2))
        ),
        "NSF-coupling": lambda: splines.coupling.PiecewiseRationalQuadraticCoupling(
            mask, Network, **spline
        ),
    }[family]
    return chained([make() for _ in range(LAYERS)], dim, family != "IAF")


def floor(family: str, dim: int) -> Contestant:
    """Return the networks alone: matrix products, biases and activations, no masks."""
    num_params = 3 * BINS - 1 if family.startswith("NSF") else 2
    coupling = family in ("RealNVP", "NSF-coupling")
    num_inputs = dim - dim // 2 if coupling else dim
    num_outputs = num_params * (dim // 2 if coupling else dim)
    networks = nn.ModuleList(Network(num_inputs, num_outputs) for _ in range(LAYERS))

    def log_prob(x):
        x = x[..., :num_inputs]
        return sum(network(x).square().sum(-1) for network in networks)

    def sample(n):
        return log_prob(torch.randn(n, dim, device=networks[0][0].weight.device))

    return Contestant(networks, log_prob, sample, sample)


LIBRARIES = {
    "floor": floor,
    "ours": ours,
    "zuko": of_zuko,
    "normflows": of_normflows,
    "nflows": of_nflows,
    "pyro": of_pyro,
}


def operations(library: str, family: str, dim: int, device: str) -> dict[str, Callable]:
    """Return what is timed: log_prob, train, sample and joint, on trained-like weights."""
    torch.manual_seed(0)
    entry = LIBRARIES[library](family, dim)
    module = entry.module.to(device)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    x = torch.randn(BATCH, dim, device=device)
    optimizer = torch.optim.Adam(module.parameters(), 1e-4)

    def settle():
        if device != "cpu":
            torch.cuda.synchronize()

    def timed(function):
        def call():
            with torch.no_grad():
                function()
            settle()

        return call

    def train():
        optimizer.zero_grad(set_to_none=True)
        if family == "IAF":
            # reverse Kullback-Leibler divergence: the cheap direction of this flow
            loss = entry.joint(BATCH)
            loss = loss if torch.is_tensor(loss) else loss[1]
        else:
            loss = -entry.log_prob(x)
        loss.mean().backward()
        optimizer.step()
        settle()

    return {
        "log_prob": timed(lambda: entry.log_prob(x)),
        "train": train,
        "sample": timed(lambda: entry.sample(BATCH)),
        "joint": timed(lambda: entry.joint(BATCH)),
    }


def num_parameters(library: str, family: str, dim: int) -> int:
    return sum(p.numel() for p in LIBRARIES[library](family, dim).module.parameters())


def saved_mebibytes(family: str, dim: int) -> float:
    """Return what the graph of a reparameterised sample and its score keeps, in MiB, ours."""
    storages, kept = {}, []

    def pack(tensor):
        kept.append(tensor)
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    entry = ours(family, dim)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        entry.joint(BATCH)
    held = {p.untyped_storage().data_ptr() for p in entry.module.parameters()}
    return sum(size for place, size in storages.items() if place not in held) / 2**20
