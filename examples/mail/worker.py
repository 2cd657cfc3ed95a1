"""Takes mails from the queue and sends them. What it returns goes back to whoever asked, as a message.

SMTP=localhost:25 LEVERET_URL=amqp://broker leveret worker examples.mail.worker:app
"""

from __future__ import annotations

from examples.mail.sending import QUEUE, Mail, Refused, Sent, send
from leveret import App, Reject, Retry

app = App(name="mail")  # the broker is the one that $LEVERET_URL names

# The mail server may be away for long: try again, less and less often. Meanwhile the mail waits in the broker, and
# nothing waits behind it.
PATIENCE = Retry(max=1000, backoff="exponential", delay_s=0.2, max_delay_s=2, jitter=True)


@app.consumer(QUEUE, concurrency=4, pool="thread", retry=PATIENCE)
def deliver(mail: Mail) -> Sent:
    try:
        return send(mail)
    except Refused as error:
        raise Reject(str(error)) from error  # trying again would not help: to the dead letters with it
