"""Every bound, with its unit in the name. Configuration may move some; nothing is unbounded."""

from __future__ import annotations

from typing import Final

# connections and frames
FRAME_MAX_BYTES: Final = 131_072  # offered in connection.tune, as RabbitMQ does
FRAME_MIN_BYTES: Final = 4_096  # AMQP 0-9-1, 4.2.3: the least a peer must take
FRAME_MAX_BEFORE_TUNE_BYTES: Final = 8_192  # RabbitMQ's initial_frame_max
CHANNELS_PER_CONNECTION: Final = 2_047
HEARTBEAT_S: Final = 60
STOMP_HEARTBEAT_MIN_MS: Final = 1_000  # the clock is looked at twice a second
HANDSHAKE_TIMEOUT_S: Final = 10
CONNECTIONS: Final = 65_536
BUSY_POLL_US: Final = 50  # longer, and peers that are slower than that keep a processor busy
RESERVED_DESCRIPTORS: Final = (
    40  # file descriptors that connections do not get: the store's, the log's, the loop's
)

# WebSocket
WEB_REQUEST_BYTES: Final = 16_384  # of the HTTP request that opens it
WEB_MESSAGE_EXTRA_BYTES: Final = 131_072  # a message may be so much larger than a body, for headers
WEB_BEFORE_LOGIN_BYTES: Final = 131_072  # of a message from a client that has not logged in

# messages and tables
MESSAGE_SIZE_BYTES: Final = 16_777_216  # RabbitMQ 4.x: max_message_size
MESSAGE_SIZE_CEILING_BYTES: Final = 536_870_912
TABLE_DEPTH: Final = 64
TABLE_SIZE_BYTES: Final = 1_048_576
SHORT_STRING_BYTES: Final = 255
HEADERS_PER_FRAME: Final = 100  # of protocols whose headers are lines of text, as RabbitMQ
HEADER_LINE_BYTES: Final = 8_192
HEADER_BLOCK_BYTES: Final = 65_536
COMMAND_BYTES: Final = 32  # of the first line of a frame
TRANSACTIONS_PER_CONNECTION: Final = 16  # at a time, as RabbitMQ
HEADS_CACHED: Final = (
    256  # sets of headers that a connection publishes with, known without reading them again
)
HEAD_CACHED_BYTES: Final = 2_048

# one turn of the loop
REPLIES_UNSENT_BYTES: Final = 16_777_216  # with so much unsent output a requester gets no direct replies
READ_CHUNK_BYTES: Final = 32_768
TURN_BUDGET_BYTES: Final = 1_048_576
OUTPUT_HIGH_BYTES: Final = 1_048_576  # a reader with this much unsent output has no credit
OUTPUT_LOW_BYTES: Final = 262_144
HELD_FRAMES_BYTES: Final = 1_048_576  # frames kept for a channel that waits for an answer

# queues
PAGE_SLOTS: Final = 4_096
PAGE_BYTES: Final = 4_194_304
PAGES_IN_MEMORY_BYTES: Final = 50_331_648
READ_AHEAD_PAGES: Final = 4
DEDUPLICATION_KEYS: Final = 100_000  # keys that a window keeps, unless it says otherwise
DEDUPLICATION_KEYS_MAX: Final = 10_000_000
DELAY_MAX_MS: Final = 315_360_000_000  # ten years, as RabbitMQ's longest time to live
GROUP_WINDOW: Final = 65_536  # messages of a queue with groups that are looked at ahead
ROUTES_CACHED: Final = 16_384

# the log
SEGMENT_BYTES: Final = 67_108_864
LOG_SEGMENTS: Final = 4
BLOCK_BYTES: Final = 4_194_304  # a block is at most about this; larger records are cut into chains
LOG_BACKLOG_BYTES: Final = 16_777_216  # with this much waiting to be written, publishers are not read from
DELIVERED_MARK_STEP: Final = 4_096
CONSUMER_TIMEOUT_MAX_MS: Final = 315_360_000_000  # ten years
LATE_RUNS: Final = 1_024  # of deliveries that a channel was too slow with and may still settle

# the client
DECOMPRESSED_BYTES: Final = 134_217_728  # what one message's body may become when its compression is undone
CONTENT_CODINGS: Final = 4  # compressions on top of each other that are undone
COMPRESS_FROM_BYTES: Final = 1_024  # smaller bodies gain nothing
SPOOL_MESSAGES: Final = 10_000_000
SPOOL_BYTES: Final = 4_294_967_296
