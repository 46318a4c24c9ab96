"""Scores, comparisons and their intervals, from tables of answers. Knows no model and no image; imports ``data``."""
