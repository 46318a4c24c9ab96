"""The page of the public functions, from their docstrings. The code is read, not run, so building loads no library."""

import ast
import re
import textwrap
from pathlib import Path

MARK = "<!-- functions -->"


def fill(app, docname, source):
    """Put the functions in the place of the mark, and let Sphinx read the page anew when their code changes."""
    if MARK in source[0]:
        text, files = markdown(Path(app.srcdir) / "ubench_utils")
        source[0] = source[0].replace(MARK, text)
        for file in files:
            app.env.note_dependency(str(file))


def markdown(package):
    """The text of the page, and the files that it comes from."""
    init = package / "__init__.py"
    assignments = [node for node in _tree(init).body if isinstance(node, ast.Assign)]
    public = next(ast.literal_eval(node.value) for node in assignments if node.targets[0].id == "PUBLIC")
    parts, files, room = [], [init], None
    for name, module in public.items():
        home, file = module.split(".")[0], package / f"{module.replace('.', '/')}.py"
        if home != room:
            room, words = home, ast.get_docstring(_tree(package / home / "__init__.py"))
            parts.append(f"## {room.capitalize()}\n\n{words}")
        parts.append(_function(name, next(node for node in _tree(file).body if getattr(node, "name", None) == name)))
        files += [file, package / home / "__init__.py"]
    return "\n\n".join(parts), sorted(set(files))


def _tree(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def _function(name, node):
    """Heading, call and docstring of a function."""
    for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
        argument.annotation = None
    for defaults in (node.args.defaults, node.args.kw_defaults):
        defaults[:] = [ast.Constant(...) if isinstance(one, ast.Name) else one for one in defaults]
    call = textwrap.fill(f"ub.{name}({ast.unparse(node.args)})", 72, subsequent_indent="    ")
    first, *sections = re.split(r"^(\w[\w ]*)\n-{3,}\n", ast.get_docstring(node), flags=re.MULTILINE)
    parts = [f"### {name}", f"```python\n{call}\n```", first.strip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        parts += [f"**{title}**", _items(body.strip()) if re.search(r"^\s+\S", body, re.MULTILINE) else body.strip()]
    return "\n\n".join(parts)


def _items(body):
    """Definition list of Markdown from a section of numpydoc: lines at the margin name what the lines below explain."""
    items = []
    for term, words in re.findall(r"^(\S.*)\n?((?:(?:[ \t].*)?\n?)*)", body, re.MULTILINE):
        names, _, kind = term.partition(" : ")
        head = f"`{names}`" + (f" : {kind}" if kind else "")
        lines = textwrap.dedent(words).strip().splitlines() or ["\N{NO-BREAK SPACE}"]
        items.append(f"{head}\n: " + "\n  ".join(lines))
    return "\n\n".join(items)


def setup(app):
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
