"""A classifier that learned from real images and says which class a generated one is.

A support vector machine with a Gaussian kernel, exp(-gamma |x - y|^2), one against one (Cortes and Vapnik, 1995;
scikit-learn's `SVC`). It has no seed: the same data make the same judge. Its accuracy on generated images is the share
that look like the class they were asked to be; it cannot be higher than its accuracy on real held-out images
says much about, so report that beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from unmelt.errors import UsageError

if TYPE_CHECKING:
    from sklearn.svm import SVC


@final
class Judge:
    """Made by `Judge.fit`. Images are [n, *shape], floats in [0, 1]."""

    def __init__(self, machine: SVC) -> None:
        self._machine = machine

    @classmethod
    def fit(
        cls,
        x: Float[Tensor, "n *shape"],
        labels: Int64[Tensor, " n"],
        gamma: float = 0.256,
        C: float = 10.0,
    ) -> Judge:
        """Learn from labelled images.

        gamma   of the kernel, for pixels in [0, 1]; the default is scikit-learn's own 0.001 for digits, whose pixels
                go up to 16: 0.001 * 16^2
        C       how much a training error costs
        """
        try:
            from sklearn.svm import SVC
        except ImportError:
            raise UsageError(
                "scikit-learn, which the judge is made of, is not installed",
                "it is an optional part of unmelt",
                "pip install 'unmelt[digits]'",
            ) from None
        if len(labels.unique()) < 2:
            raise UsageError(
                "a judge was given fewer than two classes",
                "two or more to tell apart",
                "labels of more classes",
            )
        machine = SVC(gamma=gamma, C=C, decision_function_shape="ovo")
        return cls(machine.fit(x.flatten(1).double().numpy(), labels.numpy()))

    def labels(self, x: Float[Tensor, "n *shape"]) -> Int64[Tensor, " n"]:
        """The class that each image looks like."""
        return torch.from_numpy(self._machine.predict(x.flatten(1).double().numpy()))

    def accuracy(self, x: Float[Tensor, "n *shape"], labels: Int64[Tensor, " n"]) -> float:
        """The share of images that look like the class they should be."""
        return float((self.labels(x) == labels).double().mean())

    def margins(self, x: Float[Tensor, "n *shape"]) -> Float64[Tensor, "n pairs"]:
        """For each pair of classes, how far each image lies on the side of one or the other."""
        found = torch.from_numpy(self._machine.decision_function(x.flatten(1).double().numpy()))
        return found.double().reshape(len(x), -1)
