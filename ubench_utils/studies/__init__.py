"""One file a page of the book: the numbers behind its question. Draws nothing and writes no sentence."""
