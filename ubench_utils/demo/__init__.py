"""The built-in sample: synthetic micrographs in the Hub schema, and tiny CLIP models trained on them."""
