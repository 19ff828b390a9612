"""Peers on torch: zuko and normflows, each a module with ``log_prob``."""

import math

import normflows
import torch
import zuko
from torch import nn
from zuko.flows import GF, MAF, NAF, NICE, NSF, SOSPF, UNAF
from zuko.transforms import (
    AdditiveTransform,
    GaussianizationTransform,
    MonotonicAffineTransform,
    MonotonicRQSTransform,
)

__all__ = ["PEERS"]


class _Lazy(nn.Module):
    """A zuko flow."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def log_prob(self, x):
        return self.flow().log_prob(x)


class _ToNoise(nn.Module):
    """Layers that map data to standard normal noise, after a learned location-scale."""

    def __init__(self, input_dim, layers):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(input_dim))
        self.log_scale = nn.Parameter(torch.zeros(input_dim))
        self.layers = nn.ModuleList(layers)

    def log_prob(self, x):
        x, log_det = (x - self.loc) * torch.exp(-self.log_scale), -self.log_scale.sum()
        for layer in self.layers:
            x, term = layer(x)
            log_det = log_det + term
        normal = -0.5 * x.square().sum(-1) - 0.5 * x.shape[-1] * math.log(2 * math.pi)
        return normal + log_det


def _zuko(make):
    def build(input_dim, size, seed):
        torch.manual_seed(seed)
        return _Lazy(make(input_dim, size))

    return build


def _location_scale(input_dim):
    zeros = torch.zeros(input_dim)
    return zuko.lazy.UnconditionalTransform(MonotonicAffineTransform, zeros, zeros.clone())


def _nice(input_dim, width):
    options = {"univariate": AdditiveTransform, "shapes": [()]}
    flow = NICE(input_dim, transforms=5, hidden_features=(width, width), **options)
    return zuko.flows.Flow([_location_scale(input_dim), *flow.transform.transforms], flow.base)


def _flowpp(input_dim, width):
    options = {"univariate": GaussianizationTransform, "shapes": [(8,), (8,)]}
    return NICE(input_dim, transforms=5, hidden_features=(width, width), **options)


def _nsf_coupling(input_dim, width):
    options = {"univariate": MonotonicRQSTransform, "shapes": [(8,), (8,), (7,)]}
    return NICE(input_dim, transforms=5, hidden_features=(width, width), **options)


def _iaf(input_dim, width):
    flow = MAF(input_dim, transforms=5, hidden_features=(width, width))
    return zuko.flows.Flow(flow.transform.inv, flow.base)


def _monotonic(recipe):
    def make(input_dim, width):
        hidden = (width, width)
        network = {"hidden_features": hidden}
        return recipe(input_dim, transforms=3, network=network, hidden_features=hidden)

    return make


def _planar(input_dim, num_layers, seed):
    torch.manual_seed(seed)
    return _ToNoise(input_dim, [normflows.flows.Planar((input_dim,)) for _ in range(num_layers)])


def _radial(input_dim, num_layers, seed):
    torch.manual_seed(seed)
    return _ToNoise(input_dim, [normflows.flows.Radial((input_dim,)) for _ in range(num_layers)])


PEERS = {
    ("zuko", "nice"): _zuko(_nice),
    ("zuko", "realnvp"): _zuko(lambda d, w: NICE(d, transforms=5, hidden_features=(w, w))),
    ("zuko", "flowpp"): _zuko(_flowpp),
    ("zuko", "maf"): _zuko(lambda d, w: MAF(d, transforms=5, hidden_features=(w, w))),
    ("zuko", "iaf"): _zuko(_iaf),
    ("zuko", "nsf_coupling"): _zuko(_nsf_coupling),
    ("zuko", "nsf_autoregressive"): _zuko(
        lambda d, w: NSF(d, transforms=5, hidden_features=(w, w))
    ),
    ("zuko", "naf"): _zuko(_monotonic(NAF)),
    ("zuko", "unaf"): _zuko(_monotonic(UNAF)),
    ("zuko", "sospf"): _zuko(lambda d, w: SOSPF(d, transforms=3, hidden_features=(w, w))),
    ("zuko", "gaussianization"): _zuko(lambda d, size: GF(d, transforms=6, components=size)),
    ("normflows", "planar"): _planar,
    ("normflows", "radial"): _radial,
}
