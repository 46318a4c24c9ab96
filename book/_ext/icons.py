"""The icons that the book uses, and no others: one font of a few kilobytes in the place of the theme's three.

The theme brings all of Font Awesome, 2,000 icons as fonts, style sheet and script, 1.9 MB for a page with a dozen.
"""

import re
import shutil
from pathlib import Path

from fontTools.subset import main as subset

ICON = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}')
FONT = "fa-solid-900"


def keep_used_icons(app, exception):
    if exception is not None or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    (folder,) = (static / "vendor" / "fontawesome").glob("*")
    sources = [*Path(app.outdir).rglob("*.html"), *(static / "scripts").glob("*.js")]
    names = {name for file in sources for name in re.findall(r"\bfa-[\w-]+", file.read_text(encoding="utf-8"))}
    styles = [file for file in static.rglob("*.css") if folder not in file.parents]
    drawn = "".join(file.read_text(encoding="utf-8") for file in styles)  # either as \f00c or as the character itself
    codes = set(re.findall(r"\\(f\w{3})\b", drawn)) | {f"{ord(one):x}" for one in re.findall("[\uf000-\uf8ff]", drawn)}

    sheet = Path(folder / "css" / "all.min.css")
    text = sheet.read_text(encoding="utf-8")
    icons = {rule[0]: rule[2] for rule in ICON.finditer(text) if names & set(re.findall(r"fa-[\w-]+", rule[1]))}
    text = ICON.sub(lambda rule: rule[0] if rule[0] in icons else "", text)
    text = re.sub(rf"@font-face\{{(?![^}}]*Free;[^}}]*{FONT})[^}}]*\}}", "", text)
    sheet.write_text(re.sub(r"url\([^)]*woff2\)[^,}]*,", "", text), encoding="utf-8")

    fonts = folder / "webfonts"
    whole = (fonts / f"{FONT}.ttf").rename(fonts / "whole.ttf")
    unicodes = ",".join(sorted(codes | set(icons.values())))
    subset([str(whole), f"--unicodes={unicodes}", f"--output-file={fonts / FONT}.ttf", "--layout-features="])
    for file in {*fonts.iterdir()} - {fonts / f"{FONT}.ttf"}:
        file.unlink()
    shutil.rmtree(folder / "js", ignore_errors=True)


def setup(app):
    app.connect("build-finished", keep_used_icons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
