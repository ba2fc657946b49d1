"""Answers to questions: the number, its uncertainty, its base rate, its track record, and where it came from."""
