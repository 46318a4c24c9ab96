"""What the theme leaves undone: pages that load nothing they do not use, and that anyone can read with any device.

Every page passes through ``Mended.render`` once, as Sphinx's ``template_bridge`` foresees.
"""

import html
import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.jinja2glue import BuiltinTemplateLoader
from sphinx.transforms.post_transforms import SphinxPostTransform

WIDE = 4.6  # inches: a figure as wide as a phone needs no box to scroll in
INCHES = {"pt": 72, "px": 96, "": 96, "in": 1}
MENDS = [
    # Icons are drawn by one font (see icons.py); the theme also loads a script of 1.5 MB, and fonts ahead of need.
    (re.compile(r"<script [^>]*/fontawesome/[^>]*></script>"), ""),
    (re.compile(r"<link [^>]*as=\"font\"[^>]*>\s*"), ""),
    # Without a script the page is in light colours; the theme has none for its "auto".
    (re.compile(r'(<html [^>]*data-theme=)"auto"'), r'\1"light"'),
    # The arrow that opens a part of the table of contents is named after that part.
    (
        re.compile(r"(<a [^>]*>([^<]*)</a><details[^>]*>\s*<summary)>"),
        lambda m: m[1] + ' aria-label="Under ' + m[2].replace('"', "&quot;") + '">',
    ),
    (re.compile(r'<div class="bd-sidebar-primary bd-sidebar'), r'<div role="complementary" aria-label="Book" \g<0>'),
    # `doc-biblioentry` is deprecated, and nothing that a list may hold.
    (re.compile(r'role="doc-biblioentry"'), 'role="listitem"'),
]


class Mended(BuiltinTemplateLoader):
    """Templates as Sphinx renders them, with the mends."""

    def render(self, template, context):
        # The theme prints the title of a page above its text, as HTML: a model's name is none.
        page = super().render(template, {**context, "pagetitle": html.escape(context.get("pagetitle") or "")})
        for pattern, replacement in MENDS:
            page = pattern.sub(replacement, page)
        return page


class FigureBoxes(SphinxPostTransform):
    """Put every wide figure in a box, in which it scrolls where the screen is narrow."""

    default_priority = 400
    formats = ("html",)

    def run(self, **kwargs):
        for figure in self.document.findall(nodes.figure):
            for image in list(figure.findall(nodes.image)):
                if width(Path(self.app.srcdir) / image["uri"]) > WIDE:
                    box = nodes.container("", image.deepcopy(), classes=["figure-box"], is_div=True)
                    image.parent.replace(image, box)


def width(file):
    """Natural width of an SVG in inches; 0 for any other image, which shows no small text."""
    head = file.read_text(encoding="utf-8")[:2000] if file.suffix == ".svg" else ""
    found = re.search(r'<svg[^>]* width="([\d.]+)(pt|px|in|)"', head)
    return float(found[1]) / INCHES[found[2]] if found else 0


def drop_thebe(app, config):
    """Jupyter Book loads `sphinx_thebe`, and with it an outside script on every page; the book has no live code."""
    for name, listeners in app.events.listeners.items():
        kept = [one for one in listeners if not one.handler.__module__.startswith("sphinx_thebe")]
        app.events.listeners[name] = kept
    for files in (app.registry.css_files, app.registry.js_files):
        files[:] = [one for one in files if "thebe" not in str(one[0])]


def launch_only_from_somewhere(app, config):
    """Without the address of a repository there is nothing to launch, and the theme would stop with an error."""
    options = config.html_theme_options
    options["repository_url"] = (options["repository_url"] or "").strip().rstrip("/").removesuffix(".git")
    if not options["repository_url"]:
        del options["launch_buttons"]


def escape_titles_in_search(app, exception):
    """Sphinx keeps the headings for its search as plain text, and its script shows them as HTML."""
    index = Path(app.outdir) / "searchindex.js"
    if exception is not None or app.builder.format != "html" or not index.is_file():
        return
    start, end = "Search.setIndex(", ")"
    found = json.loads(index.read_text(encoding="utf-8").removeprefix(start).removesuffix(end))
    # Unescaped before: Sphinx takes over what the last build wrote.
    found["alltitles"] = {html.escape(html.unescape(title)): places for title, places in found["alltitles"].items()}
    index.write_text(f"{start}{json.dumps(found, separators=(',', ':'))}{end}", encoding="utf-8")


def setup(app):
    app.config.template_bridge = "pages.Mended"
    app.add_post_transform(FigureBoxes)
    app.connect("config-inited", drop_thebe)
    app.connect("config-inited", launch_only_from_somewhere)
    app.connect("build-finished", escape_titles_in_search)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
