"""The form of numbers: figures, tables, cards and sentences. Computes nothing that it does not show."""
