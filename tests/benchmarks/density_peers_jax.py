"""Peers on JAX: flowjax's recipes, each a pytree with ``log_prob``."""

import jax
import jax.nn as jnn
import jax.numpy as jnp
from flowjax import flows
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import Normal

__all__ = ["PEERS"]

# built once, so that flows of different seeds are one program
SPLINE = RationalQuadraticSpline(knots=8, interval=5)
AFFINE = flows._affine_with_min_scale()
ACTIVATION = jnn.relu


def _layers(recipe, transformer, **options):
    def build(input_dim, width, seed):
        return recipe(
            jax.random.key(seed),
            base_dist=Normal(jnp.zeros(input_dim)),
            transformer=transformer,
            flow_layers=5,
            nn_width=width,
            nn_depth=2,
            nn_activation=ACTIVATION,
            **options,
        )

    return build


def _bnaf(input_dim, width, seed):
    return flows.block_neural_autoregressive_flow(
        jax.random.key(seed),
        base_dist=Normal(jnp.zeros(input_dim)),
        nn_depth=2,
        nn_block_dim=width,
        flow_layers=5,
    )


def _planar(input_dim, num_layers, seed):
    return flows.planar_flow(
        jax.random.key(seed), base_dist=Normal(jnp.zeros(input_dim)), flow_layers=num_layers
    )


PEERS = {
    ("flowjax", "realnvp"): _layers(flows.coupling_flow, AFFINE),
    ("flowjax", "maf"): _layers(flows.masked_autoregressive_flow, AFFINE),
    ("flowjax", "iaf"): _layers(flows.masked_autoregressive_flow, AFFINE, invert=False),
    ("flowjax", "nsf_coupling"): _layers(flows.coupling_flow, SPLINE),
    ("flowjax", "nsf_autoregressive"): _layers(flows.masked_autoregressive_flow, SPLINE),
    ("flowjax", "bnaf"): _bnaf,
    ("flowjax", "planar"): _planar,
}
