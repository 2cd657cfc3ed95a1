"""Topic exchanges: what matches, and that the trie says the same as a matcher that is obviously right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.core.destination import NO_ARGUMENTS, Binding, Destination, Matched, Routed
from leveret.core.topic import TopicMatcher
from leveret.errors import PreconditionFailed

SOURCE = Destination("x", False, True)

MATCHES = [
    # pattern, key, whether it matches
    ("a.b", "a.b", True),
    ("a.b", "a", False),
    ("a.b", "a.b.c", False),
    ("*", "a", True),
    ("*", "", False),
    ("*", "a.b", False),
    ("a.*", "a.", True),
    ("a.*", "a", False),
    ("*.b", ".b", True),
    ("*.*", ".", True),
    ("*.*.c", "a.b.c", True),
    ("#", "", True),
    ("#", "a", True),
    ("#", "a.b.c", True),
    ("a.#", "a", True),
    ("a.#", "a.b.c", True),
    ("a.#", "b.a", False),
    ("a.#", "ab", False),
    ("#.a", "a", True),
    ("#.a", "b.c.a", True),
    ("#.a", "a.b", False),
    ("a.#.b", "a.b", True),
    ("a.#.b", "a.c.d.b", True),
    ("a.#.b", "a.b.b", True),
    ("a.#.b", "a.b.c", False),
    ("a.#.b", "a", False),
    ("#.#", "", True),
    ("#.#", "a.b", True),
    ("#.*", "", False),
    ("#.*", "a.b", True),
    ("*.#", "a", True),
    ("*.#.*", "a", False),
    ("*.#.*", "a.b", True),
    ("#.a.#", "b.a.c", True),
    ("#.a.#", "b.c", False),
    ("", "", True),
    ("", "a", False),
    ("a..b", "a..b", True),
    ("a.*.b", "a..b", True),
    ("a.#.b", "a..b", True),
    (".", ".", True),
    (".", "", False),
    ("a*", "ab", False),
    ("a*", "a*", True),
    ("a#.b", "a.b", False),
]


def matches(matcher: TopicMatcher, key: str) -> set[str]:
    out: Matched = {}
    matcher.match(Routed(key, None), out)
    return {d.name for d in out}


def bound(*patterns: str) -> tuple[TopicMatcher, list[Binding]]:
    """Each pattern is bound to a queue of its own, called by the pattern."""
    matcher = TopicMatcher()
    bindings = [Binding(SOURCE, Destination(p, True, True), p, NO_ARGUMENTS, (p, None)) for p in patterns]
    for binding in bindings:
        matcher.add(binding)
    return matcher, bindings


@pytest.mark.parametrize(("pattern", "key", "expected"), MATCHES)
def test_pattern(pattern: str, key: str, expected: bool) -> None:
    matcher, _ = bound(pattern)
    assert matches(matcher, key) == ({pattern} if expected else set())


def test_patterns_together() -> None:
    """Each pattern says the same beside all others."""
    patterns = sorted({pattern for pattern, _, _ in MATCHES})
    matcher, _ = bound(*patterns)
    for key in {key for _, key, _ in MATCHES}:
        assert matches(matcher, key) == {p for p in patterns if plainly(p, key)}, key


def test_two_hashes_are_the_most() -> None:
    matcher = TopicMatcher()
    matcher.check("#.a.#", {})
    with pytest.raises(PreconditionFailed) as caught:
        matcher.check("#.a.#.#", {})
    assert caught.value.text == "Topic binding key '#.a.#.#' uses 3 '#' wildcards, at most 2 are allowed"


def test_removing_leaves_nothing_behind() -> None:
    matcher, bindings = bound("a.b.c", "a.b", "a.*.c", "a.#", "#", "")
    for binding in bindings:
        matcher.remove(binding)
    root = matcher.root
    assert root.is_leaf()
    assert root.here is None


def test_a_long_key_with_many_stars_of_hash_takes_one_walk() -> None:
    """A matcher that tries every length of each # would not come back from this."""
    matcher, _ = bound(*[f"#.{'.'.join(['a'] * n)}.#.b" for n in range(1, 30)])
    assert matches(matcher, ".".join(["a"] * 2_000)) == set()


def plainly(pattern: str, key: str) -> bool:
    return _plainly(pattern.split(".") if pattern else [], key.split(".") if key else [])


def _plainly(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_plainly(pattern[1:], words[n:]) for n in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _plainly(pattern[1:], words[1:])


keys = st.lists(st.sampled_from(["a", "b", ""]), max_size=6).map(".".join)
patterns = st.lists(st.sampled_from(["a", "b", "", "*", "#"]), max_size=6).map(".".join)


@given(st.lists(patterns, max_size=12, unique=True), st.lists(keys, min_size=1, max_size=6), st.data())
def test_trie_is_the_plain_matcher(bind: list[str], look: list[str], data: st.DataObject) -> None:
    matcher, bindings = bound(*bind)
    for key in look:
        assert matches(matcher, key) == {p for p in bind if plainly(p, key)}
    gone = data.draw(st.sets(st.sampled_from(bind))) if bind else set()
    for binding in bindings:
        if binding.key in gone:
            matcher.remove(binding)
    for key in look:
        assert matches(matcher, key) == {p for p in bind if p not in gone and plainly(p, key)}
