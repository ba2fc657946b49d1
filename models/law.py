"""A Gaussian law of whole windows, diagonal in a frame of EOFs in space and eigenvectors in time.

It is what is known of a remainder before any network is trained. A denoiser built on it starts as the optimal one for
that Gaussian, and a sampler that integrates it exactly bends no spread, at any number of steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from models.anchor import eofs

SAMPLES = 1024
"""States that the EOFs are computed from, at most: more change them little and cost memory."""


@dataclass(frozen=True)
class Law:
    """Zero-mean Gaussian of windows ``(leads, channels, latitude, longitude)``.

    A window has two parts in the frame: ``leads * modes`` coefficients, and what the EOFs leave in each cell. One flat
    vector ``(leads * modes + leads * cells,)`` holds both, with independent elements.

    Attributes:
        patterns: Orthonormal EOFs, zero on masked cells, ``(modes, cells)``.
        rotation: Eigenvectors in time of each mode's covariance, ``(modes, leads, leads)``, eigenvectors last.
        variance: Their eigenvalues, ``(modes, leads)``.
        rest: Variance per cell of what the EOFs leave, ``(leads,)``.
    """

    patterns: Tensor
    rotation: Tensor
    variance: Tensor
    rest: Tensor

    def analyse(self, window: Tensor) -> Tensor:
        """Into the frame: ``(batch, leads, channels, latitude, longitude)`` to ``(batch, elements)``."""
        flat = window.flatten(2)
        patterns, rotation = self.patterns.to(flat), self.rotation.to(flat)
        modes = flat @ patterns.T
        turned = torch.einsum("blk,klj->bjk", modes, rotation)
        return torch.cat([turned.flatten(1), (flat - modes @ patterns).flatten(1)], dim=1)

    def synthesise(self, elements: Tensor, shape: torch.Size) -> Tensor:
        """Back to cells: ``(batch, elements)`` to ``(batch, *shape)``."""
        leads, count = len(self.rest), self.variance.numel()
        patterns, rotation = self.patterns.to(elements), self.rotation.to(elements)
        turned = elements[:, :count].reshape(len(elements), leads, -1)
        modes = torch.einsum("bjk,klj->blk", turned, rotation)
        flat = modes @ patterns + elements[:, count:].reshape(len(elements), leads, -1)
        return flat.reshape(len(elements), *shape)

    def elements(self) -> Tensor:
        """Variance of each element, ``(leads * modes + leads * cells,)``."""
        cells = self.patterns.shape[1]
        return torch.cat([self.variance.T.flatten(), self.rest.repeat_interleave(cells)])

    def per_lead(self, gain: Tensor) -> Tensor:
        """Mean over cells of the variance that an element-wise ``gain`` stands for, ``(batch, leads)``.

        Args:
            gain: Variance of each element after some operation, ``(batch, elements)``, one for the cells of a lead.
        """
        leads, cells = len(self.rest), self.patterns.shape[1]
        turned = gain[:, : self.variance.numel()].reshape(len(gain), leads, -1)
        modes = torch.einsum("klj,bjk->bl", self.rotation.square(), turned)
        left = gain[:, self.variance.numel() :].reshape(len(gain), leads, cells)[..., 0]
        return (modes + left * (cells - self.variance.shape[0])) / cells

    def arrays(self) -> dict[str, Tensor]:
        """By name, for storage."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def restore(cls, arrays: Mapping[str, Tensor]) -> Self:
        """From :meth:`arrays`."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def fit_law(windows: Tensor, patterns: Tensor) -> Law:
    """The Gaussian law of a sample of windows in the frame of given EOFs.

    Each mode has a correlation of its own between leads, drawn towards the mean one of all modes as far as the sample
    is short. What the EOFs leave is taken as independent between cells and leads.

    Args:
        windows: ``(samples, leads, cells)``, mean zero by construction.
        patterns: Orthonormal EOFs, ``(modes, cells)``.
    """
    samples, leads, cells = windows.shape
    components = windows @ patterns.T
    rest = (windows.square().sum(dim=(0, 2)) - components.square().sum(dim=(0, 2))) / (
        samples * max(1, cells - len(patterns))
    )
    covariance = torch.einsum("nlk,nmk->klm", components, components) / samples
    deviation = covariance.diagonal(dim1=1, dim2=2).clamp(min=1e-12).sqrt()
    outer = deviation[:, :, None] * deviation[:, None, :]
    mean = covariance.sum(dim=0) / outer.sum(dim=0)
    own = samples / (samples + 10.0 * leads)
    shrunk = own * covariance + (1.0 - own) * mean * outer
    variance, rotation = torch.linalg.eigh(shrunk.double())
    return Law(patterns, rotation.float(), variance.clamp(min=1e-8).float(), rest.clamp(min=1e-8))


def leading_patterns(samples: Tensor, modes: int) -> Tensor:
    """EOFs of ``(samples, cells)`` in plain cells, so that white noise stays white in their frame."""
    rows = torch.linspace(0, len(samples) - 1, min(SAMPLES, len(samples))).long()
    return eofs(samples[rows], min(modes, len(rows) // 2))
