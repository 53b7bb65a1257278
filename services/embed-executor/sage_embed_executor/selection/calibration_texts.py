"""Texts to try a backend with: built from templates, the same on every machine, of the lengths that users send."""

from __future__ import annotations

import random

COUNT = 240
_SEED = 20

_SUBJECTS = (
    "The harbour master", "A tired nurse", "Our accounting team", "The new firmware", "Every second customer",
    "An old lighthouse", "The committee", "My neighbour's dog", "The database", "A gust of wind", "She", "Nobody",
    "The referee", "A retired pilot", "This recipe", "The quarterly report", "Half of the village", "The compiler",
)  # fmt: skip
_VERBS = (
    "announced", "never understood", "quietly repaired", "rejected", "measured", "forgot about", "is waiting for",
    "does not support", "improved", "painted", "lost", "translated", "complained about", "compares", "will replace",
)  # fmt: skip
_OBJECTS = (
    "the broken elevator", "a refund of 42 euros", "the second chapter", "three bags of flour", "an unpaid invoice",
    "the error in line 7", "the weather forecast", "her grandmother's piano", "version 2.1 of the protocol",
    "the shortest path through the old town", "a very large order", "the colour of the sea", "two spare tyres",
    "the password policy", "a bowl of lentil soup", "the results of the blood test", "cheap flights to Lisbon",
)  # fmt: skip
_CIRCUMSTANCES = (
    "before the storm reached the coast", "although nobody had asked", "because the budget was cut again",
    "while the children were asleep", "on a rainy Tuesday in November", "without telling the manager",
    "as soon as the tests pass", "in spite of the warnings", "near the railway station", "for the third time this year",
    "when interest rates rise", "during the final minutes of the match", "and then went home", "if memory allows",
)  # fmt: skip
_SHORT = (
    "hello", "ok", "reset password", "What time is it?", "42", "naïve café", "running shoes", "error 503", "yes!",
    "How do I cancel my order?", "東京の天気", "¿Dónde está la biblioteca?", "def add(a, b): return a + b", "a",
    "https://example.org/docs?page=2", "SELECT name FROM users;", "lol", "Grüße aus Köln", "no", "cat",
)  # fmt: skip


def calibration_texts() -> list[str]:
    """Return ``COUNT`` distinct texts of 1 to about 230 words; half of them are single sentences."""
    choose = random.Random(_SEED)
    texts = list(_SHORT)
    while len(texts) < COUNT:
        sentences = choose.choice((1, 1, 1, 1, 2, 3, 5, 8, 14))
        text = " ".join(_sentence(choose) for _ in range(sentences))
        if text not in texts:
            texts.append(text)
    return texts


def _sentence(choose: random.Random) -> str:
    clause = f"{choose.choice(_SUBJECTS)} {choose.choice(_VERBS)} {choose.choice(_OBJECTS)}"
    return f"{clause} {choose.choice(_CIRCUMSTANCES)}." if choose.random() < 0.6 else f"{clause}."
