"""The pytest plugin: its fixtures and asserts, and what it is like to use them."""
