"""A broker's clients at random, with every feature that queues have, and the accounts of what they may find.

`kinds` makes up queues, `book` keeps account of every message, `play` does things to a broker at random. Whose broker
it is and what happens to its disk is others' business (tests/core/test_model.py, tests/store/test_feature_loss.py).
"""
