"""Rehearsal: whether transformers will load a merge, and the settings that are written beside its weights.

transformers is asked only where it can say something new. A merge with the tensors and the settings of its donor loads
wherever its donor does; to load transformers' models takes longer than to merge small ones.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from mergelab.forge.config_file import config_file, in_the_donors_words
from mergelab.models.agreement import same_stated
from mergelab.models.config import ID_ENDING, NAMES
from mergelab.recipes.plan import Plan
from mergelab.weights import Checkpoint


@dataclass(frozen=True)
class Settings:
    """What is written beside the weights.

    Attributes:
        config: config.json.
        generation: generation_config.json, or None.
    """

    config: Mapping[str, Any]
    generation: Mapping[str, Any] | None


def begun(planned: Plan, *, asked: bool = False) -> Future[Settings]:
    """The settings of a merge, once transformers has said whether it will load: known at once, or found on a thread.

    Args:
        asked: ask it also of a merge that loads wherever its donor does, as where it is loaded for a proof anyway.

    The future raises:
        AssemblyError: transformers finds tensors missing, left over or of another shape, or refuses a config.
        SourceError: the generation config is refused.
    """
    answer = Future[Settings]()
    settings = None if asked else as_its_donor(planned)
    if settings is not None:
        answer.set_result(settings)
        return answer

    def ask() -> None:
        try:
            answer.set_result(rehearsed(planned))
        except BaseException as error:  # noqa: BLE001 - raised by the future
            answer.set_exception(error)

    # A daemon, as it would be by itself where one begins it, would be torn off inside torch.
    threading.Thread(target=ask, name="mergelab-rehearsal", daemon=False).start()
    return answer


def rehearsed(planned: Plan) -> Settings:
    """Build the merged model once without its weights, so that transformers itself says whether it will load.

    Raises:
        AssemblyError, SourceError: as ``begun``.
    """
    from mergelab.models.assembly import rehearse
    from mergelab.models.config import generation_settings

    return Settings(config_file(planned, rehearse(planned)), generation_settings(planned))


def as_its_donor(planned: Plan) -> Settings | None:
    """The settings of a merge that has the tensors of its donor, by name and shape, and layers that are where they
    were; None where transformers has to be asked.
    """
    donor = planned.donor
    if not isinstance(donor, Checkpoint) or planned.alignment or planned.wide:
        return None
    shapes = {name: spec.shape for name, spec in donor.specs.items()}
    same = shapes == {step.name: step.shape for step in planned.steps}
    if not same or len(planned.layers) != donor.layers:
        return None
    homes = dict.fromkeys(layer.home.source for layer in planned.layers)
    in_place = all(layer.home.index == number for number, layer in enumerate(planned.layers))
    if not in_place or not all(same_stated(planned.origins[home], donor) for home in homes):
        return None
    generation = _plain_generation(donor)
    if generation is None:
        return None
    return Settings(in_the_donors_words(donor.config, NAMES[planned.dtype]), generation or None)


def _plain_generation(donor: Checkpoint) -> Mapping[str, Any] | None:
    """The donor's generation_config.json, {} where it has none; None where there is anything in it to ask about."""
    path = donor.path("generation_config.json")
    try:
        found = {} if path is None else json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    plain = isinstance(found, dict) and all(_is_plain(name, value) for name, value in found.items())
    return found if plain else None


def _is_plain(name: str, value: object) -> bool:
    """Whether a setting of generation is one that transformers takes as it is."""
    if name in ("do_sample", "use_cache", "output_attentions", "output_hidden_states", "_from_model_config"):
        return isinstance(value, bool)
    if name == "transformers_version":
        return isinstance(value, str)
    if name.endswith(ID_ENDING):
        ids = value if isinstance(value, list) and name == "eos_token_id" else [value]
        return all(type(one) is int and one >= 0 for one in ids)
    if name in ("temperature", "repetition_penalty", "top_p"):
        return type(value) in (int, float) and 0 < float(str(value)) <= (1 if name == "top_p" else 100)
    return name == "top_k" and type(value) is int and value > 0
