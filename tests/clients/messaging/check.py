"""The official Python clients of Twilio and SendGrid, and Python's own SMTP client, against the stand-in.

Needs MESSAGING_STAND_IN_URL, MESSAGING_STAND_IN_SMTP and MESSAGING_STAND_IN_ACCOUNT.
"""

import json
import os
import smtplib
import urllib.parse
import urllib.request
from email.message import EmailMessage
from email.utils import formatdate

from python_http_client.exceptions import HTTPError
from sendgrid import SendGridAPIClient
from sendgrid.helpers.eventwebhook import EventWebhook, EventWebhookHeader
from sendgrid.helpers.mail import Mail
from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client

base = os.environ["MESSAGING_STAND_IN_URL"]
host, port = os.environ["MESSAGING_STAND_IN_SMTP"].split(":")
account = json.loads(os.environ["MESSAGING_STAND_IN_ACCOUNT"])
TO_NUMBER, TO_ADDRESS = "+15005550009", "ada@example.test"


def inbox():
    with urllib.request.urlopen(base + "/messages") as answer:
        return json.load(answer)


def texting(token=account["token"]):
    client = Client(account["account"], token)
    client.api.base_url = base
    return client.messages


def refused(error, work):
    try:
        work()
    except error as caught:
        return caught
    raise AssertionError("was not refused")


text = texting().create(to=TO_NUMBER, from_=account["number"], body="Hello")
assert text.status == "queued" and text.num_segments == "1" and text.date_created.year >= 2026
assert inbox()[-1]["provider_id"] == text.sid
error = refused(TwilioRestException, lambda: texting().create(to=TO_NUMBER, from_=account["number"], body=""))
assert (error.status, error.code) == (400, 21602), error
error = refused(TwilioRestException, lambda: texting("wrong").create(to=TO_NUMBER, from_=account["number"], body="x"))
assert (error.status, error.code) == (401, 20003), error

letter = Mail(account["sender"], TO_ADDRESS, "Hello", "Hi", "<p>Hi</p>")
answer = SendGridAPIClient(account["key"], host=base).send(letter)
assert answer.status_code == 202
assert inbox()[-1]["provider_id"] == answer.headers["X-Message-Id"]
error = refused(HTTPError, lambda: SendGridAPIClient("SG.wrong", host=base).send(letter))
assert error.status_code == 401 and error.to_dict["errors"][0]["field"] is None



def admin(path, value, method="POST"):
    body = json.dumps(value).encode()
    headers = {"content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(base + path, body, headers, method=method)) as answer:
        return json.loads(answer.read() or "null")


# Who replied STOP is refused; whom SendGrid suppresses gets nothing, and the caller 202.
admin("/admin/suppressions", {"to": TO_NUMBER})
error = refused(TwilioRestException, lambda: texting().create(to=TO_NUMBER, from_=account["number"], body="x"))
assert (error.status, error.code) == (400, 21610), error
admin("/admin/suppressions", {"to": TO_NUMBER}, "DELETE")
admin("/admin/suppressions", {"to": TO_ADDRESS})
before = len(inbox())
assert SendGridAPIClient(account["key"], host=base).send(letter).status_code == 202
assert len(inbox()) == before
admin("/admin/suppressions", {"to": TO_ADDRESS}, "DELETE")

# The vendors' own libraries accept what the stand-in signs, and nothing else.
URL = "https://hooks.example.test/twilio/status?message=1"
callback = admin("/admin/callbacks/twilio", {"url": URL, "sid": text.sid, "status": "undelivered", "code": 30006})
form, headers = dict(urllib.parse.parse_qsl(callback["body"])), dict(callback["headers"])
validator = RequestValidator(account["token"])
assert validator.validate(URL, form, headers["x-twilio-signature"])
assert not validator.validate(URL, form | {"MessageStatus": "delivered"}, headers["x-twilio-signature"])
assert not RequestValidator("other").validate(URL, form, headers["x-twilio-signature"])

events = [{"event": "delivered", "email": TO_ADDRESS, "message_id": "1"}]
callback = admin("/admin/callbacks/sendgrid", {"url": "https://hooks.example.test/sendgrid/events", "events": events})
headers = dict(callback["headers"])
signature = headers[EventWebhookHeader.SIGNATURE.lower()]
timestamp = headers[EventWebhookHeader.TIMESTAMP.lower()]
webhook = EventWebhook(account["webhook_key"])
assert webhook.verify_signature(callback["body"], signature, timestamp)
assert not webhook.verify_signature(callback["body"] + " ", signature, timestamp)

# What our receiver accepts (tests/it/callbacks.rs) is what these libraries sign and verify.
texted, evented = json.load(open(os.path.join(os.path.dirname(__file__), "../../it/callbacks/signed.json")))
form = dict(urllib.parse.parse_qsl(texted["body"]))
assert validator.compute_signature(texted["url"], form) == texted["headers"]["x-twilio-signature"]
signature, timestamp = (evented["headers"][name.lower()] for name in (EventWebhookHeader.SIGNATURE, EventWebhookHeader.TIMESTAMP))
assert webhook.verify_signature(evented["body"], signature, timestamp)

mail = EmailMessage()
mail["From"], mail["To"], mail["Subject"] = account["sender"], TO_ADDRESS, "Grüße"
mail["Date"] = formatdate()
mail.set_content(".dots and lines\n.\nthe end\n")
mail.add_alternative("<p>Hi</p>", subtype="html")
with smtplib.SMTP(host, int(port)) as smtp:
    refused(smtplib.SMTPSenderRefused, lambda: smtp.send_message(mail))
    refused(smtplib.SMTPAuthenticationError, lambda: smtp.login(account["user"], "wrong"))
    smtp.login(account["user"], account["password"])
    smtp.send_message(mail)
    refused(smtplib.SMTPRecipientsRefused, lambda: smtp.send_message(mail, to_addrs=["ada"]))
received = inbox()[-1]
assert (received["via"], received["to"], received["subject"]) == ("smtp", TO_ADDRESS, "Grüße"), received
assert received["text"].splitlines() == [".dots and lines", ".", "the end"], received
print("Python: twilio, sendgrid, smtplib: all as it should be")
