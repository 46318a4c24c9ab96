"""Valid HTML for exercises: `sphinx_exercise` gives the content of each the same id, and ids must be unique."""

from docutils import nodes

REPEATED = {"exercise-content", "solution-content"}


def drop_repeated_ids(app, doctree, docname):
    for section in doctree.findall(nodes.section):
        section["ids"] = [name for name in section["ids"] if name not in REPEATED]


def setup(app):
    app.connect("doctree-resolved", drop_repeated_ids)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
