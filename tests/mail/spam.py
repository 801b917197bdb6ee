"""Whether SpamAssassin, without any network, takes an e-mail for spam."""

import pathlib
import re
import subprocess
import sys
from email.message import EmailMessage
from email.policy import SMTP

MAX_SCORE = 1.0


def mail(folder, kind):
    """The e-mail as a provider hands it on: with the headers that it must have."""
    subject, plain = (folder / f"{kind}.txt").read_text().split("\n\n", 1)
    message = EmailMessage(policy=SMTP)
    # The mail server of the recipient took it from one that has a name: an address of SendGrid, for those kept for examples are illegal.
    message["Received"] = (
        "from o1.mail.catchup.example (o1.mail.catchup.example [167.89.100.10]) by mx.example.net with ESMTPS id 4B2F7A;"
        " Fri, 27 Nov 2026 09:00:02 +0000"
    )
    message["Date"] = "Fri, 27 Nov 2026 09:00:00 +0000"
    message["From"] = "CatchUp <hello@catchup.example>"
    message["To"] = "sam@example.net"
    message["Subject"] = subject.removeprefix("Subject: ")
    message["Message-ID"] = "<6f9619ff-8b86-4d01-b42d-00cf4fc964ff@catchup.example>"
    message["List-Unsubscribe"] = "<https://hooks.catchup.example/unsubscribe/sample>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(plain)
    message.add_alternative((folder / f"{kind}.html").read_text(), subtype="html")
    return message.as_bytes()


def main():
    folder = pathlib.Path(sys.argv[1])
    status = 0
    for kind in ["digest", "reminder", "expiry-reminder", "question"]:
        command = ["spamassassin", "--local", "--test-mode", "--cf=use_bayes 0"]
        checked = subprocess.run(command, input=mail(folder, kind), capture_output=True, check=True)
        report = checked.stdout.decode(errors="replace")
        score = re.search(r"^X-Spam-Status: .*?score=(-?[\d.]+)", report, re.MULTILINE)
        tests = re.search(r"tests=([\w,\s]*?)\s+(?:autolearn|version)", report)
        tests = "".join(tests.group(1).split()) if tests else "unknown"
        score = float(score.group(1)) if score else float("nan")
        print(f"{kind}: SpamAssassin scores {score}: {tests}")
        if not score < MAX_SCORE:
            print(report, file=sys.stderr)
            status = 1
    sys.exit(status)


main()
