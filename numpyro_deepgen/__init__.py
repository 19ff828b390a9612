"""Deep generative models for NumPyro: distributions, transforms, guides and their comparison.

Names live in subpackages: :mod:`~numpyro_deepgen.distributions`,
:mod:`~numpyro_deepgen.distributions.transforms`, :mod:`~numpyro_deepgen.nn`,
:mod:`~numpyro_deepgen.infer`, :mod:`~numpyro_deepgen.compare` and :mod:`~numpyro_deepgen.io`.
"""

__version__ = "0.1.0"
