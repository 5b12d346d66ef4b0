"""How a lesson opens at a terminal: its title and question, the guess it asks for, and the choices."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ..terminal import somebody_is_there, wrapped

CHOICE = re.compile(r"- ([a-z])\) (.+)")
TEX = (  # the little that the choices need, in the order in which it is replaced
    (r"\\frac\s*(\w)\s*(\w)", r"\1/\2"),
    (r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2"),
    (r"\\sqrt\s*(\w)", r"√\1"),
    (r"\\sqrt\{([^{}]*)\}", r"√(\1)"),
    (r"\\cdot|\\times", "·"),
    (r"\\approx", "≈"),
    (r"\\alpha", "α"),
    (r"\\beta", "β"),
    (r"\\gamma", "γ"),
    (r"\\ell", "l"),
    (r"\\ldots|\\dots", "…"),
    (r"\\\||\\Vert|\\lVert|\\rVert", "‖"),
    (r"\\[,;! ]", ""),
    (r"\\(?:mathcal|mathrm|text|bar|hat|tilde)\s*\{?(\w+)\}?", r"\1"),
    (r"\^\{([^{}]*)\}", r"^\1"),
    (r"_\{([^{}]*)\}", r"_\1"),
    (r"\\([A-Za-z]+)", r"\1"),
)


@dataclass(frozen=True)
class Guess:
    """What a lesson asks to be guessed: the question's paragraph, and the choices by letter, as plain text."""

    text: str
    choices: dict[str, str]


def read_guess(path: Path) -> Guess:
    """What the lesson asks under **Predict first**. Raises ValueError, naming the file, if it asks nothing."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("# **Predict first.**")), None)
    text, choices = [], []
    for line in lines[start:] if start is not None else ():
        if line.startswith(("# ##", "# %%")) or not line.startswith("#"):
            break
        words = line.removeprefix("#").strip()
        if CHOICE.fullmatch(words):
            choices.append([words])
        elif choices and words and line.startswith("#   "):
            choices[-1].append(words)
        elif not choices:
            text.append(words)
    found = [CHOICE.fullmatch(" ".join(choice)) for choice in choices]
    if len(found) < 2:
        raise ValueError(f"lessons: {path} asks for no guess; expected **Predict first.** and choices '- a) …'")
    return Guess(plain(" ".join(text).strip()), {match[1]: plain(match[2]) for match in found if match})


def open_lesson(number: int, title: str, question: str, path: Path, seconds: int) -> str | None:
    """Print how the lesson opens; the letter that was guessed, or None if nobody is there, or nothing was guessed."""
    guess = read_guess(path)
    print(wrapped(f"{number}. {title}"))
    print(wrapped(question))
    print(f"\n{wrapped(guess.text)}\n")
    for letter, choice in guess.choices.items():
        print(wrapped(choice, f"  {letter}) "))
    print()
    if not somebody_is_there():
        return None
    *letters, last = guess.choices
    prompt = f"Your guess ({', '.join(letters)} or {last}; Enter for none; then it runs for {seconds} s): "
    while True:
        try:
            answer = input(prompt).strip().lower().rstrip(").")
        except EOFError:
            answer = ""
            print()
        if not answer or answer in guess.choices:
            print()
            sys.stdout.flush()
            return answer or None
        prompt = f"{', '.join(letters)} or {last}, or Enter: "


def plain(markdown: str) -> str:
    """A sentence of Markdown with a little TeX, as a terminal can show it."""

    def formula(match: re.Match[str]) -> str:
        text = match[1]
        for pattern, instead in TEX:
            text = re.sub(pattern, instead, text)
        return text

    text = re.sub(r"\$([^$]+)\$", formula, markdown)
    text = re.sub(r"\*\*(.+?)\*\*", r"\1", text)
    text = re.sub(r"(?<![\w*])\*([^*\s][^*]*?)\*(?!\w)", r"\1", text)
    return re.sub(r"`([^`]+)`", r"\1", text)
