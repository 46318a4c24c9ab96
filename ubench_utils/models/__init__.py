"""From a model string to something that answers questions. Imports ``engine`` and ``data``."""
