"""The answers of many models to all questions, with the record of how they came about. Imports ``models`` and below."""
