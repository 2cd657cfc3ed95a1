"""Lines of latency: from the write of a publisher to the read of a consumer, while little or much else goes on."""

from __future__ import annotations

from bench.bench import Bench, Line
from bench.figures import Figure, median, number
from bench.generators import Figures

QUIET = ["--rate", "1000"]


def _words(figures: Figures) -> str:
    if not figures:
        return "not measured"
    return f"p50 {number(figures['lat_p50_ms'])} ms, p99 {number(figures['lat_p99_ms'])} ms"


def paced(bench: Bench) -> list[Figure]:
    kinds = {
        "transient": (["--ackevery", "0"], 0.3, 0.12),
        "durable": (["--durable", "--persistent", "--confirm", "1000", "--ackevery", "1"], 0.8, 0.25),
    }
    figures = []
    with bench.leveret() as broker:
        for kind, (options, must, aim) in kinds.items():
            ours, theirs = bench.versus(broker, *QUIET, *options)
            work = f"end to end at 1,000 msg/s, {kind}"
            figures.append(
                Figure(
                    work, _words(ours), _words(theirs), "p99, ms", ours["lat_p99_ms"], must, aim, at_most=True
                )
            )
    return figures


def beside_full(bench: Bench) -> list[Figure]:
    """A quiet pair, while another pair goes as fast as it can."""
    seen: list[Figures] = []
    with bench.leveret() as broker:
        for _ in range(bench.options.pairs):
            longer = f"{bench.options.seconds + 2 * bench.options.warmup + 2:g}"
            busy = bench.start_load(broker, "--ackevery", "0", "--secs", longer)
            try:
                seen.append(bench.load(broker, *QUIET, "--ackevery", "0"))
            finally:
                busy.stop()
    p99 = median([f["lat_p99_ms"] for f in seen])
    p50 = median([f["lat_p50_ms"] for f in seen])
    words = f"p50 {number(p50)} ms, p99 {number(p99)} ms"
    return [
        Figure(
            "a quiet pair beside the transient line at full speed",
            words,
            "",
            "p99, ms",
            p99,
            20,
            5,
            at_most=True,
        )
    ]


LINES = [
    Line("paced", "end-to-end p99 at 1,000 msg/s, transient and durable", paced),
    Line("beside-full", "p99 of a quiet pair beside transient work at full speed", beside_full),
]
