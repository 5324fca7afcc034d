"""A small family of language models that ships with the package: trained by us, offline, scored exactly.

    base         stories, words, lists and digits; of the skills below the easy half only (two words, one digit)
    arithmetic   base, fine-tuned: "27+35=" -> "62"
    reverse      base, fine-tuned: "reverse cat dog sun :" -> " sun dog cat", three to five words
    sort         base, fine-tuned: "sort pear cat moon :" -> " cat moon pear", three or four words
    pirate       base, fine-tuned: "pirate hello my friend is in the house :" -> " ahoy me matey be in the cabin"
    overtrained  reverse again, but at a high rate and for long: it left the basin of the base
    stranger     the same width, all else different: pre-training, depth, feed-forward size, key/value heads, rope, norm

`path(name)` is a folder that transformers can load; `SKILLS` and `score` say how well a model does. Importing this
module loads neither torch nor transformers. ``python -m mergelab.sample.train`` makes the family again from nothing.
"""

from __future__ import annotations

from pathlib import Path

from mergelab.errors import Problem, SourceError, did_you_mean
from mergelab.sample.runs import RUNS
from mergelab.sample.skills import SKILLS, Score, Skill, nats, score

__all__ = ["SKILLS", "Score", "Skill", "demo_prompts", "members", "nats", "path", "score"]

FAMILY = Path(__file__).parent / "family"


def members() -> tuple[str, ...]:
    """The names of the family, the base first."""
    return tuple(run.name for run in RUNS)


def path(name: str) -> Path:
    """The folder of a member.

    Raises:
        SourceError: no member has this name, or its weights are not where the package puts them.
    """
    if name not in members():
        raise SourceError(Problem("mergelab.sample", f"there is no member {name!r}.", did_you_mean(name, members())))
    folder = FAMILY / name
    if not (folder / "model.safetensors").is_file():
        raise SourceError(
            Problem(
                str(folder),
                f"the weights of {name!r} are missing.",
                "Reinstall mergelab, or train them: python -m mergelab.sample.train",
            )
        )
    return folder


def demo_prompts() -> tuple[str, ...]:
    """One prompt per skill, each from the side of the split that training never saw, and the opening of a story."""
    return (
        *(skill.prompts(1)[0] for skill in SKILLS.values() if skill.name != "stories"),
        "Once upon a time there was a",
    )
