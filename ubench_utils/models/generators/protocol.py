"""The benchmark's protocol for models that generate: the prompt, and the official rule for what is right."""

import hashlib
from string import ascii_uppercase as LETTERS

INSTRUCTION = "Answer with a single letter, no extra details."


def prompt(question: str, options) -> str:
    """What a model is asked, letter for letter as the benchmark's code asks it.

    Parameters
    ----------
    question : str
        The question in words.
    options : sequence of str
        In their stored order, lettered from A; at most 26.

    Raises
    ------
    ValueError
        If there are more options than letters.

    References
    ----------
    Lozano et al. 2024, appendix on prompts; the code that they published with it.
    """
    lettered = [f"{letter}) {option}" for letter, option in zip(LETTERS[: len(options)], options, strict=True)]
    return "\n".join([INSTRUCTION, f"Question:{question}", *lettered])


def is_right(reply: str, answer_idx: int, options) -> bool:
    """Whether the benchmark's own rule counts a reply as right: it knows which option is, and may say so of several.

    The reply holds the right option with its letter anywhere, or begins with the letter; neither case nor blanks are
    passed over. So "An image" is right where A is, "The answer is B." is wrong, and a reply that lists the options with
    their letters is right whatever is.

    Left out of what the benchmark's code does: it fails where the right option is the eighth or a later one, it puts
    ``np.nan`` in the place of ``nan`` in a reply before it compares, and of two options with the same text it takes
    the first for right.
    """
    letter = LETTERS[answer_idx]
    return f"{letter}) {options[answer_idx]}" in reply or reply.startswith(letter)


def digest(text: str) -> str:
    """First 12 hex digits of the SHA-256 of a text, by which prompts and templates of two runs can be told apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
