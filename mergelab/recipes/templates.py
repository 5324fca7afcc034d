"""Chat templates: how a conversation becomes the text that a model was trained on. Jinja; transformers renders them.

The built-in ones are written from the formats that their makers publish. Block tags take up no line of their own, as
transformers compiles them (``trim_blocks``, ``lstrip_blocks``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from mergelab.errors import Problem, SourceError
from mergelab.recipes.recipe import Recipe
from mergelab.recipes.step import Origin
from mergelab.weights import Source

TEMPLATES: Mapping[str, str] = {
    "alpaca": """\
{{ bos_token }}
{%- if messages[0]['role'] != 'system' %}
{{- 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message['role'] == 'user' %}
{{- '### Instruction:\n' + message['content'] + '\n\n' }}
{%- elif message['role'] == 'assistant' %}
{{- '### Response:\n' + message['content'] + eos_token + '\n\n' }}
{%- else %}
{{- message['content'] + '\n\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '### Response:\n' }}
{%- endif %}
""",
    "chatml": """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- endif %}
""",
    "exaone": """\
{%- if messages[0]['role'] != 'system' %}
{{- '[|system|][|endofturn|]\n' }}
{%- endif %}
{%- for message in messages %}
{{- '[|' + message['role'] + '|]' + message['content'] }}
{{- '\n' if message['role'] == 'user' else '[|endofturn|]\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '[|assistant|]' }}
{%- endif %}
""",
    "llama3": """\
{{ bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
""",
    "mistral": """\
{{ bos_token }}
{%- set system = messages[0]['content'] + '\n\n' if messages[0]['role'] == 'system' else '' %}
{%- for message in messages %}
{%- if message['role'] == 'user' %}
{{- '[INST] ' + (system if loop.index0 < 2 else '') + message['content'] + ' [/INST]' }}
{%- elif message['role'] == 'assistant' %}
{{- ' ' + message['content'] + eos_token }}
{%- endif %}
{%- endfor %}
""",
}


def template_for(recipe: Recipe, known: Callable[[Source], str | None]) -> tuple[str | None, tuple[Problem, ...]]:
    """The jinja text that a checked recipe asks for, and what is wrong with it. None where it asks for none.

    ``auto`` is the most common template of the models that it names; of equally common ones, the first in reading
    order.

    Args:
        known: the template of a model that it names; asked for ``auto`` alone.

    Raises:
        SourceError: as ``known``.
    """
    asked = recipe.chat_template
    if asked == "auto":
        texts = [text for source in recipe.named if (text := known(source)) is not None]
        if texts:
            return max(dict.fromkeys(texts), key=texts.count), ()
        what = "'auto' takes the most common template of the models, and none of them has one."
        hint = f"Name one ({', '.join(TEMPLATES)}), or leave out chat_template:."
        return None, (Problem(recipe.place("chat_template"), what, hint),)
    return (None if asked is None else TEMPLATES.get(asked, asked)), ()


def template_of(origin: Origin) -> str | None:
    """The chat template of a model, from its chat_template.jinja or tokenizer_config.json; None: it has none.

    Raises:
        SourceError: the file cannot be read.
    """
    try:
        path = origin.path("chat_template.jinja")
        if path is not None:
            return path.read_text(encoding="utf-8")
        path = origin.path("tokenizer_config.json")
        found = None if path is None else json.loads(path.read_bytes()).get("chat_template")
        if isinstance(found, list):  # several, by name
            found = next((entry["template"] for entry in found if entry["name"] == "default"), None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"its chat template cannot be read ({error})."
        raise SourceError(Problem(str(origin.source), what, "Download or save its tokenizer again.")) from error
    return found if isinstance(found, str) else None


def jinja_error(text: str) -> str | None:
    """Why a text is no template, or None. It is compiled in a sandbox, as transformers does; nothing is rendered."""
    from jinja2 import TemplateSyntaxError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import CallBlock, Node
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The block that transformers adds, which marks what the assistant says."""

        tags = {"generation"}  # noqa: RUF012 - jinja's way

        def parse(self, parser: Parser) -> Node | list[Node]:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    sandbox = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    try:
        sandbox.compile(text)
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {error.message}"
    return None
