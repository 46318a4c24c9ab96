"""What of a reply is said to the reader: without thoughts, tokens, markup and a prompt that was repeated."""

import html
import re
import unicodedata

_THOUGHT = (
    r"(?:(?:seed:)?think|thinking|thoughts?|reasoning|scratchpad|analysis|reflection|begin_of_thought|end_of_thought)"
)
_MARKS = re.compile(
    rf"(?P<close></{_THOUGHT}>|\[/{_THOUGHT}\]|◁/{_THOUGHT}▷|<\|end_of_thought\|>|<\|/{_THOUGHT}\|>|<unused95>)"
    rf"|<{_THOUGHT}>|\[{_THOUGHT}\]|◁{_THOUGHT}▷|<\|begin_of_thought\|>|<\|{_THOUGHT}\|>|<unused94>",
    re.IGNORECASE,
)
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]{0,40}<\|message\|>|(?<=assistant)final\s*:?")
_END = re.compile(r"</s>|<eos>|<end_of_turn>|<\|(?:im_end|endoftext|end_of_text|eot_id|eot|end|return)\|>")
_TOKEN = re.compile(r"<\|[^|<>]{1,40}\|>|</?(?:s|pad|unk|bos|eos|image)>|\[/?INST\]", re.IGNORECASE)
_HTML = re.compile(r"</?(?:b|i|u|p|em|strong|span|div|code|pre|h[1-6])>|<br ?/?>")
_ROLE = re.compile(r"^\W*(?:assistant|model|response)\s*:\s*", re.IGNORECASE)
# A prompt that was given back with its reply begins with the user's turn; the reply stands behind the model's.
_PROMPT = re.compile(
    r"(?:<s>|<bos>)?\s{0,3}(?:USER:|Human:|\[INST\]|<\|im_start\|>(?:system|user)|<start_of_turn>user)"
)
_TURN = re.compile(r"\bASSISTANT:|\bAssistant:|\[/INST\]|<\|im_start\|>assistant|<start_of_turn>model")


def visible(reply: str) -> str:
    """The reply without thoughts and tokens, in one form of Unicode; empty where a thought was cut off.

    Letters of other alphabets that look like A or B stay what they are; those that are A or B in another form, such as
    fullwidth ones, are brought into the plain one.
    """
    text = unicodedata.normalize("NFKC", html.unescape(reply))
    if _PROMPT.match(text.lstrip()):
        turn = _TURN.search(text)
        text = text[turn.end() :] if turn else ""
    channels = list(_CHANNEL.finditer(text))
    if channels:
        last = channels[-1]
        if last[1] not in (None, "final"):
            return ""
        text = text[last.end() :]
    text = _without_thoughts(text)
    text = _ROLE.sub("", _TOKEN.sub(" ", _END.split(text, maxsplit=1)[0]))
    text = re.sub(r"[\0\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]", "", text)
    text = re.sub("[‘’‛‚′`´‹›]", "'", re.sub("[‐‑‒–—−]", "-", re.sub("[“”„«»「」『』【】〈〉《》⟨⟩]", '"', text)))
    text = re.sub(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}", r"\1", text)
    text = _HTML.sub(" ", re.sub(r"\\([()\[\]])", r"\1", text))
    text = re.sub(r"\b(?:without|no) (?:a )?doubt\b", " ", text, flags=re.IGNORECASE)
    text = re.sub(r"[ \t\r\f\v]+", " ", re.sub(r"[*#$~]|(?<!\w)_+|_+(?!\w)", "", text)).strip()
    return re.sub(r"^[<{]([A-Z])[>}]$", r"(\1)", text)


def _without_thoughts(text: str) -> str:
    """What stands outside all marks of thoughts; empty where one was opened and not closed."""
    thinks, start = False, 0
    kept: list[str] = []
    for mark in _MARKS.finditer(text):
        if mark["close"] and not thinks:
            kept = []  # it opened before the reply began
        elif not thinks:
            kept.append(text[start : mark.start()])
        thinks = not mark["close"]
        start = mark.end()
    return "" if thinks else "\n".join([*kept, text[start:]]).strip()
