"""A start from nothing: a model that steps forward is set going from its mean and run until that is forgotten.

What it then draws is its own climate, at the season and under the forcing asked for.
"""

from dataclasses import replace

import torch
from torch import Tensor

from models.base import Context

SPIN_UP = 60
"""Steps that are drawn and thrown away: two months of weather, five years of sea surface temperature."""


def set_going(context: Context, *, history: int) -> Context:
    """The situation ``SPIN_UP`` steps earlier, with anomalies of zero for a history.

    The season runs backwards as fast as it runs through the leads (with one lead it stands still); the forcing is that
    of the first lead.

    Args:
        context: A situation without history.
        history: How many past states the model needs.
    """
    steps = SPIN_UP + history
    return replace(
        context,
        history=context.history.new_zeros(history, *context.history.shape[1:]),
        calendar=torch.cat([earlier(context.calendar, steps), context.calendar]),
        forcing=torch.cat([context.forcing[:1].expand(steps, -1), context.forcing]),
    )


def earlier(calendar: Tensor, steps: int) -> Tensor:
    """Sine and cosine of the phases before those of ``calendar``, ``(steps, 2)``."""
    phase = torch.atan2(calendar[:2, 0], calendar[:2, 1]).double()
    advance = (phase[-1] - phase[0]).remainder(2 * torch.pi)
    angle = phase[0] - advance * torch.arange(steps, 0, -1)
    size = calendar[0].norm()
    return (size * torch.stack([angle.sin(), angle.cos()], dim=1)).to(calendar)
