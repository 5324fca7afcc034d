"""Second floor: what to merge, as data. Recipes, their YAML, and plans worked out from headers.

Never reads a tensor.
"""

from mergelab.recipes.check import check
from mergelab.recipes.plan import Plan, plan
from mergelab.recipes.presets import GOLIATH, graft, interleave, repeat, stack, upscale
from mergelab.recipes.recipe import Part, Recipe, Rule, Setting, Slice, numbers
from mergelab.recipes.step import Home, Input, Layer, Step

__all__ = [
    "GOLIATH", "Home", "Input", "Layer", "Part", "Plan", "Recipe", "Rule", "Setting", "Slice", "Step", "check", "graft",
    "interleave", "numbers", "plan", "repeat", "stack", "upscale",
]  # fmt: skip
