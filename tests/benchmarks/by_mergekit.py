"""One merge by mergekit, its folder loaded and asked: ``PYTHON by_mergekit.py THREADS DEVICE TOKENIZER < JSON``.

Run by bench_live.py with the Python of an environment where mergekit is installed; imports nothing of mergelab. JSON:
the recipe as mergekit's YAML, and the prompts. Prints the seconds it took, without the start of Python and imports.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import MergeOptions, run_merge
from transformers import AutoModelForCausalLM, AutoTokenizer

if __name__ == "__main__":
    threads, device, tokenizer = sys.argv[1:]
    asked = json.load(sys.stdin)
    torch.set_num_threads(int(threads))
    configuration = MergeConfiguration.model_validate(yaml.safe_load(asked["recipe"]))
    ids = AutoTokenizer.from_pretrained(tokenizer)(asked["prompts"], return_tensors="pt")["input_ids"]
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        started = time.perf_counter()
        out = Path(scratch) / "merged"
        run_merge(configuration, out_path=str(out), options=MergeOptions(cuda=device == "cuda", copy_tokenizer=False))
        model = AutoModelForCausalLM.from_pretrained(out).to(device)
        model(ids.to(device)).logits[:, -1].float().softmax(-1).cpu()
        print(time.perf_counter() - started)
