"""MCMC kernels of the host that use a trained guide."""

from .flow_independence import FlowIndependence

__all__ = ["FlowIndependence"]
