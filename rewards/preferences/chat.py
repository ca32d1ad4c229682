"""A model that sees and writes as a source of preferences, through any provider of replies.

It is asked in two stages (``rewards.preferences.two_stages``). Every reply is in the provider's
reply log before it is read, and the whole answer in the label store after its last stage. A kill in
the second stage therefore pays for no first stage again: what is lost is what was under way. For
the same reason an answer that failed counts no tokens: those of its stages that were answered count
once, when it is asked again and they come out of the log.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from embodied.errors import UserError, at_least
from embodied.files import sha256_bytes, sha256_file
from rewards.label_records import Answer
from rewards.preferences.sheets import check_frames, sheet
from rewards.preferences.source import Comparison, Preference, Side
from rewards.preferences.two_stages import PROMPT, decide, decision, look
from rewards.prompt import Message
from rewards.providers.base import BudgetError, Provider, Reply
from rewards.providers.settings import key_from_environment

# Settings of a provider that an answer depends on. No key is among them.
SETTINGS = ("base_url", "model", "dtype", "temperature", "max_tokens")
REFUSED = frozenset({401, 402, 403, 404})  # HTTP statuses that the next question gets as well
MOST_TOKENS = 2**40  # of one answer, whatever a server tells: SQLite sums in 64 bits
FAILED = 0  # status of an answer that failed where no server told one
_STATUS = re.compile(r"answered HTTP (\d{3}) \(")
_EXCHANGED: Mapping[Preference, Preference] = {"first": "second", "second": "first"}


class ChatSource:
    """Asks a provider which of two sides serves an instruction better. Safe between threads.

    A ``-1`` is ``unsure``: the model does not tell a tie from a doubt. The cost of an answer is in
    the currency of the provider's prices, and 0 where it has none. A reply that several answers
    share, since their questions are equal, counts in each of them.

    Args:
        provider: Asks the model; temperature, lengths and caps are its own.
        log: The provider's reply log (JSONL); processes may share one.
        order_swap: Ask a second time with the sides exchanged, for twice the price; two answers
            that are not the same are ``unsure``.
        contact_sheet: Most frames of a clip that are shown, spread over its time, in one image;
            1 shows the last one.
        batch: Comparisons that are given to the provider at once; by default its ``batch_size``,
            or 1 where it has none and the threads of ``labelling.label`` ask at the same time.
        failures: After so many comparisons in a row without an answer the source gives up.
    """

    name = "chat"
    parser = "chat 1"

    def __init__(
        self,
        provider: Provider,
        log: Path,
        *,
        order_swap: bool = False,
        contact_sheet: int = 9,
        batch: int | None = None,
        failures: int = 10,
    ) -> None:
        at_least(1, {"contact_sheet": contact_sheet, "batch": batch, "failures": failures})
        self.provider, self.log = provider, log
        self.order_swap, self.contact_sheet = order_swap, contact_sheet
        self._config = getattr(provider, "config", None)
        self.batch = batch or int(getattr(self._config, "batch_size", 1))
        self._orders = (False, True) if order_swap else (False,)
        self._most_failures, self._failed, self._error = failures, 0, ""
        self._lock = threading.Lock()

    def request(self, comparison: Comparison) -> Mapping[str, Any]:
        """Return the question: the model, the prompt, the instruction and the images' hashes.

        Raises:
            UserError: A side without frames, or an instruction that cannot be sent.
        """
        text, sides = comparison.instruction, (comparison.first, comparison.second)
        if not text.strip() or _plain(text) != text:
            raise UserError(f"the instruction is {text!a}; give a sentence")
        for side in sides:
            check_frames(side)
        longest = max(len(side.frames) for side in sides)
        return {
            "source": self.name,
            "provider": self._told,
            "prompt": PROMPT,
            "instruction": text,
            "first": comparison.first.sha256,
            "second": comparison.second.sha256,
            "order_swap": self.order_swap,
            "contact_sheet": min(self.contact_sheet, longest),  # more make no difference
        }

    def answer(self, comparisons: Sequence[Comparison]) -> Sequence[Answer]:
        """Return the replies of all stages, as one JSON text for each comparison, in order.

        One that failed has the HTTP status, or 0, and the reason as its text.

        Raises:
            UserError: A cap is reached, the server refuses the key or does not know the model, or
                too many failed in a row. What was answered lies in the log.
        """
        self._check()
        asks = self._asks(comparisons)
        looked = self._complete([self._look(*ask) for ask in asks])
        pairs = zip(asks, looked, strict=True)
        notes = [decide(ask[0], reply.text) for ask, reply in pairs if isinstance(reply, Reply)]
        decided = iter(self._complete(notes))
        stages = [(r, next(decided) if isinstance(r, Reply) else r) for r in looked]
        count = len(self._orders)
        answers = [
            self._answer(stages[start : start + count]) for start in range(0, len(stages), count)
        ]
        self._count(answers)
        return answers

    def read(self, raw: str) -> Preference:
        """Return the preference in a raw answer: that of all its orders, or ``unsure``.

        Raises:
            ValueError: It is no such answer, or one of its last stages holds no decision.
        """
        found = set()
        for swapped, text, stop in _last_stages(raw):
            preference = decision(text, stop)
            found.add(_EXCHANGED.get(preference, preference) if swapped else preference)
        return found.pop() if len(found) == 1 else "unsure"

    @cached_property
    def _told(self) -> dict[str, Any]:
        """What the provider tells of itself; of a local model, the hash of its files."""
        told: dict[str, Any] = {"name": self.provider.name}
        told |= {n: getattr(self._config, n) for n in SETTINGS if hasattr(self._config, n)}
        if folder := getattr(self._config, "path", None):
            files = sorted(path for path in Path(folder).iterdir() if path.is_file())
            hashes = [(path.name, sha256_file(path)) for path in files]
            told["files"] = sha256_bytes(json.dumps(hashes).encode())
        return told

    def _asks(self, comparisons: Sequence[Comparison]) -> list[tuple[str, Side, Side]]:
        """Return the instruction and the sides in the order that they are shown in."""
        return [
            (item.instruction, *((item.second, item.first) if swap else (item.first, item.second)))
            for item in comparisons
            for swap in self._orders
        ]

    def _look(self, instruction: str, first: Side, second: Side) -> list[Message]:
        images = [sheet(side, self.contact_sheet) for side in (first, second)]
        film = self.contact_sheet > 1 and max(len(first.frames), len(second.frames)) > 1
        return look(instruction, images, film)

    def _complete(self, questions: Sequence[Sequence[Message]]) -> list[Reply | UserError]:
        replies = self.provider.complete_many(questions, self.log)
        for reply in replies:
            if isinstance(reply, BudgetError) or _status(reply) in REFUSED:
                assert isinstance(reply, UserError)
                raise reply
        return replies

    def _answer(self, orders: Sequence[tuple[Reply | UserError, Reply | UserError]]) -> Answer:
        kept, replies = [], []
        for swapped, stages in zip(self._orders, orders, strict=True):
            for stage in stages:
                if isinstance(stage, UserError):
                    model = _plain(str(getattr(self._config, "model", "")))
                    return Answer(_plain(str(stage)), _status(stage), model)
                replies.append(stage)
            first, last = replies[-2:]
            kept.append({"swapped": swapped, "look": _kept(first), "decide": _kept(last)})
        tokens = [
            min(MOST_TOKENS, sum(reply.usage.get(name, 0) for reply in replies))
            for name in ("prompt_tokens", "completion_tokens")
        ]
        return Answer(
            json.dumps({"orders": kept}),  # in ASCII: a reply may hold what a file cannot
            model=_plain(replies[-1].model),
            tokens_in=tokens[0],
            tokens_out=tokens[1],
            cost=self.provider.budget.caps.price(tokens[0], tokens[1]),
        )

    def _check(self) -> None:
        """Refuse to ask where no answer can be expected."""
        key_from_environment(getattr(self._config, "key_env", None))
        with self._lock:
            if self._failed >= self._most_failures:
                raise UserError(
                    f"{self._failed} comparisons in a row got no answer; the last one: "
                    f"{self._error}; mend that and run it again: what was answered is kept"
                )

    def _count(self, answers: Sequence[Answer]) -> None:
        with self._lock:
            for answer in answers:
                good = answer.status == Answer.status
                self._failed = 0 if good else self._failed + 1
                self._error = "" if good else answer.raw


def _last_stages(raw: str) -> list[tuple[bool, str, str]]:
    """Return of each order whether the sides are exchanged, and the last reply with its end."""
    try:
        found = [
            (item["swapped"], item["decide"]["text"], item["decide"]["stop"])
            for item in json.loads(raw)["orders"]
        ]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        found = []
    if not found or any([type(value) for value in item] != [bool, str, str] for item in found):
        raise ValueError("not an answer of a chat model")
    return found


def _kept(reply: Reply) -> dict[str, str]:
    return {"text": reply.text, "stop": reply.stop, "model": reply.model, "raw": reply.raw}


def _status(reply: Reply | UserError) -> int:
    found = _STATUS.search(str(reply)) if isinstance(reply, UserError) else None
    return int(found[1]) if found else FAILED


def _plain(text: str) -> str:
    """Return a text that can be written to a file, whatever a server's JSON made of it."""
    return text.encode("utf-8", "replace").decode()
