"""`leveret bench`: load on a broker by raw frames, from processes of its own, and what came of it.

    cli -> run (a coordinator) -> process (one for each share of the load) -> load (connections)

It speaks AMQP through the client's connection and the wire package, so that it measures any broker; it knows nothing of
Leveret's.
"""
