"""Shading: losses and KL are those of the models, sources answer once, and what cannot be compared is no number."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mergelab.models import assemble, shading
from mergelab.models.assembly import Assembly
from mergelab.models.events import Done, Next, Shaded, Text
from mergelab.models.preview import Preview
from mergelab.models.replay import Replay
from mergelab.models.shading import LONGEST, Shading
from mergelab.models.speak import Stopped
from mergelab.recipes import graft
from tests.models.asking import Listener, Trio, blend


@pytest.fixture
def live(llamas: Trio) -> Iterator[dict[str, Assembly]]:
    """The merge and two sources."""
    made = {"merged": assemble(blend(llamas, 0.5))}
    made |= {name: assemble(graft(path, path, (0, 6))) for name, path in zip("ab", llamas, strict=False)}
    yield made
    for one in made.values():
        one.close()


def shades(live: dict[str, Assembly], text: str, of: Shading | None = None, **given: Any) -> tuple[shading.Shade, ...]:
    sources = {name: one for name, one in live.items() if name != "merged"}
    given = {"replay": Replay(), "stop": lambda: False} | given
    alike = given.pop("alike", dict.fromkeys(sources, True))
    with torch.inference_mode():
        return (of or Shading()).shades(text, live["merged"], sources, alike, **given)


def predicted(one: Assembly, ids: list[int]) -> torch.Tensor:
    """Log-probabilities after each token, in float64, by a plain pass."""
    with torch.inference_mode():
        return one.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=123), min_size=1, max_size=70))
def test_losses_and_kl_are_those_of_the_models(live: dict[str, Assembly], text: str) -> None:
    found = shades(live, text)
    ids = live["merged"].tokenizer(text)["input_ids"]
    log_p = {name: predicted(one, ids) for name, one in live.items()}
    assert "".join(one.token for one in found) == "<s>" + text
    assert math.isnan(found[0].loss)
    losses = [-float(log_p["merged"][place, token]) for place, token in enumerate(ids[1:])]
    assert [one.loss for one in found[1:]] == pytest.approx(losses, rel=1e-4)
    for place, one in enumerate(found):
        ours = log_p["merged"][place]
        wanted = [float((ours.exp() * (ours - log_p[name][place])).sum()) for name in "ab"]
        assert one.kl == pytest.approx(wanted, rel=1e-3, abs=1e-7)


def test_a_model_is_no_distance_from_itself_and_never_less(live: dict[str, Assembly]) -> None:
    found = shades({"merged": live["a"], "a": live["a"], "b": live["b"]}, "hello you")
    assert [one.kl[0] for one in found] == [0.0] * len(found)
    assert min(one.kl[1] for one in found) > 1e-3
    hook = live["b"].model.register_forward_hook(_jitter)
    found = shades({"merged": live["b"], "b": live["b"]}, "hello you" * 5)
    hook.remove()
    assert all(0 <= one.kl[0] < 1e-6 for one in found)
    assert any(one.kl[0] > 0 for one in found)


def _jitter(_model: object, _given: object, output: Any) -> None:
    """Every pass gives other logits by a rounding error, as on another device."""
    output.logits = output.logits + 1e-6 * torch.randn(output.logits.shape)


def test_tokens_that_no_model_ever_says_count_nothing(live: dict[str, Assembly]) -> None:
    plain = shades(live, "hello")
    hooks = [one.model.lm_head.register_forward_hook(_never) for one in live.values()]
    found = shades(live, "hello")
    for hook in hooks:
        hook.remove()
    assert all(math.isfinite(kl) for one in found for kl in one.kl)
    assert found != plain


def _never(_head: object, _given: object, logits: torch.Tensor) -> torch.Tensor:
    return logits.index_fill(-1, torch.tensor([7]), -math.inf)


def test_another_vocabulary_and_other_tokens_are_not_compared(live: dict[str, Assembly]) -> None:
    for found in (
        shades(live, "hello", alike={"a": False, "b": True}),
        shades({**live, "a": _Other(live["a"])}, "hello"),  # type: ignore[dict-item]
    ):
        assert all(math.isnan(one.kl[0]) and one.kl[1] > 0 for one in found)
        assert not any(math.isnan(one.loss) for one in found[1:])


class _Other:
    """An assembly whose tokenizer puts no start token in front."""

    def __init__(self, own: Assembly) -> None:
        self.model, self.lock = own.model, own.lock
        self.tokenizer = lambda text, **_: {"input_ids": own.tokenizer(text)["input_ids"][1:]}


def test_a_prompt_that_is_too_long_has_none(live: dict[str, Assembly]) -> None:
    assert len(live["merged"].tokenizer("x" * (LONGEST - 1))["input_ids"]) == LONGEST
    for one in live.values():
        one.model.config.max_position_embeddings = 2 * LONGEST
    assert len(shades(live, "x" * (LONGEST - 1))) == LONGEST
    assert shades(live, "x" * LONGEST) == ()


def test_sources_read_a_prompt_once_as_far_as_there_is_room(live: dict[str, Assembly]) -> None:
    ran: list[str] = []
    for name, one in live.items():
        one.model.model.layers[0].register_forward_hook(lambda *_, name=name: ran.append(name))
    of = Shading()
    for text in ("hello", "what", "hello"):
        shades(live, text, of)
    assert ran.count("merged") == 3
    assert ran.count("a") == ran.count("b") == 2
    ran.clear()
    of.forget()
    shades(live, "hello", of)
    assert ran == ["merged", "a", "b"]
    size = next(iter(of._known.values())).nbytes
    small = Shading(budget=2 * size)  # for one prompt of both, not for two
    ran.clear()
    for text in ("hello", "jello", "hello", "hello"):
        shades(live, text, small)
    assert ran.count("a") == ran.count("b") == 3
    both = Shading(budget=4 * size)  # for two prompts
    ran.clear()
    for text in ("hello", "jello", "hello", "cello", "hello"):  # the one used longest ago goes
        shades(live, text, both)
    assert ran.count("a") == ran.count("b") == 3
    assert sum(one.nbytes for one in small._known.values()) <= 2 * size


def test_it_stops_between_layers(live: dict[str, Assembly]) -> None:
    for allowed in (0, 3, 6, 8):
        left = iter([False] * allowed)
        with pytest.raises(Stopped):
            shades(live, "hello", stop=lambda left=left: next(left, True))


def test_a_preview_shades_after_the_figures(llamas: Trio, listener: Listener, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(llamas[1], other)
    text = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(text.replace('"z"', '"é"'))
    recipe = graft(llamas[0], llamas[0], (0, 6))
    ran: list[str] = []
    with Preview({"base": llamas[0], "other": other}, listener, max_new_tokens=1, shading=True) as preview:
        preview.ask(recipe, ["hello", "you"])
        assert preview.wait(60)
        kinds = list(dict.fromkeys(map(type, listener.events)))
        assert kinds[1:] == [Next, Shaded, Text, Done]
        first, second = listener.of(Shaded)
        assert (first.prompt, second.prompt) == (0, 1)
        assert [one.token for one in second.tokens] == ["<s>", "y", "o", "u"]
        assert [one.kl[0] for one in first.tokens] == pytest.approx([0.0] * 6, abs=1e-9)
        assert all(math.isnan(one.kl[1]) for one in first.tokens)
        assert preview._merged is not None
        preview._merged.model.model.layers[0].register_forward_hook(lambda *_: ran.append("merged"))
        preview.ask(recipe, "hello")
        assert preview.wait(60)
    assert ran == ["merged"]  # to write: what is known from the figures does for the shades


def test_a_preview_shades_only_where_asked(llamas: Trio, preview: Preview, listener: Listener) -> None:
    preview.ask(blend(llamas, 0.5), "hello")
    assert preview.wait(60)
    assert not listener.of(Shaded)
