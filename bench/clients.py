"""Lines of the client: what a program reaches with it, in turns with what aio-pika and pika reach on the same broker."""

from __future__ import annotations

import subprocess
import time

from bench.bench import Bench, Line, Series, medians
from bench.brokers import Leveret, python_beside
from bench.figures import Figure, number, ratio
from bench.generators import Figures, GeneratorFailed
from bench.procfs import rss_kb
from bench.programs import Program, drop, fill

OURS = "bench.sides.use_leveret"
AIO_PIKA = "bench.sides.use_aio_pika"
PIKA = "bench.sides.use_pika"
WAITING = {OURS: 1_000_000, AIO_PIKA: 40_000, PIKA: 100_000}  # messages a second that a consumer may want
SPOOLED = 1_000_000
IMPORTS = 25


def words(figures: Figures) -> str:
    return f"{number(figures['rate'])} msg/s" if figures else "not measured"


def side(
    bench: Bench, broker: Leveret, module: str, mode: str, *options: str, python: str = "", full: bool = False
) -> Figures:
    """One measurement of one library, in a process and a queue of its own. `full`: the queue has messages in it."""
    queue = bench.queue()
    given = list(options)
    seconds, warmup = bench.options.seconds, bench.options.warmup
    if full:
        messages = int(WAITING[module] * (seconds + warmup + 1))
        fill(broker, queue, messages)
        given += ["--expected", str(messages)]
    said = [python or bench.python(), "-m", module, mode, "--port", str(broker.port), "--queue", queue]
    said += ["--seconds", f"{seconds:g}", "--warmup", f"{warmup:g}", *given]
    try:
        return Program(said).figures(seconds + warmup + 60)
    finally:
        drop(broker, queue)


def best(seen: dict[str, Series], *names: str) -> tuple[str, Figures]:
    found = {name: medians(seen[name]) for name in names}
    name = max(found, key=lambda each: found[each]["rate"])
    return name, found[name]


def post(bench: Bench) -> list[Figure]:
    work = "post, 100 B persistent, confirmed, one connection"
    with bench.leveret() as broker:
        seen = bench.in_turns(
            {
                "ours": lambda: side(bench, broker, OURS, "post"),
                "aio-pika": lambda: side(bench, broker, AIO_PIKA, "post"),
                "pika without confirms": lambda: side(bench, broker, PIKA, "post-blocking"),
                "pika with confirms": lambda: side(bench, broker, PIKA, "post-select"),
            }
        )
    ours, theirs = medians(seen["ours"]), medians(seen["aio-pika"])
    name, pika = best(seen, "pika without confirms", "pika with confirms")
    return [
        Figure(
            work,
            words(ours),
            f"aio-pika {words(theirs)}",
            "x aio-pika",
            ratio(ours["rate"], theirs["rate"]),
            20,
        ),
        Figure(
            work, words(ours), f"{name} {words(pika)}", "x pika's best", ratio(ours["rate"], pika["rate"]), 8
        ),
        Figure(work, words(ours), "", "msg/s", ours["rate"], None, 250_000),
    ]


def post_pure(bench: Bench) -> list[Figure]:
    work = "the same, uncompiled client: post, 100 B persistent"
    if not bench.options.uncompiled:
        return [Figure(work, "not measured: needs --uncompiled", "", "x aio-pika", None, 4, 8)]
    python = python_beside(bench.options.uncompiled)
    return beside_aio_pika(bench, work, "post", 4, 8, python=python)


def beside_aio_pika(
    bench: Bench,
    work: str,
    mode: str,
    must: float,
    aim: float | None,
    *options: str,
    python: str = "",
    full: bool = False,
) -> list[Figure]:
    with bench.leveret() as broker:
        seen = bench.in_turns(
            {
                "ours": lambda: side(bench, broker, OURS, mode, *options, python=python, full=full),
                "theirs": lambda: side(bench, broker, AIO_PIKA, mode, *options, full=full),
            }
        )
    ours, theirs = medians(seen["ours"]), medians(seen["theirs"])
    by = ratio(ours["rate"], theirs["rate"])
    return [Figure(work, words(ours), f"aio-pika {words(theirs)}", "x aio-pika", by, must, aim)]


def publish_one(bench: Bench) -> list[Figure]:
    return beside_aio_pika(
        bench, "await publish, one at a time, transient", "publish-one", 3, 5, "--transient"
    )


def consume(bench: Bench) -> list[Figure]:
    work = "consume, each acked, a handler that does nothing"
    found = beside_aio_pika(bench, work, "consume", 15, None, full=True)
    rate = float(found[0].measured.split()[0].replace(",", ""))
    return [*found, Figure(work, found[0].measured, "", "msg/s", rate, None, 200_000)]


def consume_sync(bench: Bench) -> list[Figure]:
    work = "the same, sync API: consume, each acked"
    with bench.leveret() as broker:
        seen = bench.in_turns(
            {
                "ours": lambda: side(bench, broker, OURS, "consume-sync", full=True),
                "theirs": lambda: side(bench, broker, PIKA, "consume", full=True),
            }
        )
    ours, theirs = medians(seen["ours"]), medians(seen["theirs"])
    by = ratio(ours["rate"], theirs["rate"])
    return [Figure(work, words(ours), f"pika {words(theirs)}", "x pika", by, 5, 10)]


def calling(bench: Bench, broker: Leveret, module: str) -> Figures:
    queue = bench.queue()
    where = ["--port", str(broker.port), "--queue", queue]
    answering = Program([bench.python(), "-m", module, "answer", *where])
    seconds, warmup = bench.options.seconds, bench.options.warmup
    try:
        answering.wait_for("ready")
        times = ["--seconds", f"{seconds:g}", "--warmup", f"{warmup:g}"]
        return Program([bench.python(), "-m", module, "call", *where, *times]).figures(seconds + warmup + 60)
    finally:
        answering.stop()
        drop(broker, queue)


def call(bench: Bench) -> list[Figure]:
    work = "call, one at a time"
    with bench.leveret() as broker:
        seen = bench.in_turns(
            {
                "ours": lambda: calling(bench, broker, OURS),
                "theirs": lambda: calling(bench, broker, AIO_PIKA),
            }
        )
    ours, theirs = medians(seen["ours"]), medians(seen["theirs"])
    said, beside = (
        f"{number(f['rate'])} /s, p50 {number(f['p50_ms'])} ms, p99 {number(f['p99_ms'])} ms"
        for f in (ours, theirs)
    )
    return [
        Figure(work, said, f"aio-pika {beside}", "x aio-pika's rate", ratio(ours["rate"], theirs["rate"]), 3),
        Figure(work, said, f"aio-pika {beside}", "p50, ms", ours["p50_ms"], 0.4, 0.2, at_most=True),
    ]


def fixture(bench: Bench) -> list[Figure]:
    figures = Program([bench.python(), "-m", OURS, "fixture", "--port", "0", "--queue", "-"]).figures()
    said = f"{number(figures['p50_ms'])} ms, first {number(figures['first_ms'])} ms"
    work = "fixture leveret_broker, set up and torn down"
    return [Figure(work, said, "", "ms", figures["p50_ms"], 20, 5, at_most=True)]


def imports(bench: Bench) -> list[Figure]:
    """In an interpreter of its own each time, less what an empty one takes; of each the fastest, which nobody disturbed."""
    code = {
        "import leveret": "import leveret",
        "import leveret, and its connect": "import leveret; leveret.connect",
    }
    python = bench.python()
    seen: dict[str, list[float]] = {name: [] for name in ["pass", *code]}
    for _ in range(IMPORTS):
        for name in seen:
            began = time.perf_counter()
            subprocess.run([python, "-c", code.get(name, "pass")], cwd=bench.directory, check=True)
            seen[name].append((time.perf_counter() - began) * 1e3)
    server = "print(*[n for n in sys.modules if n.startswith('leveret.server')])"
    check = f"import sys, leveret; leveret.connect; {server}"
    ended = subprocess.run(
        [python, "-c", check], cwd=bench.directory, check=True, capture_output=True, text=True
    )
    if ended.stdout.strip():
        raise GeneratorFailed(f"import leveret imports of the server: {ended.stdout}")
    empty = min(seen["pass"])
    figures = []
    for name in code:
        ms = min(seen[name]) - empty
        beside = f"an empty interpreter: {number(empty)} ms"
        figures.append(Figure(name, f"{number(ms)} ms", beside, "ms", ms, 80, 40, at_most=True))
    return figures


def spool_memory(bench: Bench) -> list[Figure]:
    queue = bench.queue()
    with bench.leveret() as broker:
        spool = bench.fresh("spool") / "spool.db"
        said = [bench.python(), "-m", OURS, "spool-memory", "--port", str(broker.port), "--queue", queue]
        producer = Program([*said, "--path", str(spool), "--expected", str(SPOOLED)])
        try:
            producer.wait_for("ready")
            empty_mb = rss_kb(producer.process.pid) / 1024
            broker.kill()
            figures = producer.figures()
        finally:
            producer.stop()
    mb = figures["peak_mb"]
    text = f"{number(mb)} MB at most, {number(figures['rate'])} msg/s"
    beside = f"before the first post: {number(empty_mb)} MB"
    work = f"{number(SPOOLED)} messages posted with the broker away, spool on"
    return [Figure(work, text, beside, "RSS, MB", mb, 100, at_most=True)]


LINES = [
    Line("client-post", "post, compiled, by aio-pika's and pika's best", post, programs=True),
    Line("client-post-pure", "post, uncompiled, by aio-pika's", post_pure, programs=True),
    Line("client-publish-one", "await publish one at a time", publish_one, programs=True),
    Line("client-consume", "consume with ack, async", consume, programs=True),
    Line("client-consume-sync", "consume with ack, sync API, by pika's", consume_sync, programs=True),
    Line("client-call", "call round trip, one at a time", call, programs=True),
    Line("fixture", "the fixture leveret_broker", fixture, programs=True),
    Line("import", "import leveret", imports, programs=True),
    Line("spool-memory", "memory of a producer with a spool and no broker", spool_memory, programs=True),
]
