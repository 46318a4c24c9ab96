"""What an executed notebook shows, made fit for a page: the same bytes for equal runs, and no word read as markup."""

import ast

import nbformat

from ..text import as_markdown, one_line, visible


def tidy(notebook, slug: str):
    """Give an executed notebook fixed ids and drop what differs between equal runs; place captions and alt texts.

    ``style.show`` leaves caption and alt text in the output's metadata; MyST-NB wants them in the cell's, and reads a
    caption as Markdown. Here, and nowhere else, words that may come from a dataset become part of a page, so captions
    are plain text, and characters that could turn the words around them are written out everywhere.
    """
    notebook = nbformat.from_dict(notebook)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    figures = 0
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        for noise in ("papermill", "execution", "lines_to_next_cell"):
            cell.metadata.pop(noise, None)
        cell.outputs = _joined([output for output in cell.get("outputs", []) if output.get("name") != "stderr"])
        if cell.cell_type != "code":
            del cell["outputs"]
            continue
        for output in cell.outputs:
            about = output.get("metadata", {}).pop("ubench", None)
            if about:
                figures += 1
                output.data.pop("text/plain", None)
                cell.metadata["mystnb"] = {
                    "image": {"alt": one_line(about["alt"])},
                    "figure": {"caption": as_markdown(about["caption"]), "name": f"fig-{slug}-{figures}"},
                }
            _show_all(output)
    return notebook


def _show_all(output) -> None:
    """Write out what is unseen in an output: printed text, tables, figures, and the sentences that a page glues in."""
    if output.output_type == "stream":
        output.text = visible(output.text)
    glued = "scrapbook" in output.get("metadata", {})
    for kind, words in output.get("data", {}).items():
        if glued and isinstance(words, str):
            output.data[kind] = _visible_literal(words)
        elif kind.startswith("text/") or kind == "image/svg+xml":
            output.data[kind] = visible(words)


def _visible_literal(text: str) -> str:
    """``repr`` of a text, whose escapes the page would turn into characters again, as that of a visible one."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
    return repr(visible(value)) if isinstance(value, str) else text


def _joined(outputs: list) -> list:
    """Outputs with what was printed in a row as one: where a kernel cuts the stream is a matter of timing."""
    joined: list = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined
