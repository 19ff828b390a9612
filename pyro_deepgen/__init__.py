"""Deep generative models for Pyro: distributions, transforms, guides and their comparison.

Names live in subpackages: :mod:`~pyro_deepgen.distributions`,
:mod:`~pyro_deepgen.distributions.transforms`, :mod:`~pyro_deepgen.nn`, :mod:`~pyro_deepgen.infer`,
:mod:`~pyro_deepgen.compare` and :mod:`~pyro_deepgen.io`.
"""

__version__ = "0.1.0"
