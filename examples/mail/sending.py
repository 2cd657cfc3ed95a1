"""A mail, and how it is sent: the same few lines whether the web form does it itself or a worker does."""

from __future__ import annotations

import os
import smtplib
from dataclasses import dataclass
from email.message import EmailMessage

QUEUE = "mail"  # mails to be sent
RESULTS = "mail.results"  # what became of them
TIMEOUT_S = 30.0
SENDER = "form@example.org"


@dataclass(frozen=True)
class Mail:
    id: str
    to: str
    subject: str
    text: str


@dataclass(frozen=True)
class Sent:
    id: str
    server: str


class Refused(Exception):
    """The mail server does not want this mail, and will not want it later."""


def send(mail: Mail) -> Sent:
    """Hand it to the mail server that $SMTP names (host:port), and wait until that has it.

    Raises `Refused`; `OSError` or `smtplib.SMTPException` when it may go well another time.
    """
    host, _, port = os.environ["SMTP"].rpartition(":")
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = SENDER, mail.to, mail.subject
    message["Message-ID"] = f"<{mail.id}@example.org>"  # by which a mail that is sent twice is known again
    message.set_content(mail.text)
    with smtplib.SMTP(host, int(port), timeout=TIMEOUT_S) as server:
        try:
            server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            if code >= 500:
                raise Refused(text.decode(errors="replace")) from error
            raise
    return Sent(mail.id, f"{host}:{port}")
