"""Names from outside: shown as they are on a page, read as no markup, told apart on every figure."""

import nbformat
import pytest
from docutils.core import publish_doctree
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from myst_parser.parsers.docutils_ import Parser

from ubench_utils.pages.outputs import tidy
from ubench_utils.report import style
from ubench_utils.report.labels import labels
from ubench_utils.text import as_markdown, is_unseen, one_line, visible

EXTENSIONS = ["amsmath", "colon_fence", "deflist", "dollarmath", "substitution", "tasklist"]
SIGNS = st.text(st.sampled_from("a1 模é\n\t\\`*_{}[]<>()#+-.!|$&:~^=%@\"'/?;,"), max_size=20)
MIXTURES = [f"mix:demo-base+demo-pathology@{step / 100:.2f}" for step in range(4, 100, 4)]
CHECKPOINTS = [f"open_clip:ViT-B-32@/data/run_{run}/epoch_5.pt" for run in "ab"]
CHECKPOINTS += [f"hf:/runs/seed{seed}/checkpoint-500" for seed in (1, 2)]


@settings(deadline=None, max_examples=200)
@given(SIGNS)
@example("{{ lipsum.__globals__ }}")
@example("{eval-rst}`x`")
@example("<script>x</script>")
@example("1. x")
@example("$\\href{javascript:alert(1)}{x}$")
@example(":::{note}\nx\n:::")
def test_markdown_of_a_text_shows_the_text(words):
    set_up = {"myst_enable_extensions": EXTENSIONS, "report_level": 5, "smart_quotes": False}
    page = publish_doctree(as_markdown(words), parser=Parser(), settings_overrides=set_up)
    assert page.astext() == one_line(words)
    assert [node.tagname for node in page.findall()][1:] == ["paragraph", "#text"] * bool(one_line(words))


@given(st.text())
def test_nothing_unseen_is_left(words):
    assert not any(map(is_unseen, visible(words)))
    assert visible(visible(words)) == visible(words)


def test_what_is_seen_stays():
    assert visible("H&E, µm,\u00a0模型 λ\u200d\n") == "H&E, µm,\u00a0模型 λ\u200d\n"
    assert visible("a\x1b[31m\u202eb\u2066\x00") == r"a\x1b[31m\u202eb\u2066\x00"


@settings(deadline=None)
@given(st.lists(st.text(max_size=60), unique=True, max_size=30), st.integers(12, 60))
@example(["x" * 300 + end for end in ("", "a", "b", "ab")] + ["y" * 100 + middle + "y" * 100 for middle in "12"], 26)
@example([*MIXTURES, *CHECKPOINTS, "demo-base"], 26)
@example(["light microscopy", "light", "none of the above", "none", "模型", r"\u6a21\u578b", "_x", " _x", ""], 26)
def test_different_names_have_different_labels(names, most):
    found = labels(names, most)
    assert list(found) == names and len(set(found.values())) == len(names)
    assert all(0 < len(label) <= most and not label.startswith("_") for label in found.values())


def test_a_label_shows_what_differs():
    assert {label[-4:] for label in labels(MIXTURES).values()} == {name[-4:] for name in MIXTURES}
    assert all(run in label for run, label in zip("ab12", labels(CHECKPOINTS).values(), strict=True))
    deep = [f"open_clip:ViT-B-32@/{'long/' * 20}{run}/{'deep/' * 20}last.pt" for run in ("lr1", "lr2")]
    assert [run in label for run, label in zip(("lr1", "lr2"), labels(deep).values(), strict=True)] == [True, True]


def test_a_label_of_a_single_name_is_its_own():
    assert labels(["demo-pathology", "electron microscopy", "/data/run_a/epoch_5.pt"]) == {
        "demo-pathology": "demo-pathology",
        "electron microscopy": "electron",
        "/data/run_a/epoch_5.pt": "/data/run_a/epoch_5.pt",
    }


@pytest.fixture
def notebook(monkeypatch):
    """Return a notebook with a figure, a table, a glued sentence and printed words, all of them hostile."""
    words = "a\x1b[31m\u202e*b*\n{{ c }}$x$<b>"
    figure = Figure()
    figure.subplots().set_title("$\\frac{")
    figure.set_label(f"alt {words}")
    shown = []
    monkeypatch.setattr(style, "display", lambda data, raw, metadata: shown.append((data, metadata)))
    style.show(figure, f"caption {words}")
    v4 = nbformat.v4
    outputs = [v4.new_output("display_data", data=data, metadata=metadata) for data, metadata in shown]
    glued = {"application/papermill.record/text/plain": repr(words)}
    outputs += [
        v4.new_output("display_data", data=glued, metadata={"scrapbook": {"name": "x"}}),
        v4.new_output("display_data", data={"text/html": f"<p>{words}</p>"}),
        v4.new_output("stream", name="stdout", text=words),
    ]
    return v4.new_notebook(cells=[v4.new_code_cell("x", outputs=outputs)])


def test_a_page_holds_words_from_outside_as_plain_text(notebook):
    cell = tidy(notebook, "slug").cells[0]
    about = cell.metadata["mystnb"]
    assert about["figure"]["caption"].startswith(r"caption a\\x1b\[31m\\u202e\*b\* \{\{ c \}\}\$x\$\<b\>")
    assert about["image"]["alt"] == r"alt a\x1b[31m\u202e*b* {{ c }}$x$<b>"
    texts = [text for output in cell.outputs for text in output.get("data", {"": output.get("text")}).values()]
    assert len(texts) == 4 and not any(is_unseen(letter) for text in texts for letter in text)
    assert eval(texts[1]) == "a\\x1b[31m\\u202e*b*\n{{ c }}$x$<b>", "what the page makes of it holds no control either"  # noqa: S307
