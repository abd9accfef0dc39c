"""Conversations as the text that a model was trained on, by its Jinja template, which may come from anybody."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from olympiad.tokenizer.special import BEGIN, END, PROBLEM, SOLUTION

from .errors import InteropError

#: Our own models' template: each question and answer is a document as in training, what a system message says stands before.
OUR_CHAT_TEMPLATE = (
    "{%- set ns = namespace(before='') -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{%- set ns.before = message['content'] + '\n\n' -%}"
    f"{{%- elif message['role'] == 'user' -%}}{{{{ '{BEGIN}{PROBLEM}' + ns.before + message['content'] }}}}{{%- set ns.before = '' -%}}"
    f"{{%- else -%}}{{{{ '{SOLUTION}' + message['content'] + '{END}' }}}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    f"{{%- if add_generation_prompt -%}}{{{{ '{SOLUTION}' }}}}{{%- endif -%}}"
)


def render_chat(template: str, messages: Sequence[Mapping[str, str]], special_tokens: Mapping[str, str]) -> str:
    """The text of a conversation up to where the model answers.

    Templates run in Jinja's immutable sandbox, with what Transformers gives them.

    Raises:
        InteropError: jinja2 is missing, or the template can't be filled with these messages.
    """
    try:
        from jinja2 import TemplateError, nodes
        from jinja2.ext import Extension
        from jinja2.parser import Parser
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ModuleNotFoundError as error:
        raise InteropError("a chat template needs jinja2: pip install jinja2") from error

    class Generation(Extension):
        """``{% generation %}`` marks for training what an assistant said; here it is only text."""

        tags = {"generation"}  # noqa: RUF012 (as the base class has it)

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    def refuse(message: str) -> None:
        raise InteropError(f"the model's chat template refuses this conversation: {message}")

    def as_json(value: Any, indent: int | None = None, **_: object) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    extensions = ["jinja2.ext.loopcontrols", Generation]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = as_json  # Jinja's own escapes for HTML
    environment.globals |= {"raise_exception": refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    given = {**special_tokens, "messages": list(messages), "tools": None, "documents": None, "add_generation_prompt": True}
    try:
        return environment.from_string(template).render(given)
    except (TemplateError, TypeError, ValueError, AttributeError, KeyError, ArithmeticError, RecursionError) as error:
        if isinstance(error, InteropError):
            raise
        raise InteropError(f"the model's chat template can't be filled with this conversation: {error}") from error
