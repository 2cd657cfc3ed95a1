"""Lines of the worker: jobs that do nothing, durable, posted and handled, in turns with Celery and Dramatiq.

A worker runs; a program posts to it for so long; it is over when the broker has no message left that is not acked.
Jobs a second are those posted, by the time from the first post to that end.
"""

from __future__ import annotations

import time

from bench.bench import Bench, Line, medians
from bench.brokers import Leveret
from bench.figures import Figure, number, ratio
from bench.generators import Figures
from bench.programs import Program, Watch, drop, watching

LEVERET_APP = "bench.sides.leveret_app"
UNMEASURED = "not measured: needs --apps"
CONCURRENCY = "2"  # as many as there are cores for all


def handled(watch: Watch, queue: str, worker: Program, poster: list[str], values: dict[str, str]) -> Figures:
    try:
        watch.wait_for_consumers(queue, worker)
        began = time.perf_counter()
        posted = Program(poster, values).figures()["messages"]
        watch.wait_until_empty(queue)
        seconds = time.perf_counter() - began
    finally:
        worker.stop()
    return {"messages": posted, "seconds": seconds, "rate": posted / seconds}


def _poster(bench: Bench, python: str, module: str, broker: Leveret, queue: str) -> list[str]:
    words = [python, "-m", module, "post", "--port", str(broker.port), "--queue", queue]
    return [*words, "--seconds", f"{bench.options.seconds:g}"]


def ours(bench: Bench, broker: Leveret, watch: Watch, pool: str) -> Figures:
    queue, python = bench.queue(), bench.python()
    values = {
        "LEVERET_URL": f"amqp://guest:guest@127.0.0.1:{broker.port}/",
        "JOBS_QUEUE": queue,
        "JOBS_POOL": pool,
    }
    worker = Program([python, "-m", "leveret", "worker", f"{LEVERET_APP}:app"], values)
    try:
        return handled(watch, queue, worker, _poster(bench, python, LEVERET_APP, broker, queue), values)
    finally:
        drop(broker, queue)


def celery(bench: Bench, broker: Leveret, watch: Watch, pool: str, late: bool) -> Figures:
    queue, python, module = bench.queue(), bench.options.apps, "bench.sides.celery_app"
    values = {"CELERY_PORT": str(broker.port), "CELERY_QUEUE": queue, "CELERY_LATE": str(int(late))}
    words = [python, "-m", "celery", "-A", module, "worker", "--pool", pool, "--concurrency", CONCURRENCY]
    words += ["--loglevel", "ERROR"]
    worker = Program([*words, "--without-gossip", "--without-mingle", "--without-heartbeat"], values)
    try:
        return handled(watch, queue, worker, _poster(bench, python, module, broker, queue), values)
    finally:
        drop(broker, queue)


def dramatiq(bench: Bench, broker: Leveret, watch: Watch, processes: int, threads: int) -> Figures:
    queue, python, module = bench.queue(), bench.options.apps, "bench.sides.dramatiq_app"
    values = {"DRAMATIQ_PORT": str(broker.port), "DRAMATIQ_QUEUE": queue}
    words = [python, "-m", "dramatiq", module, "--processes", str(processes), "--threads", str(threads)]
    worker = Program(words, values)
    try:
        return handled(watch, queue, worker, _poster(bench, python, module, broker, queue), values)
    finally:
        drop(broker, queue, f"{queue}.DQ", f"{queue}.XQ")


def _words(figures: Figures) -> str:
    return f"{number(figures['rate'])} jobs/s"


def worker_async(bench: Bench) -> list[Figure]:
    work = "worker, async no-op, durable, posted and handled"
    if not bench.options.apps:
        return [
            Figure(work, UNMEASURED, "", "x Celery", None, 20),
            Figure(work, UNMEASURED, "", "x Dramatiq", None, 8),
        ]
    with bench.leveret() as broker, watching(broker) as watch:
        works = {"ours": lambda: ours(bench, broker, watch, "async")}
        rivals = {
            "prefork": lambda: celery(bench, broker, watch, "prefork", False),
            "prefork, acks late": lambda: celery(bench, broker, watch, "prefork", True),
            "threads": lambda: celery(bench, broker, watch, "threads", False),
        }
        dramatiqs = {
            "1 process, 2 threads": lambda: dramatiq(bench, broker, watch, 1, 2),
            "2 processes, 4 threads": lambda: dramatiq(bench, broker, watch, 2, 4),
        }
        seen = bench.in_turns({**works, **rivals, **dramatiqs})
    found = {name: medians(series) for name, series in seen.items()}
    we = found["ours"]
    figures = []
    for library, names, must in (("Celery", rivals, 20), ("Dramatiq", dramatiqs, 8)):
        name = max(names, key=lambda each: found[each]["rate"])
        others = ", ".join(f"{each} {number(found[each]['rate'])}" for each in names if each != name)
        beside = f"{library} {name} {_words(found[name])} ({others})"
        by = ratio(we["rate"], found[name]["rate"])
        figures.append(Figure(work, _words(we), beside, f"x {library}", by, must))
    return [*figures, Figure(work, _words(we), "", "jobs/s", we["rate"], None, 100_000)]


def worker_process(bench: Bench) -> list[Figure]:
    work = "worker, process pool, no-op, durable, posted and handled"
    if not bench.options.apps:
        return [Figure(work, UNMEASURED, "", "x Celery prefork", None, 5, 10)]
    with bench.leveret() as broker, watching(broker) as watch:
        seen = bench.in_turns(
            {
                "ours": lambda: ours(bench, broker, watch, "process"),
                "theirs": lambda: celery(bench, broker, watch, "prefork", False),
            }
        )
    we, they = medians(seen["ours"]), medians(seen["theirs"])
    by = ratio(we["rate"], they["rate"])
    return [Figure(work, _words(we), f"Celery prefork {_words(they)}", "x Celery prefork", by, 5, 10)]


LINES = [
    Line("worker-async", "worker, async no-op, by Celery and Dramatiq", worker_async, programs=True),
    Line("worker-process", "worker, process pool, by Celery prefork", worker_process, programs=True),
]
