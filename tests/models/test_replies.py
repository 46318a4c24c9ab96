"""What a reply chooses: a person would agree, or it chooses nothing."""

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ubench_utils.models.replies import NO_OPTION, NONE, read_reply

LABELS = (
    "light microscopy",
    "electron microscopy",
    "E. coli",
    "dense nuclei",
    "moderately dense nuclei",
    "None",
    "none of the above",
)
CAPTIONS = tuple(f"A micrograph of {label}." for label in LABELS)
LIGHT, ELECTRON, COLI, DENSE, MODERATE, NO_STAIN, ABOVE = range(7)

CORPUS = [
    # the option, its caption, its letter
    ("electron microscopy", ELECTRON),
    ("Electron-microscopy.", ELECTRON),
    ("A micrograph of dense nuclei.", DENSE),
    ("B", ELECTRON),
    ("(B)", ELECTRON),
    ("b)", ELECTRON),
    ("[B]", ELECTRON),
    ("`B`", ELECTRON),
    ("**B**", ELECTRON),
    ("B.", ELECTRON),
    ("B!", ELECTRON),
    ("b", ELECTRON),
    ("B) electron microscopy", ELECTRON),
    ("\nB\n", ELECTRON),
    ("B. electron microscopy", ELECTRON),
    ("B: electron microscopy", ELECTRON),
    ("(B) Electron Microscopy", ELECTRON),
    ("B, electron microscopy", ELECTRON),
    ("B - electron microscopy", ELECTRON),
    ("B) because it is grey", ELECTRON),
    ("B because light microscopy would show colour", ELECTRON),
    ("B</s>", ELECTRON),
    ("B<|im_end|>\nuser C", ELECTRON),
    ("Assistant: B", ELECTRON),
    ("Option B", ELECTRON),
    ("None", NO_STAIN),
    ("none of the above", ABOVE),
    ("G", ABOVE),
    ("It is E. coli.", COLI),
    ("E. coli bacteria", COLI),
    ("E", MODERATE),
    ("E. moderately dense nuclei", MODERATE),
    ("B\n\nExplanation: unlike light microscopy, it is grey.", ELECTRON),
    ("The image is grey.\n\nB", ELECTRON),
    # declared
    ("Answer: B", ELECTRON),
    ("The answer is **B**.", ELECTRON),
    ("The answer is B, not light microscopy.", ELECTRON),
    ("The correct answer is B. Here's why: light microscopy shows colour.", ELECTRON),
    ("Answer:\nB", ELECTRON),
    ("Answer: B\nExplanation: by its colour", ELECTRON),
    ("The correct option is (B).", ELECTRON),
    ("I would choose B.", ELECTRON),
    ("I'd go with option B", ELECTRON),
    ("answer: b", ELECTRON),
    ("The answer is moderately dense nuclei.", MODERATE),
    ("The answer is None.", NO_STAIN),
    ("It is not A. The answer is B.", ELECTRON),
    ("I would rule out A and C, so B.", ELECTRON),
    ("A) light microscopy\nB) electron microscopy\nAnswer: B", ELECTRON),
    ("The best answer is: B) it", ELECTRON),
    ("Antwort: B", ELECTRON),
    ("Réponse : B", ELECTRON),
    ("Respuesta: B", ELECTRON),
    ("答案：B", ELECTRON),
    ("答案是B。", ELECTRON),
    ("答えはB", ELECTRON),
    ("정답: B", ELECTRON),
    ("Ответ: B", ELECTRON),
    ("Ｂ", ELECTRON),
    ("（Ｂ）", ELECTRON),
    ("Ⓑ", ELECTRON),
    ("The answer is B and not A", ELECTRON),
    # marked
    ("Final answer: B", ELECTRON),
    ("**Final Answer**\n\nB", ELECTRON),
    ("\\boxed{B}", ELECTRON),
    ("It may be A. $\\boxed{\\text{B}}$", ELECTRON),
    ("<answer>B</answer>", ELECTRON),
    ('{"answer": "B"}', ELECTRON),
    ("<answer>electron microscopy</answer>", ELECTRON),
    ('```json\n{"answer": "B", "why": "A"}\n```', ELECTRON),
    ("The answer is A. Wait, no. Final answer: B", ELECTRON),
    ("\\boxed{electron microscopy}", ELECTRON),
    # thought aloud
    ("<think>It looks like light microscopy.</think>\nB", ELECTRON),
    ("light microscopy? A.</think>B", ELECTRON),
    ("[THINK]A or C[/THINK]B", ELECTRON),
    ("◁think▷A◁/think▷B", ELECTRON),
    ("<think>\n</think>\n\nB", ELECTRON),
    ("<THINKING>A</THINKING> The answer is B", ELECTRON),
    ("<think>a <think> b</think>B", ELECTRON),
    ("<|channel|>analysis<|message|>A?<|end|><|start|>assistant<|channel|>final<|message|>B<|return|>", ELECTRON),
    ("analysisIt may be A.assistantfinalB", ELECTRON),
    ("<reasoning>A</reasoning><answer>B</answer>", ELECTRON),
    # one mention
    ("The image shows electron_microscopy", ELECTRON),
    ("This is electron microscopy (B).", ELECTRON),
    ("It is electron microscopy, not light microscopy.", ELECTRON),
    ("dense nuclei", DENSE),
    ("It could be light microscopy, but it is electron microscopy.", ELECTRON),
    ("Light microscopy is ruled out, so this is electron microscopy", ELECTRON),
    ("I think electron microscopy", ELECTRON),
    ("The answer: B. electron microscopy.", ELECTRON),
    ("It is B.", ELECTRON),
    ("B (95 % sure)", ELECTRON),
    ("B (electron microscopy)", ELECTRON),
    ("Rather than light microscopy, this is electron microscopy", ELECTRON),
    ("(B) is right", ELECTRON),
    # other marks, alphabets and scripts
    *(
        (quoted, ELECTRON)
        for quoted in ("„B“", "«B»", "‹B›", "「B」", "『B』", "【B】", "《B》", "⟨B⟩", "“(B)”", "'B'", "{B}", "<B>")
    ),
    *(
        (form, ELECTRON)
        for form in ("𝐁", "ℬ", "Ｂ．", "B。", "B！", "B…", "B 👍", "✅ B", "\u200fB\u200f", "\u202bB\u202c", "\ufeffB")
    ),
    ("\\(B\\)", ELECTRON),
    ("<b>B</b>", ELECTRON),
    ("B，因为它是灰色的", ELECTRON),
    ("B、電子顕微鏡", ELECTRON),
    ("选B", ELECTRON),
    ("我选择B。", ELECTRON),
    ("选项B", ELECTRON),
    ("正解はBです。", ELECTRON),
    ("Bです", ELECTRON),
    ("정답은 B입니다.", ELECTRON),
    ("الجواب هو B", ELECTRON),
    ("सही उत्तर: B", ELECTRON),
    ("Đáp án: B", ELECTRON),
    ("Jawaban: B", ELECTRON),
    ("Svaret är B", ELECTRON),
    ("Opción B", ELECTRON),
    ("La réponse correcte est B.", ELECTRON),
    ("La respuesta correcta es B.", ELECTRON),
    ("A resposta correta é B", ELECTRON),
    ("Antwort B", ELECTRON),
    # in the manner of models: GPT, Gemini, Qwen-VL, LLaVA, InternVL, SmolVLM, MedGemma
    ("B)", ELECTRON),
    ("B electron microscopy", ELECTRON),
    ("Answer: B) electron microscopy", ELECTRON),
    ("The correct answer is **B) electron microscopy**.\n\nHere's why:\n* A) light microscopy shows colour", ELECTRON),
    ("**B) electron microscopy**\n\nThe grey levels rule out C) E. coli.", ELECTRON),
    ("B.\n\nA) light microscopy is wrong", ELECTRON),
    ("B\n\nA) light microscopy is wrong\nC) so is this", ELECTRON),
    ("Based on the image, the most likely modality is B) electron microscopy.", ELECTRON),
    ("This is a transmission electron microscopy image.", ELECTRON),
    ("I think it's B.", ELECTRON),
    ("I'd say B.", ELECTRON),
    ("It's B.", ELECTRON),
    ("That would be B.", ELECTRON),
    ("Sure, B.", ELECTRON),
    ("Definitely B.", ELECTRON),
    ("Most likely B", ELECTRON),
    ("Prediction: B", ELECTRON),
    ("Ans: B", ELECTRON),
    ("A is incorrect. B is correct.", ELECTRON),
    ("B is correct because A is not", ELECTRON),
    ("B, not A", ELECTRON),
    ("B not A", ELECTRON),
    ("B rather than A", ELECTRON),
    ("B would be the answer", ELECTRON),
    ("Correct: B, not A", ELECTRON),
    ("The answer is B because a car moves.", ELECTRON),
    ("I would pick B — a safe choice.", ELECTRON),
    ("C. A pretty picture", COLI),
    ('Here is the JSON: {"answer": "B"}', ELECTRON),
    ("{'answer': 'B'}", ELECTRON),
    ("The energy is $\\boxed{\\langle C\\rangle}$. **Answer: B**", ELECTRON),
    ("<final_answer>B</final_answer>", ELECTRON),
    ("<SUMMARY>A?</SUMMARY><REASONING>C?</REASONING><CONCLUSION>B</CONCLUSION>", ELECTRON),
    ("<|begin_of_box|>B<|end_of_box|>", ELECTRON),
    ("<unused94>thought\nA?<unused95>B", ELECTRON),
    ("USER: <image>\nA) light\nB) electron ASSISTANT: B", ELECTRON),
    ("[INST] A) light\nB) electron [/INST] B</s>", ELECTRON),
    ("<|im_start|>user\nA) light<|im_end|>\n<|im_start|>assistant\nB<|im_end|>", ELECTRON),
    ("B\n" + "word " * 3900, ELECTRON),
]
NO_CHOICE = [
    "",
    " ",
    None,
    float("nan"),
    "I cannot tell",
    "Z",
    "H",
    "D. melanogaster",
    "B?",
    "2",
    "1)",
    "I",
    "I think so",
    "…",
    "A) electron microscopy",
    "B) light microscopy",
    "B. light microscopy",
    "B: light microscopy",
    "(B) dense nuclei",
    "A: electron microscopy",
    "The answer is B, light microscopy",
    "B. It is light microscopy",
    "B - light microscopy",
    "light microscopy or electron microscopy",
    "A or B",
    "A, B",
    "A/B",
    "B and C",
    "The answer is either A or B",
    "The answer is A or B.",
    "A) light microscopy\nB) electron microscopy",
    "A and C are wrong",
    "not B",
    "Not B.",
    "The answer is not B.",
    "It is not electron microscopy",
    "B is wrong",
    "neither A nor B",
    "B) is not right",
    "It isn’t electron microscopy",
    "It could be electron microscopy",
    "B. Wait, C",
    "The answer is B. Actually, C.",
    "I don't think the answer is B",
    "If the answer is B, it would be grey",
    "A micrograph of a cell",
    "A Giemsa stain",
    "These are B cells",
    "The answer is B cells",
    "vitamin B",
    "\\boxed{A} or \\boxed{B}",
    "All of the above",
    "<think>The answer is B",
    "B <think> or rather",
    "<think>B</think>",
    "<answer></answer>",
    '{"answer": ["B"]}',
    '{"answer": "B", "choice": "C"}',
    "<|channel|>analysis<|message|>The answer is B",
    "Final answer: A or B",
    "Option A looks right, but option B does too",
    "The options are A) light, B) electron",
    "The answer is X.",
    "Electron microscopy is unlikely",
    "instead of electron microscopy",
    "non electron microscopy",
    "Answer: B or G",
    "A light microscopy is not what I see",
    "Compared with electron microscopy it is blurred",
    "The answer: B. light microscopy.",
    "I see B. light microscopy",
    "It is B. light microscopy",
    "Antwort: B) dense nuclei",
    "<answer>A</answer> \\boxed{B}",
    "B (light microscopy)",
    "A (or B)",
    "A (not B) or C",
    "Answer: B or none",
    "Answer: A/B",
    "Final answer: B or maybe A",
    "I choose B or C",
    '{"answer": "A", "answer": "B"}',
    "far from electron microscopy",
    "It lacks the look of electron microscopy",
    "I doubt it is electron microscopy",
    "electron microscopy? no",
    "electron microscopy?",
    "Is it electron microscopy?",
    "electron microscopy: no",
    "hardly electron microscopy",
    "Electron microscopy would show more detail.",
    "anything but electron microscopy",
    "electron microscopy is absent",
    "Had it been electron microscopy, it would be grey",
    "too colourful for electron microscopy",
    "Die Antwort ist nicht B.",
    "答えはBではありません",
    "答案不是B",
    "het antwoord is niet B",
    "La réponse n'est pas B",
    "В",  # Cyrillic, which looks like B but need not be meant so
    "Β",  # Greek
    "Ответ: В",
    "🅱️",
    "is a vehicle",
    "A vehicle",
    "It is not light microscopy",
    "Neither",
    "Both A and B",
    "AB",
    "A B",
    "A & B",
    "A\nB",
    "A: no",
    "A: wrong. B: right.",
    "A - wrong",
    "A is correct. B is correct.",
    "If A is wrong, B is correct",
    "A looks right but B does too",
    "B, possibly C",
    "B, perhaps",
    "B?!",
    "Maybe B",
    "It's not B.",
    "I don't think it's B",
    "Most likely not B",
    "Most likely A or B",
    "B not",
    "A not B but C",
    "B would be wrong",
    "No, B.",
    "The letter is not B",
    "Answer: A\nAfter checking, I correct this.\nAnswer: B",
    "ANSWER: AB",
    "B\n\nQuestion: what?\nAnswer: C",
    "hepatitis B",
    "Figure B shows a cell",
    "B12",
    "It's a",
    "I'm sorry, but I can't help with that.",
    "N/A",
    "nan",
    "🔬",
    "Bではありません",
    "Bですか。",
    "不选B",
    "我不选择B",
    "选项A和B",
    "الجواب ليس B",
    "La respuesta correcta no es B",
    "Svaret är inte B",
    '{"answer": null}',
    "<unused94>thought\nThe answer is B",
    "USER: A) light\nB) electron",
    "B" * 20_000,
    "word " * 4_000 + "the answer is B",
]


@pytest.mark.parametrize(("reply", "index"), CORPUS)
def test_a_choice_is_read(reply, index):
    assert read_reply(reply, LABELS, CAPTIONS).index == index


@pytest.mark.parametrize("reply", NO_CHOICE)
def test_what_is_no_choice_is_not_guessed(reply):
    assert read_reply(reply, LABELS, CAPTIONS) == NONE


def test_how_a_choice_was_read():
    assert read_reply("Answer: B", LABELS).how == "letter" == read_reply("B) electron microscopy", LABELS).how
    assert read_reply("electron microscopy", LABELS).how == "text" == read_reply("It is E. coli.", LABELS).how
    assert NONE == (NO_OPTION, "none")


def test_options_that_are_letters_or_numbers():
    assert read_reply("2", ("1", "2", "3")).index == 1
    assert read_reply("B", ("B", "A", "AB")) == NONE  # the blood group or the second option?
    assert read_reply("AB", ("B", "A", "AB")).index == 2
    assert read_reply("B", ("A", "B", "AB")).index == 1
    sizes = ("0.5 µm", "5", "50")
    assert [read_reply(reply, sizes).index for reply in ("0.5 um", "It is 0.5 μm.", "It is 5.", "5")] == [-1, 0, 1, 1]
    assert [read_reply(f"It is {wrong}", sizes) for wrong in ("5.2", "1,5", "-5", "0.5")] == [NONE] * 4


def test_marks_in_the_options():
    labels = ("CD8+ T cells", "CD4+ T cells", "H&E", "Papanicolaou–stain", "β-tubulin (α)", "café")
    for index, label in enumerate(labels):
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            reply = unicodedata.normalize(form, f"The stain is {label.upper()}.")
            assert read_reply(reply, labels).index == index, reply
    assert read_reply("The stain is H&amp;E", labels).index == 2 == read_reply("It is H & E.", labels).index


# Properties

words = st.text("abdefghklmnprstuvw", min_size=4, max_size=8)  # no word of the rule is spelt with these alone
label_lists = st.lists(words.map(lambda word: f"x{word}y"), min_size=2, max_size=8, unique=True).map(tuple)
WRAPPERS = [
    "{}",
    "({})",
    "{}.",
    "**{}**",
    "Answer: {}",
    "The answer is {}.",
    "Final answer: {}",
    "\\boxed{{{}}}",
    "<answer>{}</answer>",
    "{}</s>",
    "Option {}",
    "I choose {}",
    "Answer: {}\nExplanation: it is so",
    "答案：{}",
    "<think>hm</think>{}",
    "The correct answer is {} because of its look.",
    '{{"answer": "{}"}}',
]


@given(label_lists, st.sampled_from(WRAPPERS), st.data())
@settings(max_examples=300, deadline=None)
def test_a_letter_in_every_wrapper_gives_its_option(labels, wrapper, data):
    index = data.draw(st.integers(0, len(labels) - 1))
    assert read_reply(wrapper.format("ABCDEFGH"[index]), labels) == (index, "letter")


THOUGHTS = ["<think>{}</think>", "[THINK]{}[/THINK]", "{}</think>"]
DENIALS = [
    "It is not {}.",
    "not {}",
    "{} is ruled out",
    "I would exclude {}",
    "It may be {}",
    "The answer is not {}",
    "{} is incorrect",
    "unlike {}",
    "{} isn't it",
]
BETWEEN = [") ", ". ", ": ", " - ", ") The image shows "]


@given(label_lists, st.sampled_from(WRAPPERS), st.sampled_from(THOUGHTS), st.text(), st.data())
@settings(max_examples=300, deadline=None)
def test_a_thought_before_an_answer_changes_nothing(labels, wrapper, thought, text, data):
    letter = "ABCDEFGH"[data.draw(st.integers(0, len(labels) - 1))]
    considered = data.draw(st.sampled_from([text, f"The answer is {labels[0]}.", "Final answer: A", "\\boxed{B}"]))
    reply = wrapper.format(letter)
    if "[" not in considered and "<" not in considered:
        assert read_reply(thought.format(considered) + reply, labels) == read_reply(reply, labels)


@given(label_lists, st.sampled_from(DENIALS), st.data())
@settings(max_examples=300, deadline=None)
def test_an_option_that_is_denied_is_never_the_choice(labels, form, data):
    index = data.draw(st.integers(0, len(labels) - 1))
    for named in (labels[index], "ABCDEFGH"[index], f"option {'ABCDEFGH'[index]}", f"({'ABCDEFGH'[index]})"):
        assert read_reply(form.format(named), labels).index != index


@given(
    label_lists,
    st.sampled_from("ABCDEFGH"),
    st.sampled_from([") ", ". ", ": ", " - ", ") The image shows "]),
    st.data(),
)
@settings(max_examples=300, deadline=None)
def test_a_letter_beside_the_words_of_another_option_is_no_choice(labels, letter, between, data):
    index = data.draw(st.integers(0, len(labels) - 1))
    expected = index if "ABCDEFGH".index(letter) == index else NO_OPTION
    assert read_reply(f"{letter}{between}{labels[index]}", labels).index == expected


@given(st.text(), label_lists, st.sampled_from(["{}", "Answer: {}", "<think>{}", "\\boxed{{{}", "A) {}"]))
@settings(max_examples=500, deadline=None)
def test_any_text_is_read_without_an_error(text, labels, form):
    reading = read_reply(form.format(text), labels)
    assert NO_OPTION <= reading.index < len(labels) and (reading.how == "none") == (reading.index == NO_OPTION)
    assert read_reply(unicodedata.normalize("NFD", form.format(text)), labels) == read_reply(
        unicodedata.normalize("NFC", form.format(text)), labels
    )


@pytest.mark.parametrize(
    "piece",
    [
        "B\n",
        "A) ",
        "the answer is ",
        "\\boxed{",
        "<think>",
        "</think>",
        "<answer>",
        "final answer ",
        "light microscopy ",
        "not ",
        "(",
        "{",
        '{"a":',
        "*_",
        " ",
        "E. ",
        "<|channel|>",
        "option A ",
        "B, ",
        "\n\n",
        "A" * 50,
    ],
)
def test_a_reply_of_a_million_characters_takes_no_time(piece):
    started = time.process_time()
    for length in (19_000, 1_000_000):
        read_reply(piece * (length // len(piece)), LABELS, CAPTIONS)
    assert time.process_time() - started < 3
