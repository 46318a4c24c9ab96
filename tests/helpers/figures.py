"""Figures as files: their SVG, whether anything reaches over their edge, and the names on their axes."""

import io

from matplotlib.backends.backend_svg import RendererSVG

from ubench_utils.report import style


def svg(figure):
    return style.svg(figure).encode()


def renderer(figure):
    """Measures the letters of a figure as they are in its SVG, in points."""
    figure.set_dpi(72)
    return RendererSVG(*(72 * figure.get_size_inches()), io.StringIO())


def overhang(figure):
    """Points by which the drawing reaches over the figure's edge, at worst."""
    with style.context():
        box, (width, height) = figure.get_tightbbox(renderer(figure)), figure.get_size_inches()
    return 72 * max(-box.x0, -box.y0, box.x1 - width, box.y1 - height)


def tick_labels(axis):
    """The names on the upright axis."""
    return [label.get_text() for label in axis.get_yticklabels()]
