"""Keep the built book free of outside addresses.

MathJax comes from the `sphinx-mathjax-offline` package. That package would copy all of its 24 MB; one file
is enough, because MathJax's SVG output carries its own glyphs. Jupyter Book loads `sphinx_thebe` whether or
not it is used, and with it a script address on every page; the book has no live code, so it is taken out.
"""

from importlib.util import find_spec
from pathlib import Path

from sphinx.errors import ExtensionError
from sphinx.util.fileutil import copy_asset_file

MATHJAX = "tex-svg.js"


def mathjax_source():
    spec = find_spec("sphinx-mathjax-offline")
    source = Path(spec.origin).parent / "static" / "mathjax" / MATHJAX if spec and spec.origin else None
    if source is None or not source.is_file():
        raise ExtensionError("sphinx-mathjax-offline is not installed: the book needs its copy of MathJax")
    return source


def copy_mathjax(app, exception):
    if exception is None and app.builder.format == "html":
        copy_asset_file(str(mathjax_source()), str(Path(app.outdir) / "_static"))


def drop_thebe(app, config):
    for name, listeners in app.events.listeners.items():
        kept = [one for one in listeners if not one.handler.__module__.startswith("sphinx_thebe")]
        app.events.listeners[name] = kept
    for files in (app.registry.css_files, app.registry.js_files):
        files[:] = [one for one in files if "thebe" not in str(one[0])]


def setup(app):
    mathjax_source()  # a missing package stops the build at once
    app.config.mathjax_path = MATHJAX
    app.connect("config-inited", drop_thebe)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
