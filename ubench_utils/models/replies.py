"""What a reply in words chooses: one rule for every model that answers by text, which refuses to guess.

A reply is read in this order; the first that applies decides, and where it names more than one option, or none, the
reply makes no choice.

1. What is thought aloud is taken away, and so are markup and what follows an end token (see ``markup``). A thought that
   was cut off leaves no answer.
2. The whole reply is an option, or its caption.
3. A marked answer: ``<answer>B</answer>``, a JSON object with the key answer, ``\\boxed{B}``, "Final answer: B".
4. A declared one: "The answer is B", "Option B", "I choose B", the word for answer in some other languages.
5. A letter at the start: "B", "(B)", "B) …", "B. …", "B" on a line of its own.
6. The only option that the reply mentions, by its words or as "(B)".

An option that is negated, ruled out, compared with or only considered ("not B", "unlike …", "it could be …") is not
named. The words beside a letter must not be those of another option. A letter is one only where nothing else can be
meant: "A micrograph", "I think", "B cells" and "E. coli" hold none. A reply that corrects itself ("B. Wait, C") must
mark its final answer.
"""

import json
import re
import unicodedata
from itertools import islice
from typing import NamedTuple

from .markup import visible

NO_OPTION = -1
LONGEST = 20_000  # characters that are left without thoughts; a longer reply is no answer to a closed question
MOST = 100  # places that could be the answer; with more, no one is


class Reading(NamedTuple):
    """Index of the option that a reply chooses, ``NO_OPTION`` for none, and whether by ``letter``, ``text`` or none."""

    index: int  # type: ignore[assignment]  # hides a method of tuples that nobody calls
    how: str


class _Named(NamedTuple):
    option: int
    how: str
    start: int
    end: int


NONE = Reading(NO_OPTION, "none")
_ANSWER = (  # the word for an answer; Chinese, Japanese and Korean are written without blanks
    r"(?:(?<!\w)(?:answer|antwort|réponse|reponse|respuesta|risposta|resposta|antwoord|svar|svaret|ответ|odpowiedź|cevap|"
    r"yanıt|đáp án|jawaban|الإجابة|الجواب|उत्तर)(?!\w)|答案|答え|回答|解答|正解|정답|답)"
)
_IS = (
    r"(?:\s*(?:\b(?:is|was|(?:would|should|must) be|ist|est|es|lautet|är)\b|\bè\b|\bé\b|является|هو|هي|"
    r"[:=→—-]|是|为|は|은|는)\s*:?)"
)
_RIGHT = r"(?:option|choice|letter|correcte?|correcta|correta|corretta)"
_CHOICE = r"(?:(?<!\w)(?:option|opción|opção|opzione|choice|letter)(?!\w)|选项|选择|选|選択肢)"
_LABEL = r"(?<!\w)(?:ans|selection|output|result|solution|prediction|conclusion|correct|final)(?!\w)\.?\s*:"
_DECLARED = re.compile(
    rf"{_ANSWER}(?:\s+{_RIGHT})?{_IS}|(?:{_ANSWER}|{_CHOICE})(?=\s*\W?[A-Z]\b)|{_CHOICE}{_IS}|{_LABEL}"
    r"|\b(?:i|we)(?: would|'d| will|'ll)? (?:choose|select|pick|go with|opt for|answer|say)\b"
    r"|\b(?:so|therefore|thus|hence),?(?=\s+\W?[A-Z]\b)"
    r"|\b(?:(?:it|that|this)(?: is|'s| would be)|definitely|certainly|clearly|probably|(?:most )?likely|sure|yes|"
    r"ok|okay)[,.!:]?(?=\s+\W?(?-i:[A-Z])\W*$)"
    r"|(?<=[.!;:\n])\s{0,3}(?=\W?(?-i:[A-Z])\W? is (?:the )?(?:correct|right|best)\b)",
    re.IGNORECASE,
)
_FINAL = re.compile(rf"(?<!\w)final\s+{_ANSWER}\W{{0,3}}{_IS}?", re.IGNORECASE)
_TAG = re.compile("<(?:final_?)?answer>|<conclusion>", re.IGNORECASE)
_NEXT_TAG = re.compile("</?(?:final_?)?answer>|</?conclusion>", re.IGNORECASE)
_KEY = re.compile(r"[\"'](?:final[ _])?answer[\"']\s*:\s*[\"']([^\"'\n]{0,300})[\"']", re.IGNORECASE)
_NO_BLANK = re.compile(r"[^\s\"':]")
_BOXED = re.compile(r"\\boxed\s*\{([^{}\\]{0,300})\}")  # a formula is no answer
_STOP = re.compile(
    r"\n|(?<!\b\w)[.!?](?=\s|$)|\.(?= (?:here|explanation|reason|rationale)\b)|"
    r"\b(?:because|since|due to|given|as (?:it|the|this))\b",
    re.IGNORECASE,
)
# A letter, and what may follow it; "E. coli", "B cells" and "A micrograph" hold none.
_GOES_ON = r"(?:because|since|as|for|which|not|is|was|are|due|given|based|but|with|and|or|the|it|this|would|fits)\b"
_LETTER = re.compile(
    rf"(?<![A-Za-z0-9_'.\-/])(?!A\s+[A-Z]|I\s)([A-Z])"  # "A Giemsa stain", "I think"
    rf"(?![A-Za-z0-9_'\-]|/\w\w|\.?\s+(?!{_GOES_ON})[^\W\d_A-Z]|\.\w|\s*[°%])"
)
_ALONE = re.compile(r"\W*([A-Za-z])\W*")
_BARE = re.compile(r"[^\w\n?]*(?:\n|$)")
_ABBREVIATED = re.compile(rf"\.\s+(?!{_GOES_ON})[a-z]")
_BEFORE = re.compile(r"(?<![A-Za-z0-9_'])([A-Z])\s*[.):\],-]\s*[\"'(]?$")  # the words of an option
_LEAD = re.compile(
    r"^[^\w\n]*(?:([A-Z])(?=\s*[)\]:]|[.,;/、。](?:\s|$|[^\x00-\x7f])|\s+(?:-|\([^()\n]*\)\W*$)|[^\w\n?]*$|"
    r"(?:です|입니다)(?![か까])|\s+(?:because|since|not|rather than|instead of|"
    r"(?:is|would be) (?:the |my )?(?:correct|right|best|answer))\b)|([a-z])(?=\s*[)\]]|[^\w\n?]*$))",
    re.MULTILINE,
)
_IN_BRACKETS = re.compile(r"(?<!\w)(?<!panel )(?<!figure )[(\[]([A-Z])[)\]]|(?<![\w(\[])([A-Z])\)")
TAKEN = "\0"
_OWN_WORDS = {"none", "no", "yes", "other", "unknown"}  # in a sentence these need not be meant as the option
_BORDER = re.compile(
    r"[.;:!?,\n|]|\b(?:(?<!all )(?<!thing )but|so|therefore|thus|hence|while|whereas)\b|\binstead\b(?! of)", re.I
)
_AGAINST = re.compile(
    r"\b(?:not|cannot|\w+n't|never|no|nor|neither|non|rather than|instead of|unlike|without|except|excluding|"
    r"other than|as opposed to|opposed to|compared (?:to|with)|versus|vs|(?:rul\w+|cross\w*) out|exclud\w+|"
    r"eliminat\w+|reject\w+|"
    r"discard\w*|dismiss\w*|differs? from|different from|incorrect|wrong|could|might|may|perhaps|possibly|maybe|"
    r"at first|initially|consider\w*|suspect\w*|thought|seemed|if|whether|either|between|lack\w*|absen\w+|hardly|"
    r"scarcely|barely|doubt\w*|far from|(?:anything|all|everything) but|too \w+ (?:for|to be)|had it been|asked|"
    r"nicht|kein\w*|weder|niet|geen|inte|ikke|nie|não|ningun\w*|jamais|(?:n'est|est|n'a) pas|не|нет|değil)\b"
    r"|不|并非|排除|ليس",
    re.IGNORECASE,
)
_AUXILIARY = (
    r"(?:(?:is|was|are|were|can|could|would|be|been|has|have|seems?|looks?|appears?|clearly|also|both|therefore|"
    r"(?:and|or) (?:option )?(?-i:[A-Z]))\s+)"
)
_REFUTED = re.compile(  # "B not A" is for B
    rf"\s*[)\]\"']*\s*(?:{_AUXILIARY}{{0,6}}(?:not(?!\s+\W?(?-i:[B-Z]|A$)\b)|"
    r"cannot|\w+n't|incorrect|wrong|unlikely|ruled out|excluded|"
    r"eliminated|false|rejected|implausible|impossible|inconsistent|less likely|dismissed|discarded|absent|missing|"
    r"lacking|tempting|out)\b|would (?:show|have|look|appear|reveal|give|produce|require|need|display|exhibit)\b|"
    r"(?:ist|est|es|is|är|er|è|é) (?:nicht|niet|pas|inte|ikke|falsch|faux|fausse|incorrect\w*|fals[ao]|onjuist)\b|"
    r"(?:では|じゃ)(?:あり|な)|[이가]? ?아[니닙]|不|değil\b)",
    re.IGNORECASE,
)
# One of several, or asked rather than said: the whole reply is undecided.
_OPEN = re.compile(
    r"\s*[)\]\"']*(?:\s*(?:/|\b(?:and/)?or\b)(?! rather)|,?\s*(?:but |and )?(?:possibly|perhaps|maybe)\b|"
    r"[^.;:!\n?]{0,80}\?)",
    re.IGNORECASE,
)
_DENIED = re.compile(r"\s*[:=-]\s*(?:no|false|wrong|incorrect|unlikely|absent)\b", re.IGNORECASE)
_CORRECTED = re.compile(
    r"\b(?:wait|actually|on second thoughts?|correction|reconsider\w*|let me (?:re)?think|scratch that|sorry|hmm+)\b",
    re.IGNORECASE,
)


def read_reply(reply, labels: tuple, options: tuple = ()) -> Reading:
    """Read which option a reply chooses; see the module for the rule.

    Parameters
    ----------
    reply : str or None
    labels : tuple of str
        The options as they were lettered: A is the first.
    options : tuple of str, optional
        The same options as captions.

    Returns
    -------
    Reading
        The benchmark's own rule (is the lettered right option in the reply, or the right letter its first character?)
        can find a reply right for two options; this one names at most one, without knowing which is right.
    """
    text = visible("" if reply is None or reply != reply else str(reply))  # NaN is not equal to itself
    if not text or len(text) > LONGEST:
        return NONE
    exact = _exact(text, labels, options)
    if exact is not None:
        return exact
    answer = _json_answer(text)
    if answer is not None:
        return read_reply(answer, labels, options)
    n = len(labels)
    named, rest = _named(text, labels)
    labelled = [_letter(found) for one in named if (found := _BEFORE.search(text, max(one.start - 8, 0), one.start))]
    letters = [one for one in map(_letter, _LETTER.finditer(text)) if rest[one.start] != TAKEN] + labelled
    lead = _leading(text, named, rest)
    inner = [found.span(1) for pattern in (_BOXED, _KEY) for found in pattern.finditer(text)]
    marked = [*_spans(text, _FINAL), *inner, *_tags(text)]
    if max(len(marked), len(lead), len(named)) > MOST:
        return NONE
    if marked:
        return _one(_within(text, rest, named, letters, marked, labels), n)
    if _CORRECTED.search(text) and (named or lead or letters):
        return NONE
    places = _spans(text, _DECLARED)
    declared = _within(text, rest, named, letters, places, labels) if len(places) <= MOST else []
    if declared:
        begins = [letter for letter in lead if not text[: letter.start].strip(" \n([\"'")]
        return _one(declared + (begins if len({letter.option for letter in lead}) == 1 else []), n)
    if lead:
        end = _up_to(_STOP, text, lead[0].end + 1)
        beside = [one for one in (*named, *letters) if lead[0].end <= one.start < end]
        return _one(_meant(text, rest, lead + beside), n)
    brackets = [_letter(found) for found in _IN_BRACKETS.finditer(text)]
    mentioned = [one for one in named if labels[one.option].casefold() not in _OWN_WORDS]
    return _one(_meant(text, rest, mentioned + brackets + labelled), n)


def _one(named: list, n: int) -> Reading:
    """The one option that is named, however often; a letter that none of the n options has makes no choice."""
    found = {one.option for one in named}
    if len(found) != 1 or max(found) >= n:
        return NONE
    return Reading(found.pop(), "letter" if any(one.how == "letter" for one in named) else "text")


def plain(text: str) -> str:
    """Words of a text in one form of Unicode and in lower case, without punctuation but for ``)&+/%``."""
    text = unicodedata.normalize("NFKC", str(text)).casefold()
    words = " ".join(re.sub(r"[^\w)&+/%]|_", " ", text).split())
    return re.sub(r" ?([&+/]) ?", r"\1", words)  # "H & E" is "H&E"


def _exact(text: str, labels: tuple, options: tuple) -> Reading | None:
    """The option or caption that the whole reply is; no choice where a letter, or two of them, may be meant."""
    whole = plain(text)
    for texts in (labels, options):
        same = [index for index, option in enumerate(texts) if plain(option) == whole and whole]
        if same and text.endswith("?") and not texts[same[0]].rstrip().endswith("?"):
            return NONE
        if same:
            letter = ord(whole) - ord("a") if re.fullmatch("[a-z]", whole) else None
            clash = len(same) > 1 or (letter is not None and letter != same[0] and letter < len(labels))
            return NONE if clash else Reading(same[0], "text")
    return None


def _json_answer(text: str) -> str | None:
    """The answer of a reply that is a JSON object, in a fence or not; None for any other reply."""
    body = re.sub(r"^'{3}(?:json)?|'{3}$", "", text).strip()
    if not (body.startswith("{") and body.endswith("}")):
        return None
    try:
        found = json.loads(body, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    given = [value for key, value in found if plain(key) in ("answer", "final answer", "choice", "option")]
    return given[0] if len(given) == 1 and isinstance(given[0], str) else ""


def _named(text: str, labels: tuple) -> tuple[list[_Named], str]:
    """Every mention of an option by its words, the longest first, and the text with these places taken."""
    rest, found = _lower(text), []
    for index in sorted(range(len(labels)), key=lambda index: -len(labels[index])):
        words = plain(labels[index]).split()
        words = [re.sub(r"(\\?[&+/])", r" ?\1 ?", re.escape(_lower(word))) for word in words]
        # "5" is no mention in "0.5", "5.2" or "-5"
        pattern = r"(?<!\w)(?<!\d[.,])(?<![ .-]-)(?<!^-)" + r"[\W_]{1,3}".join(words) + r"(?!\w|(?<=\d)[.,]\d)"
        if words:
            found += [_Named(index, "text", *mention.span()) for mention in re.finditer(pattern, rest)]
            rest = re.sub(pattern, lambda mention: TAKEN * len(mention[0]), rest)
    return found, rest


def _lower(text: str) -> str:
    """Lower case that keeps every character in its place."""
    return "".join(low if len(low := c.casefold()) == 1 else c for c in text)


def _letter(found: re.Match) -> _Named:
    group = found.lastindex or 0
    start, end = found.span(group)
    return _Named(ord(found[group].upper()) - ord("A"), "letter", start, end)


def _leading(text: str, named: list, rest: str) -> list[_Named]:
    """Letters at the start of the reply or of a line, but those of an option's words or of an abbreviation.

    A letter after words counts where it stands on a line of its own at the end. Several lines that start with
    letters are a list of options, and make no choice.
    """
    starts = {one.start for one in named}
    letters = []
    for letter in map(_letter, _LEAD.finditer(text)):
        beside = any(letter.end + gap in starts for gap in range(4))
        abbreviated = _ABBREVIATED.match(text, letter.end)
        if rest[letter.start] != TAKEN and (beside or not abbreviated):
            letters.append(letter)
    bare = [letter for letter in letters if _BARE.match(text, letter.end)]
    if len({letter.option for letter in bare}) == 1 and not text[: bare[0].start].strip(" \n([\"'-"):
        return bare  # what follows explains it
    if len({letter.option for letter in letters}) == 1 and text[: letters[0].start].strip(" \n([\"'-"):
        return letters if not text[letters[0].end :].strip(" \n)].\"'") else []
    return letters


def _spans(text: str, pattern: re.Pattern) -> list[tuple[int, int]]:
    """From the end of every match to the end of its sentence, blanks and markup skipped."""
    spans = []
    for found in islice(pattern.finditer(text), MOST + 1):
        start = _up_to(_NO_BLANK, text, found.end())
        spans.append((start, _up_to(_STOP, text, start + 1)))
    return spans


def _tags(text: str) -> list[tuple[int, int]]:
    """What stands between a tag such as ``<answer>`` and its closing one, or the end."""
    return [(tag.end(), _up_to(_NEXT_TAG, text, tag.end())) for tag in _TAG.finditer(text)]


def _up_to(pattern: re.Pattern, text: str, start: int) -> int:
    """Where a pattern is found next, or the end."""
    found = pattern.search(text, start)
    return found.start() if found else len(text)


def _within(text: str, rest: str, named: list, letters: list, spans: list, labels: tuple) -> list[_Named]:
    """Options that are meant in some parts of a reply, by letter or by words."""
    found = []
    for start, end in spans:
        part = text[start:end]
        alone = _ALONE.fullmatch(text, start, end)
        same = [index for index, label in enumerate(labels) if plain(label) == plain(part.strip(" \n()[]\"'"))]
        if alone:
            inside = [_letter(alone)]
        elif same:
            inside = [_Named(index, "text", start, end) for index in same]
        else:
            inside = [one for one in (*letters, *named) if start <= one.start < end]
            inside = [one for one in inside if one.how == "letter" or labels[one.option].casefold() not in _OWN_WORDS]
        found += inside
    return _meant(text, rest, found)


def _meant(text: str, rest: str, found: list) -> list[_Named]:
    """Those whose clause does not negate them, wherever they stand; none where one of them is left open."""
    doubted = {one.option for one in found if not _is_meant(text, rest, one)}
    meant = [one for one in found if one.option not in doubted]
    return [] if any(_OPEN.match(text, one.end) for one in meant) else meant


def _is_meant(text: str, rest: str, one: _Named) -> bool:
    """Whether its clause does not negate it; in ``rest`` the words of options are taken: "B: no" may be that option."""
    clause = _BORDER.split(text[max(one.start - 200, 0) : one.start])[-1]
    return not (_AGAINST.search(clause) or _REFUTED.match(text, one.end) or _DENIED.match(rest, one.end))
