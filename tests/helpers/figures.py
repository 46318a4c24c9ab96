"""Figures as files: their SVG, and whether anything reaches over their edge."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg


def svg(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def overhang(figure):
    """Points by which the drawing reaches over the figure's edge, at worst."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    box, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()
    return 72 * max(-box.x0, -box.y0, box.x1 - width, box.y1 - height)
