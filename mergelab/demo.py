"""The main job without a browser: a graft and a blend, what each model says, and their scores.

Every figure stands beside its controls: both parents, the base, the host with the same layers left out, and
the same graft at the bottom of the stack (where, as in mergekit, the donor's embeddings come along).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mergelab import sample
from mergelab.columns import columns
from mergelab.models.assembly import assemble
from mergelab.recipes.presets import graft, stack
from mergelab.recipes.recipe import Part, Recipe, Setting, Slice
from mergelab.weights import Source, open_checkpoint

HOST, DONOR = "pirate", "arithmetic"
MIDDLE = (2, 4)
PROMPTS = 100

GRAFT = f"graft: {DONOR} {MIDDLE[0]}-{MIDDLE[1] - 1} in {HOST}"
SKIP = f"control: {HOST} without {MIDDLE[0]}-{MIDDLE[1] - 1}"
BOTTOM = f"control: {DONOR} 0-{MIDDLE[1] - MIDDLE[0] - 1} in {HOST}, with its embeddings"
BLEND = f"blend: base + {HOST} + {DONOR}"


def recipes() -> Mapping[str, Recipe]:
    """What the demo runs, by the name it is shown under."""
    host, donor, base = (open_checkpoint(sample.path(name)) for name in (HOST, DONOR, "base"))
    start, end = MIDDLE
    return {
        "base": stack([(base, 0, base.layers)], base=base),
        HOST: stack([(host, 0, host.layers)], base=host),
        DONOR: stack([(donor, 0, donor.layers)], base=donor),
        GRAFT: graft(host, donor, MIDDLE),
        SKIP: stack([(host, 0, start), (host, end, host.layers)], base=host),
        BOTTOM: graft(host, donor, (0, end - start)),
        BLEND: _arithmetic(base.source, host.source, donor.source),
    }


def run(device: str = "auto") -> None:
    """Print what each model says to two prompts per skill and one beginning, then the scores of all of them, and
    one line of what these show.

    Args:
        device: where the models run, as for ``assemble``.

    Raises:
        AssemblyError: this machine does not have the device.
    """
    skills = [sample.SKILLS[name] for name in (HOST, DONOR, "stories")]
    prompts = [*skills[0].prompts(2), *skills[1].prompts(2), "Once upon a time"]
    scores: dict[str, list[sample.Score]] = {}
    for name, recipe in recipes().items():
        with assemble(recipe, device=device) as merged:
            print(f"{name}")
            for prompt in prompts:
                print(f"    {prompt!r} -> {merged.say(prompt, max_new_tokens=24)!r}")
            scores[name] = [sample.score(merged.model, merged.tokenizer, skill, PROMPTS) for skill in skills]
    print(f"\nScores on {PROMPTS} held-out prompts each. % exact: more is better. nats per token: less.\n")
    heading = ["model", *(f"{skill.name} ({skill.unit})" for skill in skills)]
    print(columns([heading, *([name, *found] for name, found in scores.items())]))
    print(f"\n{_closing(scores)}")


def _closing(scores: Mapping[str, Sequence[sample.Score]]) -> str:
    """What the table shows, from its own figures; the order of the skills is host's, donor's."""
    host, donor = 0, 1
    return (
        f"In short: with the graft {HOST} answers {scores[GRAFT][host]} of its prompts exactly, with those layers left "
        f"out {scores[SKIP][host]}; of {DONOR} the graft answers {scores[GRAFT][donor]}. "
        f"The blend answers {scores[BLEND][host]} and {scores[BLEND][donor]}."
    )


def _arithmetic(base: Source, *models: Source) -> Recipe:
    """Task arithmetic: the base plus what each model learned (Ilharco et al., arXiv 2212.04089)."""
    parts = tuple(Part(model, numbers=(("weight", Setting.of(1.0)),)) for model in models)
    return Recipe("task_arithmetic", (Slice(parts),), base)
