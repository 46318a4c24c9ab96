"""How work is done: chunks, a store keyed by content, the device. Knows no model; imports ``data``."""
