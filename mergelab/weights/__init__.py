"""First floor: what lies on disk. Addresses, headers, lazily mapped tensors, the parts of a model by name."""

from mergelab.weights.anatomy import Anatomy, layer_count_key
from mergelab.weights.checkpoint import Checkpoint, open_checkpoint
from mergelab.weights.header import FLOATS, ITEM_BITS, TensorSpec
from mergelab.weights.source import Source

__all__ = [
    "FLOATS",
    "ITEM_BITS",
    "Anatomy",
    "Checkpoint",
    "Source",
    "TensorSpec",
    "layer_count_key",
    "open_checkpoint",
]
