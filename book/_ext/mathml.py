"""Formulas as MathML, written when the book is built, so that a page needs no script to draw them.

Browsers draw MathML themselves (Chromium since version 109, Firefox and Safari for longer), and screen readers read it.
"""

import html
import re
from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import Converter
from sphinx.errors import ExtensionError
from sphinx.util.math import get_node_equation_number

CHILDREN = {"mfrac": 2, "mroot": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "msubsup": 3, "munderover": 3}


def mathml(latex, display="inline"):
    """Formula as a ``<math>`` element; ValueError says what in it cannot be written."""
    if r"\\" in latex and r"\begin" not in latex:
        latex = rf"\begin{{split}}{latex}\end{{split}}"  # several lines, as Sphinx understands them
    try:
        formula = Converter(display=display).convert_to_element(latex)
    except Exception as error:  # its errors share no class of their own
        raise ValueError(re.sub(r"(?<!^)([A-Z])", r" \1", type(error).__name__).lower()) from error
    for part in formula.iter():
        part.text = html.unescape(part.text or "")
        # The converter passes on what it does not know, and what stands at the wrong place.
        if part.text == "&" or part.get("linebreak") or re.match(r"\\[A-Za-z]", part.text):
            raise ValueError(f"'{part.text or 'line break'}' is not known here")
        if len(part) != CHILDREN.get(part.tag, len(part)):
            raise ValueError("a fraction, index or accent is not complete")
        if part.tag == "mtext" and part.text.strip():  # it counts as space: no gap around a sign between two of them
            part.tag = "mi"
            part.set("mathvariant", "normal")
    formula.set("alttext", latex)
    return ElementTree.tostring(formula, encoding="unicode")


def written(translator, node, display):
    try:
        return mathml(node.astext(), display)
    except ValueError as error:
        where = f"{node.source or translator.builder.current_docname}:{node.line or '?'}"
        raise ExtensionError(f"{where}: the formula {node.astext()!r} cannot be written as MathML: {error}") from error


def visit_inline(self, node):
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    self.body.append(written(self, node, "inline") + "</span>")
    raise nodes.SkipNode


def visit_block(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(written(self, node, "block") + "</div>\n")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
