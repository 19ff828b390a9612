"""Pairs whose latent variables are codes: codes, their use, and the bound."""

from collections.abc import Callable

import torch
from pyro.distributions import Distribution
from torch import Tensor

from ..distributions.vector_quantized import nearest_codes, vectors_in_rows
from .top_down_pair import TopDownPair

__all__ = ["CodePair"]


class CodePair(TopDownPair):
    """Base class: a point mass at the nearest vectors of a codebook, for each level.

    The generator has ``codebooks``, one for each of its ``sites``; what is quantised is the
    ``inputs`` of a posterior.
    """

    def codes(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        """Integer codes of data by site, of an image of shape ``(B, height, width)``."""
        codebooks = zip(self.generator.sites, self.generator.codebooks, strict=True)
        found = self.encode(x, context)
        dim = self.generator.event_dim
        return {name: nearest_codes(found[name], book.weight, dim) for name, book in codebooks}

    def usage(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        """How often each code is used by data, counts of shape ``(num_codes,)`` by site."""
        sizes = [len(book.weight) for book in self.generator.codebooks]
        counts = zip(self.codes(x, context).items(), sizes, strict=True)
        return {
            name: torch.bincount(codes.flatten(), minlength=size) for (name, codes), size in counts
        }

    def perplexity(self, x: Tensor, context: Tensor | None = None) -> dict[str, float]:
        r"""Effective number of codes that data use, by site.

        .. math:: \exp\Big(-\sum_k \hat p_k \log \hat p_k\Big)

        Pass all data, or a large part of them: that of a minibatch is too low.
        """
        found = {}
        for name, count in self.usage(x, context).items():
            share = count / count.sum()
            logs = torch.log(share.clamp(min=1e-12))
            found[name] = float(torch.exp(-(share * logs).sum()))
        return found

    def bound(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The evidence lower bound of each datum, in nats: reconstruction and codes, exactly."""
        codes, total = self.encode(x, context), 0.0

        def choose(name: str, prior: Distribution, state) -> Tensor:
            nonlocal total
            total = total + prior.log_prob(codes[name])
            return codes[name]

        features = self.generator(choose, x.shape[:1], context)
        return total + self.decoder(features).log_prob(x)

    def restart_dead_codes(
        self, x: Tensor, min_usage: int = 1, context: Tensor | None = None
    ) -> "CodePair":
        """Move codes that data hardly use to vectors of random places of data.

        Args:
            x: all data, or a large part of them.
            min_usage: codes used less often are moved.
            context: shape ``(B, context_dim)``, or None.

        Returns:
            The pair, changed in place.
        """
        with torch.no_grad():
            inputs, usage = self._inputs(x, context), self.usage(x, context)
            books = dict(zip(self.generator.sites, self.generator.codebooks, strict=True))
            for name, book in books.items():
                rows = vectors_in_rows(inputs[name], self.generator.event_dim)
                picks = torch.randint(len(rows), (len(book.weight),), device=rows.device)
                book.move(usage[name] < min_usage, rows[picks])
        return self

    def _posteriors(self, x: Tensor, context: Tensor | None = None, **size) -> Callable:
        find = super()._posteriors(x, context, **size)
        books = dict(zip(self.generator.sites, self.generator.codebooks, strict=True))
        for book in books.values():
            book.refresh()

        def observed(name: str, prior: Distribution, state) -> Distribution:
            q = find(name, prior, state)
            books[name].observe(vectors_in_rows(q.inputs, q.event_dim), q.codes.flatten())
            return q

        return observed

    def _inputs(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        """The vectors that are quantised, by site."""
        posterior, found = self._at_means(x, context), {}

        def choose(*site) -> Tensor:
            q = posterior(*site)
            found[site[0]] = q.inputs
            return q.mean

        self.generator(choose, x.shape[:1], context)
        return found
