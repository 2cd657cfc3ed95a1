"""Applications that others wrote, unmodified and at pinned versions, on a broker (see conftest.py)."""
