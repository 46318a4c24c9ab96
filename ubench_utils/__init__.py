"""Shared module of the μ-Bench notebooks: from rows to questions, embeddings, predictions, scores and pages.

The flow is one way: ``data`` → ``questions`` → ``registry``/``sources``/``models`` → ``encode`` → ``predict`` →
``stats`` → ``plots``/``tables``/``answers`` → ``run``. ``evaluate`` joins the first five; the notebooks start there.
``finetuning``, ``grids`` and ``weights`` study pairs of models, whose weights ``merging`` mixes.
``resampling`` holds the bootstrap that ``stats``, ``paired``, ``selection`` and ``calibration`` share.
"""

__version__ = "0.1.0"
