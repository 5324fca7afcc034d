"""Widening: tensors of narrower layers in the shape of wider ones."""

from __future__ import annotations

import torch


def padded(tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """A new tensor of ``shape`` and the same dtype, with ``tensor`` in its first corner and zeros elsewhere."""
    made = tensor.new_zeros(shape)
    made[tuple(slice(size) for size in tensor.shape)] = tensor
    return made


def repeated(tensor: torch.Tensor, head_size: int, times: int) -> torch.Tensor:
    """A new tensor in which each head, a run of ``head_size`` rows, stands ``times`` times in a row.

    Args:
        tensor: of shape (heads * head_size, ...).

    Returns:
        Of shape (heads * times * head_size, ...) and the same dtype.
    """
    heads = tensor.unflatten(0, (-1, head_size))
    return heads.repeat_interleave(times, dim=0).flatten(0, 1)
