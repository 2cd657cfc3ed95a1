"""Topic exchanges: a trie of the words of binding keys, walked once for each word of a routing key.

    word   that word          a.b   matches a.b
    *      exactly one word   a.*   matches a.b and "a." (whose second word is empty), not a
    #      any number, also none    a.#   matches a, a.b, a.b.c;   #  matches everything

Words are what stands between dots. The empty key has no words, as in RabbitMQ (rabbit_db_topic_exchange).

The walk keeps the set of nodes that the words so far lead to. A `#` node stays in the set once entered, which is all
there is to a `#`: no going back, and work in proportion to words times nodes in the set, whatever the pattern.
"""

from __future__ import annotations

from typing import Final, final

from leveret.core.destination import Binding, Destination, Matched, Matcher, Routed, Table, fewer, more
from leveret.errors import PreconditionFailed
from leveret.native import i64

HASHES_MAX: Final = 2  # in one binding key (RabbitMQ 4.3, rabbit_exchange_type_topic)


@final
class Node:
    """One word of one or more binding keys. here: the destinations of the bindings whose last word this is."""

    def __init__(self, parent: Node | None, word: str) -> None:
        self.parent = parent
        self.word = word
        self.words: dict[str, Node] | None = None
        self.star: Node | None = None
        self.hash: Node | None = None
        self.here: dict[Destination, int] | None = None
        self.stays = False  # a # node: stays in the set whatever comes
        self.seen: i64 = 0  # the last step in which it was put into the set

    def is_leaf(self) -> bool:
        return self.words is None and self.star is None and self.hash is None

    def is_empty(self) -> bool:
        return self.here is None and self.is_leaf()

    def child(self, word: str) -> Node | None:
        if word == "*":
            return self.star
        if word == "#":
            return self.hash
        return None if self.words is None else self.words.get(word)

    def grow(self, word: str) -> Node:
        """The child for a word, made if it is not there."""
        node = self.child(word)
        if node is None:
            node = Node(self, word)
            if word == "*":
                self.star = node
            elif word == "#":
                self.hash = node
                node.stays = True
            else:
                if self.words is None:
                    self.words = {}
                self.words[word] = node
        return node

    def cut(self, word: str) -> None:
        if word == "*":
            self.star = None
        elif word == "#":
            self.hash = None
        elif self.words is not None:
            del self.words[word]
            if not self.words:
                self.words = None


def words_of(key: str) -> list[str]:
    return key.split(".") if key else []


@final
class TopicMatcher(Matcher):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node(None, "")
        self.step: i64 = 0  # counts the steps of all walks: says whether a node is in the set already

    def check(self, key: str, arguments: Table) -> None:
        n = words_of(key).count("#")
        if n > HASHES_MAX:
            raise PreconditionFailed(
                f"Topic binding key '{key}' uses {n} '#' wildcards, at most {HASHES_MAX} are allowed"
            )

    def add(self, binding: Binding) -> None:
        node = self.root
        for word in words_of(binding.key):
            node = node.grow(word)
        if node.here is None:
            node.here = {}
        more(node.here, binding.destination)

    def remove(self, binding: Binding) -> None:
        node = self.root
        for word in words_of(binding.key):
            child = node.child(word)
            if child is None:
                return
            node = child
        here = node.here
        if here is None:
            return
        fewer(here, binding.destination)
        if here:
            return
        node.here = None
        while node.is_empty():
            parent = node.parent
            if parent is None:
                return
            parent.cut(node.word)
            node = parent

    def match(self, routed: Routed, out: Matched) -> None:
        self._walk(routed.key, out)
        if routed.more is not None:
            for key in routed.more:
                self._walk(key, out)

    def _walk(self, key: str, out: Matched) -> None:
        self.step += 1
        step = self.step
        now: list[Node] = []
        self._enter(self.root, step, now, out)
        if key:
            for word in key.split("."):
                step += 1
                following: list[Node] = []
                for node in now:
                    words = node.words
                    if words is not None:
                        child = words.get(word)
                        if child is not None:
                            self._enter(child, step, following, out)
                    if node.star is not None:
                        self._enter(node.star, step, following, out)
                    if node.stays and node.seen != step:
                        node.seen = step
                        following.append(node)
                now = following
                if not now:
                    break
            self.step = step
        for node in now:
            here = node.here
            if here is not None:
                out.update(here)

    def _enter(self, node: Node, step: i64, into: list[Node], out: Matched) -> None:
        """Put a node into the set, and with it the # behind it, which may stand for no word at all."""
        while True:
            if node.seen != step:
                node.seen = step
                if node.stays and node.is_leaf():  # whatever follows, it matches
                    if node.here is not None:
                        out.update(node.here)
                else:
                    into.append(node)
            after = node.hash
            if after is None:
                return
            node = after
