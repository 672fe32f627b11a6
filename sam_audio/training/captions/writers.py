"""Who writes the captions: a rule, or a language model behind any server that speaks OpenAI's protocol.

Both are given what the captioners said, with their confidences, and write three: of what is heard, what is seen, both.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Protocol

from sam_audio.errors import UserError
from sam_audio.training.data.samples import KINDS, Said

MOST_WORDS = 40
SURE = 0.5  # of the surest sound's confidence, from which on another one is told too
_TIMEOUT_S = 120


class Writer(Protocol):
    name: str

    def write(self, label: str, weak: Mapping[str, Sequence[Said]]) -> dict[str, Said]:
        """Captions by kind, those for which there is anything to say.

        Args:
            label: by which the clip was filed, "" if it was not.
            weak: of "audio" and "visual".
        """
        ...


class Rule:
    """Joins what is heard most surely; the same every time."""

    name = "rule"

    def write(self, label: str, weak: Mapping[str, Sequence[Said]]) -> dict[str, Said]:
        heard, seen = (_ordered(weak.get(kind, ())) for kind in ("audio", "visual"))
        if label:
            # those who miss what is there are not believed what else they hear
            believed = heard if any(alike(one.text, label) for one in heard) else []
            heard = [Said(label, "label"), *(one for one in believed if not alike(one.text, label))]
        captions = {}
        sound = sight = ""
        if heard:
            others = [one for one in heard[1:] if one.confidence >= max(0.25, SURE * heard[0].confidence)][:1]
            sound = " and ".join(one.text for one in (heard[0], *others))
            captions["audio"] = Said(sound, self.name, heard[0].confidence)
        if seen:
            sight = f"a picture of {seen[0].text}"
            captions["visual"] = Said(sight, self.name, seen[0].confidence)
        if heard and seen:
            text = f"{sound}, with {sight}"
            if alike(heard[0].text, seen[0].text):
                text = f"{sound}, heard and seen"
            sure = min(heard[0].confidence, seen[0].confidence)
            captions["audio_visual"] = Said(text, self.name, sure)
        return captions


class Server:
    """A language model at ``URL#MODEL``; where it says nothing that can be used, the rule writes.

    A key is taken from OPENAI_API_KEY, if that is set.

    Raises:
        UserError: the server cannot be reached, or refuses.
    """

    def __init__(self, address: str) -> None:
        self.url, _, self.model = address.partition("#")
        if not self.url.startswith(("http://", "https://")) or not self.model:
            raise UserError(
                f"{address} names no language model: write URL#MODEL, as in http://localhost:8000/v1#qwen"
            )
        self.name = f"llm:{self.model}"
        self._rule = Rule()

    def write(self, label: str, weak: Mapping[str, Sequence[Said]]) -> dict[str, Said]:
        simple = self._rule.write(label, weak)
        if not simple:
            return simple
        written = _parsed(self._ask(_prompt(label, weak)))
        return {
            kind: Said(written[kind], self.name, said.confidence) if kind in written else said
            for kind, said in simple.items()
        }

    def _ask(self, prompt: str) -> str:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": 200,
        }
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                told = json.load(answer)
            return str(told["choices"][0]["message"]["content"])
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(f"{self.url} gives no answer ({error}): check the server and the model") from None


def writer(name: str) -> Writer:
    """ "rule", or a language model's URL#MODEL."""
    return Rule() if name == Rule.name else Server(name)


def _ordered(said: Sequence[Said]) -> list[Said]:
    return sorted(said, key=lambda one: -one.confidence)


def alike(one: str, other: str) -> bool:
    """Whether they have a word in common."""
    words, others = (set(re.findall(r"\w+", text.lower())) for text in (one, other))
    return bool(words & others)


def _prompt(label: str, weak: Mapping[str, Sequence[Said]]) -> str:
    lines = [f"- filed as: {label}"] if label else []
    for kind, verb in (("audio", "heard"), ("visual", "seen")):
        lines += [f"- {verb}, {one.confidence:.2f} sure: {one.text}" for one in _ordered(weak.get(kind, ()))]
    return (
        "Notes on a short clip, by weak listeners and viewers, some of them wrong:\n"
        + "\n".join(lines)
        + "\nWrite a JSON object with the keys audio (what is heard), visual (what is seen) and audio_visual (both). "
        "Each is one plain sentence of at most 20 words that claims nothing the notes do not say. JSON only."
    )


def _parsed(answer: str) -> dict[str, str]:
    """The captions in an answer, whatever stands around them."""
    found = re.search(r"\{.*\}", answer, re.DOTALL)
    try:
        values = json.loads(found[0]) if found else {}
    except ValueError:
        return {}
    return {
        kind: " ".join(values[kind].split())
        for kind in KINDS
        if isinstance(values, dict)
        and isinstance(values.get(kind), str)
        and 0 < len(values[kind].split()) <= MOST_WORDS
    }
