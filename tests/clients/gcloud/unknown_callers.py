"""Sends notifications that come through no channel until it is stopped: a flood from one address, so many at a time, and a few
that come from a new address each.

Usage: unknown_callers.py URL AT_A_TIME
"""

import http.client
import ipaddress
import itertools
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator

HEADERS = {
    "Content-Length": "0",
    "X-Goog-Channel-ID": "unknown",
    "X-Goog-Channel-Token": "unknown",
    "X-Goog-Resource-ID": "unknown",
    "X-Goog-Resource-State": "exists",
}
FIRST = ipaddress.ip_address("198.18.0.0")


def send(url: urllib.parse.SplitResult, addresses: Iterator[str], pause: float) -> None:
    while True:
        connection = http.client.HTTPConnection(url.netloc)
        try:
            for address in addresses:
                # As Google's front end adds it.
                connection.request("POST", url.path, headers={**HEADERS, "X-Forwarded-For": address})
                connection.getresponse().read()
                time.sleep(pause)
        except (OSError, http.client.HTTPException):
            connection.close()


def start(addresses: Iterator[str], pause: float) -> None:
    url = urllib.parse.urlsplit(sys.argv[1])
    threading.Thread(target=send, args=[url, addresses, pause]).start()


for _ in range(int(sys.argv[2])):
    start(itertools.repeat(str(FIRST)), 0)
start((str(FIRST + number) for number in itertools.count(1)), 0.2)
