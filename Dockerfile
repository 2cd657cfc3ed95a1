# The broker, compiled, as a user of its own. Build: docker build -t leveret .
FROM python:3.11-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN python -m venv /opt/leveret && LEVERET_REQUIRE_COMPILED=1 /opt/leveret/bin/pip install --no-cache-dir ".[web]"

FROM python:3.11-slim-bookworm
COPY --from=build /opt/leveret /opt/leveret
RUN useradd --system --uid 5672 --home-dir /var/lib/leveret leveret \
    && install -d -o leveret -g leveret -m 0700 /var/lib/leveret
USER leveret
ENV PATH=/opt/leveret/bin:$PATH LEVERET_DATA_DIR=/var/lib/leveret LEVERET_HOST=0.0.0.0 LEVERET_LOG_FORMAT=json
VOLUME /var/lib/leveret
# AMQP 0-9-1 and STOMP; over TLS, for which LEVERET_TLS_CERTIFICATE and LEVERET_TLS_KEY name files; over WebSocket
EXPOSE 5672 61613 5671 61614 15674 15673
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["leveret", "status", "--data", "/var/lib/leveret"]
# It listens on every address, so it wants a user of your own: LEVERET_USERS='{"app": "PASSWORD"}'
CMD ["leveret", "serve"]
