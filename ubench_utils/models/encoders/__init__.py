"""Dual encoders, which answer by the similarity of image and caption: one file a library."""
