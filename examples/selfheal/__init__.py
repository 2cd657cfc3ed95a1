"""Workers, broker and network are killed in turn, and nothing is lost: see run.py."""

QUEUE = "selfheal"
