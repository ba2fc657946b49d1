"""A Gaussian law of whole windows, diagonal in a frame of EOFs in space and eigenvectors in time.

It is what is known of a remainder before any network is trained. A denoiser built on it starts as the optimal one for
that Gaussian, and a sampler that integrates it exactly bends no spread, at any number of steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from models.eofs import sketch

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
        """Mean over cells that vary of the variance that an element-wise ``gain`` stands for, ``(batch, leads)``.

        Args:
            gain: Variance of each element after some operation, ``(batch, elements)``, one for the cells of a lead.
        """
        leads, cells, varying = len(self.rest), self.patterns.shape[1], self._varying
        turned = gain[:, : self.variance.numel()].reshape(len(gain), leads, -1)
        modes = torch.einsum("klj,bjk->bl", self.rotation.square(), turned)
        left = gain[:, self.variance.numel() :].reshape(len(gain), leads, cells)[..., 0]
        return (modes + left * (varying - len(self.variance))) / varying

    @cached_property
    def _varying(self) -> int:
        """Number of cells that vary."""
        return int((self.patterns != 0).any(dim=0).sum())

    def arrays(self) -> dict[str, Tensor]:
        """By name, for storage."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def restore(cls, arrays: Mapping[str, Tensor]) -> Self:
        """From :meth:`arrays`."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def fit_law(windows: Tensor, fold: Tensor, modes: int) -> Law:
    """The Gaussian law of a sample of windows.

    Variances are those along EOFs computed without the windows they are measured on: in the sample that gave them,
    leading EOFs hold too much and leave too little. Each mode has a correlation of its own between leads, drawn towards
    the mean one of all modes as far as the sample is short. What the EOFs leave is taken as independent between cells
    and leads.

    Args:
        windows: ``(samples, leads, cells)``, mean zero by construction.
        fold: Fold of each window, ``(samples,)``.
        modes: EOFs at most; fewer than half the samples of a fold and the cells that vary. A single cell is one.
    """
    samples, leads, _ = windows.shape
    modes = min(modes, samples // 4, max(1, int((windows.square().sum(dim=(0, 1)) > 0).sum()) // 2))
    explained, rest = _held_out_variance(windows, fold, modes)
    patterns = leading_patterns(windows.flatten(0, 1), modes)
    components = windows @ patterns.T
    covariance = torch.einsum("nlk,nmk->klm", components, components) / samples
    deviation = covariance.diagonal(dim1=1, dim2=2).clamp(min=1e-12).sqrt()
    outer = deviation[:, :, None] * deviation[:, None, :]
    own = samples / (samples + 10.0 * leads)
    correlation = own * covariance / outer + (1.0 - own) * covariance.sum(dim=0) / outer.sum(dim=0)
    root = explained.clamp(min=1e-8).sqrt()
    values, rotation = torch.linalg.eigh((correlation * root[:, :, None] * root[:, None, :]).double())
    return Law(patterns, rotation.float(), values.clamp(min=1e-8).float(), rest.clamp(min=1e-8))


def _held_out_variance(windows: Tensor, fold: Tensor, modes: int) -> tuple[Tensor, Tensor]:
    """Variance of each mode ``(modes, leads)``, and per varying cell of what they leave ``(leads,)``, out of fold."""
    explained = torch.zeros(modes, windows.shape[1])
    for number in range(int(fold.max()) + 1):
        patterns = leading_patterns(windows[fold != number].flatten(0, 1), modes)
        explained += (windows[fold == number] @ patterns.T).square().sum(dim=0).T / len(windows)
    power = windows.square().sum(dim=1).sum(dim=0)
    total = windows.square().sum(dim=(0, 2)) / len(windows)
    return explained, (total - explained.sum(dim=0)) / ((power > 0).sum() - modes).clamp(min=1)


def leading_patterns(samples: Tensor, modes: int) -> Tensor:
    """Orthonormal EOFs of ``(samples, cells)`` in plain cells, so that white noise stays white."""
    values = samples[torch.linspace(0, len(samples) - 1, min(SAMPLES, len(samples))).long()]
    patterns: Tensor = torch.linalg.svd(sketch(values, modes), full_matrices=False).Vh[:modes]
    return patterns
