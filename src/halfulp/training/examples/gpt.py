"""A small GPT that reads the Python language reference, character by character.

The text comes with CPython (``pydoc_data.topics``, what ``help("with")`` prints), and grows with
its versions: 465,000 characters in 3.11. Architecture: Radford et al., "Language Models are
Unsupervised Multitask Learners" (2019), GPT-2.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import cross_entropy, linear, scaled_dot_product_attention

from halfulp.errors import HalfulpError
from halfulp.training.experiment import Experiment

STEPS, LEARNING_RATE = 300, 0.003
HELD_OUT = 20  # one part in so many, the tail of the text


def build(
    seed: int,
    *,
    learning_rate: float = LEARNING_RATE,
    steps: int = STEPS,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    context: int = 64,
    batch: int = 16,
) -> Experiment:
    """AdamW on the text but its tail; the metric is the loss (nats a character) on the tail.

    A step reads ``batch`` stretches of ``context`` characters and predicts each one's next.
    Raises HalfulpError where ``heads`` do not divide ``width``.
    """
    if width % heads:
        raise HalfulpError(f"heads is {heads}: allowed are divisors of width, which is {width}")
    vocabulary, tokens = text()
    train, tail = tokens[: -(len(tokens) // HELD_OUT)], tokens[-(len(tokens) // HELD_OUT) :]
    model = GPT(len(vocabulary), width, layers, heads, context)

    def evaluate(predict: Any) -> float:
        starts, lost = torch.arange(0, len(tail) - context, context), 0.0
        for first in range(0, len(starts), batch):
            inputs, targets = _stretches(tail, starts[first : first + batch], context)
            lost += float(loss(predict(inputs), targets)) * len(inputs)
        return lost / len(starts)

    return Experiment(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=learning_rate),
        batches=_batches(train, seed, steps, context, batch),
        loss=loss,
        evaluate=evaluate,
        metric="validation loss",
    )


class GPT(torch.nn.Module):
    """Characters (batch × context) to the logits of those that follow (… × vocabulary)."""

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int, context: int) -> None:
        super().__init__()
        self.tokens = torch.nn.Embedding(vocabulary, width)
        self.positions = torch.nn.Embedding(context, width)
        self.blocks = torch.nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = torch.nn.LayerNorm(width)
        self.apply(_start)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The output head is tied: it is the embedding of characters again."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.blocks(self.tokens(tokens) + self.positions(places))
        return linear(self.norm(x), self.tokens.weight)


class Block(torch.nn.Module):
    """Causal attention and a perceptron, each after a layer norm and beside a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = torch.nn.LayerNorm(width)
        self.attention_in = torch.nn.Linear(width, 3 * width)
        self.attention_out = torch.nn.Linear(width, width)
        self.perceptron_norm = torch.nn.LayerNorm(width)
        self.perceptron = torch.nn.Sequential(
            torch.nn.Linear(width, 4 * width), torch.nn.GELU(), torch.nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The stream of residuals (batch × context × width), and what the block adds."""
        parts = self.attention_in(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each batch × heads × context × …
        found = scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.attention_out(found.transpose(1, 2).flatten(2))
        return x + self.perceptron(self.perceptron_norm(x))  # type: ignore[no-any-return]  # a module's


def _start(module: torch.nn.Module) -> None:
    """GPT-2's initial weights: a tied head needs small embeddings to start from even odds."""
    if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)):
        torch.nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, torch.nn.Linear):
        torch.nn.init.zeros_(module.bias)


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean cross entropy of a character."""
    return cross_entropy(outputs.flatten(0, 1), targets.flatten())


@lru_cache(maxsize=1)
def text() -> tuple[str, torch.Tensor]:
    """The characters that occur, sorted, and the whole text as indices of them."""
    from pydoc_data.topics import topics

    whole = "\n".join(topics[name] for name in sorted(topics))
    vocabulary = "".join(sorted(set(whole)))
    index = {character: n for n, character in enumerate(vocabulary)}
    return vocabulary, torch.tensor([index[character] for character in whole])


def _batches(
    tokens: torch.Tensor, seed: int, steps: int, context: int, batch: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Stretches from anywhere in the text."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        starts = torch.randint(len(tokens) - context, (batch,), generator=generator)
        yield _stretches(tokens, starts, context)


def _stretches(
    tokens: torch.Tensor, starts: torch.Tensor, context: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The stretches that begin there, and the same moved on by one character."""
    places = starts[:, None] + torch.arange(context)
    return tokens[places], tokens[places + 1]
