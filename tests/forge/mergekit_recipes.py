"""Recipes for mergekit itself to run: every method of its, and all that a recipe says that mergekit can say, too.

Paths begin with a dot: mergekit takes others for names on the hub now and then. Over models base, a, b and c of one
vocabulary, ext of a larger one, and the adapter lora to a; six layers each.
"""

from __future__ import annotations

# These run by commands of their own, the others in one process.
ALONE = ("adapter", "methods-by-slice")


def _whole(method: str, models: str, more: str = "", base: str = "./base") -> str:
    """A recipe of whole models: ``models`` as ``a 0.3, b 0.6`` with their weights, or without."""
    entries = [one.split() for one in models.split(", ")]
    listed = [
        f"{{model: ./{name}{''.join(f', parameters: {{weight: {one}}}' for one in rest)}}}" for name, *rest in entries
    ]
    start = f"merge_method: {method}\n" + (f"base_model: {base}\n" if base else "")
    return f"{start}models: [{', '.join(listed)}]\n{more}"


RECIPES = {
    "linear": _whole("linear", "a 0.3, b [0.2,0.9]", "parameters: {normalize: false}\n", base=""),
    "slerp": _whole(
        "slerp", "a", "parameters: {t: [{filter: self_attn, value: [0, 1]}, {filter: mlp, value: 0.7}, {value: 0.4}]}\n"
    ),
    "nuslerp": _whole(
        "nuslerp", "a 0.3, b 0.9", "parameters: {nuslerp_flatten: false, nuslerp_row_wise: true}\n", base=""
    ),
    "multislerp": _whole("multislerp", "a 0.3, b 0.9, c 0.2", "parameters: {eps: 1.0e-7}\n"),
    "karcher": _whole("karcher", "a, b, c", "parameters: {max_iter: 7, tol: 1.0e-6}\n", base=""),
    "task_arithmetic": _whole("task_arithmetic", "a 0.3, b 0.9", "parameters: {lambda: 0.7}\n"),
    "ties": _whole("ties", "a 0.3, b 0.9", "parameters: {density: [0.3, 1], lambda: 0.9, rescale: true}\n"),
    "dare_linear": _whole("dare_linear", "a 0.3, b 0.9", "seed: 5\n"),
    "dare_ties": _whole("dare_ties", "a 0.3, b 0.9", "parameters: {normalize: true}\nseed: 5\n"),
    "della": _whole("della", "a 0.3, b 0.9", "parameters: {density: 1}\nseed: 5\n"),
    "della_linear": _whole("della_linear", "a 0.3, b 0.9", "seed: 5\n"),
    "breadcrumbs": _whole("breadcrumbs", "a 0.3, b 0.9", "parameters: {density: 0.5, gamma: 0.05}\n"),
    "breadcrumbs_ties": _whole("breadcrumbs_ties", "a 0.3, b 0.9", "parameters: {density: 0.5, gamma: [0.01, 0.1]}\n"),
    "model_stock": _whole("model_stock", "a, b", "parameters: {filter_wise: true}\n"),
    "sce": _whole("sce", "a, b", "parameters: {select_topk: 0.3}\n"),
    "ram": _whole("ram", "a, b", "parameters: {epsilon: 0.001}\n"),
    "ramplus_tl": _whole("ramplus_tl", "a, b", "parameters: {r: 0.2, alpha: 0.3}\n"),
    "nearswap": _whole("nearswap", "a", "parameters: {t: 0.01}\n"),
    "arcee_fusion": _whole("arcee_fusion", "a"),
    "dtypes": _whole("linear", "a 0.3, b 0.9", "dtype: float32\nout_dtype: bfloat16\n", base=""),
    "union": _whole("linear", "a 0.3, ext 0.9", "tokenizer: {source: union}\n", base=""),
    "tokenizer-of-a-model": _whole("linear", "a 0.3, ext 0.9", "tokenizer: {source: ./ext}\n", base=""),
    "tokens": _whole(
        "linear",
        "a 0.3, ext 0.9",
        """tokenizer:
  source: union
  tokens:
    w3: {source: ./ext, force: true}
    <new>: {source: {kind: zero}}
    <newer>: {source: {kind: model_token, model: ./ext, token: w5}}
""",
        base="",
    ),
    "padding": _whole("slerp", "a", "parameters: {t: 0.5}\ntokenizer: {source: base, pad_to_multiple_of: 1}\n"),
    "chat-template": _whole("linear", "a 0.3, b 0.9", "chat_template: chatml\n", base=""),
    "adapter": _whole("linear", "a+./lora 0.3, b 0.9", base=""),
    "layers-of-two-models": """merge_method: passthrough
slices:
  - sources: [{model: ./a, layer_range: [0, 4]}]
  - sources: [{model: ./b, layer_range: [2, 6]}]
    parameters: {scale: [{filter: down_proj, value: [0.5, 1]}, {filter: lm_head, value: 0.7}]}
parameters: {scale: {filter: norm, value: 1.1}}
""",
    "bases-by-slice": """merge_method: task_arithmetic
base_model: ./base
slices:
  - sources: [{model: ./a, layer_range: [0, 3], parameters: {weight: 1}}, {model: ./c, layer_range: [0, 3]}]
    base_model: ./c
  - sources: [{model: ./base, layer_range: [3, 6]}, {model: ./b, layer_range: [3, 6], parameters: {weight: [0.2, 0.6]}}]
parameters: {lambda: 0.5}
""",
    "module": """merge_method: slerp
base_model: ./base
modules:
  default:
    slices: [{sources: [{model: ./a, layer_range: [0, 6]}, {model: ./base, layer_range: [0, 6]}]}]
    parameters: {t: {filter: mlp, value: 0.2}}
parameters: {t: 0.6}
""",
    "fewer-sources-at-last": """merge_method: linear
slices:
  - sources: [{model: ./a, layer_range: [0, 3], parameters: {weight: 0.3}}, {model: ./b, layer_range: [0, 3]}]
  - sources: [{model: ./c, layer_range: [3, 6], parameters: {weight: 1}}]
parameters: {weight: 0.5}
""",
    "more-sources-at-last": """merge_method: ties
base_model: ./base
slices:
  - sources: [{model: ./a, layer_range: [0, 3]}, {model: ./base, layer_range: [0, 3]}]
  - sources:
      - {model: ./a, layer_range: [3, 6]}
      - {model: ./b, layer_range: [3, 6], parameters: {weight: [0.6, 0.2]}}
      - {model: ./base, layer_range: [3, 6]}
parameters: {density: 0.5, weight: 0.7}
""",
    "stages": """name: one
merge_method: slerp
base_model: ./base
models: [{model: ./a}]
parameters: {t: 0.4}
---
merge_method: task_arithmetic
base_model: ./base
models: [{model: one, parameters: {weight: 0.5}}, {model: ./c, parameters: {weight: 0.7}}]
""",
    "methods-by-slice": """merge_method: slerp
base_model: ./base
slices:
  - sources: [{model: ./base, layer_range: [0, 2]}, {model: ./a, layer_range: [2, 4]}]
    parameters: {t: [{filter: mlp, value: [0, 1]}, {value: 0.25}]}
  - merge_method: ties
    sources: [{model: ./base, layer_range: [2, 4]}, {model: ./b, layer_range: [2, 4]}]
    parameters: {weight: 0.5, density: 0.4}
  - merge_method: passthrough
    sources: [{model: ./b, layer_range: [3, 4]}]
    parameters: {scale: {filter: o_proj, value: 0.5}}
  - merge_method: linear
    sources: [{model: ./c, layer_range: [3, 4], parameters: {weight: 0.4}}]
  - merge_method: linear
    sources: [{model: ./c, layer_range: [3, 5], parameters: {weight: 0.4}}, {model: ./b, layer_range: [3, 5]}]
    parameters: {weight: 0.6}
  - sources: [{model: ./base, layer_range: [5, 6]}, {model: ./b, layer_range: [5, 6]}]
    parameters: {t: 0.75}
dtype: float32
""",
}
"""Name -> recipe. Random methods keep all elements, so that nothing is drawn; the shared cases have the others."""
