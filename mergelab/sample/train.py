"""Train the sample family from nothing: ``python -m mergelab.sample.train [--out DIR] [--only NAME] [--quick]``.

A member depends on its `Run` and on its parent's weights; on one kind of processor and one version of torch, which runs
on one thread, it comes out the same to the bit. The whole family takes about an hour on one core. Weights, tokenizer,
cards and `figures.json` are written to DIR, by default into the package.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from tqdm.auto import tqdm

from mergelab.sample import text
from mergelab.sample.cards import Figures, family_card, member_card
from mergelab.sample.runs import CONTEXT, HEADS, ROW, RUNS, WIDTH, Mixture, Run, Shape
from mergelab.sample.skills import SKILLS, score
from mergelab.sample.tokens import tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

QUICK_STEPS = 12
SCORED = 400  # held-out documents per skill
IGNORED = -100  # what cross_entropy calls a target without loss


def build(shape: Shape, vocabulary: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A Llama of this shape with random float32 weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=WIDTH,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=HEADS,
        num_key_value_heads=shape.key_value_heads,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=shape.norm_epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        bos_token_id=vocabulary.bos_token_id,
        eos_token_id=vocabulary.eos_token_id,
        pad_token_id=vocabulary.pad_token_id,
        dtype="float32",
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config)


def batches(
    mixture: Mixture, vocabulary: PreTrainedTokenizerFast, rows: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Token ids and targets without end, both int64, rows x ROW.

    Documents of the training side are packed one after another into a row. A position's target is the token after it
    where that belongs to an answer, and IGNORED elsewhere.
    """
    rng = random.Random(seed)
    generators = [generator for generator, _ in mixture]
    weights = [weight for _, weight in mixture]
    eos, pad = vocabulary.eos_token_id, vocabulary.pad_token_id
    while True:
        ids = torch.full((rows, ROW), pad)
        targets = torch.full((rows, ROW), IGNORED)
        row = at = 0
        while True:
            [generator] = rng.choices(generators, weights)
            document = next(text.draw(generator, rng, test=False))
            prompt = vocabulary.encode(document.prompt)
            answer = [*vocabulary.encode(document.answer, add_special_tokens=False), eos]
            end = at + len(prompt) + len(answer)
            if end > ROW:
                row, at = row + 1, 0
                if row == rows:
                    break
                end = len(prompt) + len(answer)
            ids[row, at:end] = torch.tensor([*prompt, *answer])
            targets[row, end - len(answer) - 1 : end - 1] = torch.tensor(answer)
            at = end
        yield ids, targets


def rate(step: int, steps: int, highest: float) -> float:
    """The learning rate at a step: up in a line over a tenth of the run, then down to zero along a cosine."""
    warm = max(1, steps // 10)
    if step < warm:
        return highest * (step + 1) / warm
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def train(model: LlamaForCausalLM, run: Run, vocabulary: PreTrainedTokenizerFast) -> list[float]:
    """Train in place; the loss of every step, in nats per answer token."""
    # Decay pulls on matrices only: gains have their own size to find.
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": 0.05},
            {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=run.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    losses: list[float] = []
    stream = batches(run.mixture, vocabulary, run.rows, run.seed)
    model.train()
    with tqdm(range(run.steps), desc=run.name, mininterval=1) as bar:
        for step in bar:
            for group in optimizer.param_groups:
                group["lr"] = rate(step, run.steps, run.learning_rate)
            ids, targets = next(stream)
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
            seen = targets != IGNORED
            loss = functional.cross_entropy(model.lm_head(hidden[seen]), targets[seen])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if step % 20 == 19:
                bar.set_postfix(loss=f"{sum(losses[-20:]) / 20:.3f}", refresh=False)
    model.eval()
    return losses


def make(run: Run, out: Path, vocabulary: PreTrainedTokenizerFast) -> Figures:
    """Train one member, write its folder, and measure it."""
    from transformers import LlamaForCausalLM

    began = time.perf_counter()
    if run.parent is None:
        model = build(run.shape, vocabulary, run.seed)
    else:
        model = LlamaForCausalLM.from_pretrained(out / run.parent)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    losses = train(model, run, vocabulary)
    seconds = time.perf_counter() - began

    folder = out / run.name
    model.save_pretrained(folder)
    vocabulary.save_pretrained(folder)
    scores = [score(model, vocabulary, skill, SCORED) for skill in SKILLS.values()]
    tail = losses[-100:]
    return Figures(
        steps=run.steps,
        learning_rate=run.learning_rate,
        seed=run.seed,
        seconds=round(seconds, 1),
        loss=round(sum(tail) / len(tail), 4),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        drift=None if run.parent is None else round(drift(before, list(model.parameters())), 4),
        scores={s.skill: round(s.value, 4) for s in scores},
        errors={s.skill: round(s.standard_error, 4) for s in scores},
        documents=SCORED,
    )


def drift(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> float:
    """||after - before|| / ||before||, Euclidean, over all weights together."""
    moved = sum(float((new.detach() - old).square().sum()) for old, new in zip(before, after, strict=True))
    return math.sqrt(moved / sum(float(old.square().sum()) for old in before))


def recorded(out: Path) -> dict[str, Figures]:
    """The figures of the members that are there, by name."""
    file = out / "figures.json"
    if not file.exists():
        return {}
    return {name: Figures(**row) for name, row in json.loads(file.read_text(encoding="utf-8")).items()}


def record(out: Path, measured: Mapping[str, Figures]) -> None:
    """Write figures.json, the card of the family and those of its members."""
    rows = {name: figures.to_json() for name, figures in measured.items()}
    (out / "figures.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (out / "README.md").write_text(family_card(measured), encoding="utf-8")
    for run in RUNS:
        if run.name in measured:
            (out / run.name / "README.md").write_text(member_card(run, measured[run.name]), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    names = [run.name for run in RUNS]
    parser = argparse.ArgumentParser(
        prog="python -m mergelab.sample.train",
        description="Train mergelab's sample family from nothing, seeded.",
    )
    default = Path(__file__).parent / "family"
    parser.add_argument("--out", type=Path, default=default, help="where the members go (default: the package)")
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        choices=names,
        help="train this member; its parent must be there",
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_STEPS} steps each, only to see that it runs")
    options = parser.parse_args(arguments)
    if options.quick and options.out == default:
        parser.error("--quick needs --out DIR: it would replace the family that ships with the package")
    chosen = [run for run in RUNS if not options.only or run.name in options.only]
    for run in chosen:
        if run.parent and run.parent not in {r.name for r in chosen} and not (options.out / run.parent).is_dir():
            parser.error(f"{run.name} is fine-tuned from {run.parent}, which is not in {options.out}: train it too")

    torch.set_num_threads(1)
    vocabulary = tokenizer()
    options.out.mkdir(parents=True, exist_ok=True)
    measured = recorded(options.out)
    for run in chosen:
        measured[run.name] = make(replace(run, steps=QUICK_STEPS) if options.quick else run, options.out, vocabulary)
        record(options.out, {name: measured[name] for name in names if name in measured})
        tqdm.write(f"{run.name}: " + ", ".join(f"{k} {v:g}" for k, v in measured[run.name].scores.items()))


if __name__ == "__main__":
    main()
