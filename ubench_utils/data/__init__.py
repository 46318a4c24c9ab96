"""Images and questions: rows as stored, pixels by one rule, one row per question. Imports ``demo`` alone."""
