"""Google's official Python clients against the stand-in.

Needs GOOGLE_STAND_IN_URL, GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET, GOOGLE_USER and a refresh token for each API.
Exits 1 at the first thing that is not as it should be.
"""

import json
import os
import queue
import threading
import urllib.request
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

BASE = os.environ["GOOGLE_STAND_IN_URL"]
USER = os.environ["GOOGLE_USER"]
PERSON_FIELDS = "names,emailAddresses,phoneNumbers,organizations,urls,addresses,memberships,metadata"


def signed_in(refresh_token, client_secret=None):
    return Credentials(
        token=None,
        refresh_token=refresh_token,
        token_uri=f"{BASE}/token",
        client_id=os.environ["GOOGLE_CLIENT_ID"],
        client_secret=client_secret or os.environ["GOOGLE_CLIENT_SECRET"],
    )


def service(name, version, path, refresh_token):
    """Built from the discovery document that the library brings along."""
    return build(
        name,
        version,
        credentials=signed_in(refresh_token),
        static_discovery=True,
        client_options={"api_endpoint": f"{BASE}{path}"},
    )


def operator(method, path, body=None):
    request = urllib.request.Request(
        f"{BASE}/admin/users/{USER}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer) if answer.status == 200 else None


def all_pages(collection, key, **parameters):
    items, pages = [], 0
    request = collection.list(**parameters)
    while request is not None:
        page = request.execute()
        pages += 1
        items += page.get(key, [])
        last, request = page, collection.list_next(request, page)
    return items, pages, last.get("nextSyncToken")


def expect(condition, words):
    if not condition:
        raise SystemExit(f"python: {words}")


def fails(call, status, words):
    try:
        call()
    except HttpError as error:
        expect(error.status_code == status and words in error.content.decode(), f"{status} {words}: {error}")
    else:
        expect(False, f"no {status}")


def tokens():
    credentials = signed_in(os.environ["GOOGLE_CALENDAR_REFRESH_TOKEN"])
    credentials.refresh(Request())
    expect(credentials.token.startswith("ya29."), "an access token")
    left = credentials.expiry.replace(tzinfo=timezone.utc) - datetime.now(timezone.utc)
    expect(timedelta(minutes=58) < left < timedelta(minutes=61), f"it lives an hour: {left}")
    for refresh_token, secret, words in [("1//unknown", None, "invalid_grant"), ("1//unknown", "x", "invalid_client")]:
        try:
            signed_in(refresh_token, secret).refresh(Request())
        except RefreshError as error:
            expect(words in str(error), f"{words}: {error}")
        else:
            expect(False, f"no {words}")


def events(calendar):
    entries = calendar.calendarList().list().execute()["items"]
    expect([entry["id"] for entry in entries if entry.get("primary")] == [USER], "the primary calendar")
    # All of these have to stay as they are in the list that gives the sync token.
    primary = {"calendarId": "primary", "singleEvents": True, "maxResults": 10}
    items, pages, token = all_pages(calendar.events(), "items", **primary)
    expect(pages > 1 and len({event["id"] for event in items}) == len(items), "pages without repetition")
    _, _, token = all_pages(calendar.events(), "items", syncToken=token, **primary)
    start = datetime.now(timezone.utc).isoformat()
    added = operator("POST", "/calendars/primary/events", {"summary": "Python", "start": start, "minutes": 30})
    items, _, token = all_pages(calendar.events(), "items", syncToken=token, **primary)
    expect([(event["id"], event["summary"]) for event in items] == [(added["id"], "Python")], "what was added")
    operator("DELETE", f"/calendars/primary/events/{added['id']}")
    items, _, token = all_pages(calendar.events(), "items", syncToken=token, **primary)
    expect([(event["id"], event["status"]) for event in items] == [(added["id"], "cancelled")], "what was deleted")
    operator("POST", "/expire-sync-tokens")
    fails(calendar.events().list(syncToken=token, **primary).execute, 410, "fullSyncRequired")


def push(calendar):
    received = queue.Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            received.put(dict(self.headers))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/"
        body = {"id": f"python-{os.getpid()}", "type": "web_hook", "address": address, "token": "python"}
        channel = calendar.events().watch(calendarId="primary", body=body).execute()
        hello = {name.lower(): value for name, value in received.get(timeout=20).items()}
        expect(hello["x-goog-resource-state"] == "sync" and hello["x-goog-channel-token"] == "python", "the hello")
        start = datetime.now(timezone.utc).isoformat()
        operator("POST", "/calendars/primary/events", {"summary": "Push", "start": start, "minutes": 5})
        news = {name.lower(): value for name, value in received.get(timeout=20).items()}
        expect(news["x-goog-resource-state"] == "exists", "the news")
        stop = {"id": channel["id"], "resourceId": channel["resourceId"]}
        calendar.channels().stop(body=stop).execute()
        fails(calendar.channels().stop(body=stop).execute, 404, "notFound")
    finally:
        server.shutdown()


def contacts(people):
    connections = people.people().connections()
    query = {
        "resourceName": "people/me",
        "personFields": PERSON_FIELDS,
        "requestSyncToken": True,
        "pageSize": 10,
    }
    items, pages, token = all_pages(connections, "connections", **query)
    expect(pages > 1 and len({person["resourceName"] for person in items}) == len(items), "pages without repetition")
    _, _, token = all_pages(connections, "connections", syncToken=token, **query)
    added = operator("POST", "/people", {"name": {"given": "Python", "family": "Check"}})
    items, _, token = all_pages(connections, "connections", syncToken=token, **query)
    expect([person["names"][0]["displayName"] for person in items] == ["Python Check"], "who was added")
    operator("DELETE", f"/{added['resource_name']}")
    items, _, token = all_pages(connections, "connections", syncToken=token, **query)
    expect([person["metadata"]["deleted"] for person in items] == [True], "who was deleted")
    other = {**query, "personFields": "names"}
    fails(connections.list(syncToken=token, **other).execute, 400, "INVALID_ARGUMENT")

    groups, pages, group_token = all_pages(people.contactGroups(), "contactGroups", pageSize=3)
    names = [group["resourceName"] for group in groups]
    expect(pages > 1 and "contactGroups/myContacts" in names and group_token, "contact groups")
    operator("POST", "/expire-sync-tokens")
    fails(connections.list(syncToken=token, **query).execute, 400, "EXPIRED_SYNC_TOKEN")


def calendar_of(refresh_token):
    return service("calendar", "v3", "/calendar/v3/", refresh_token)


def people_of(refresh_token):
    return service("people", "v1", "/", refresh_token)


def scopes():
    """A token of the other API opens neither, and both say why in Google's own words."""
    calendar = calendar_of(os.environ["GOOGLE_CONTACTS_REFRESH_TOKEN"])
    events = calendar.events().list(calendarId="primary")
    connections = people_of(os.environ["GOOGLE_CALENDAR_REFRESH_TOKEN"]).people().connections()
    people = connections.list(resourceName="people/me", personFields="names")
    for call in (events, people):
        for words in ("Request had insufficient authentication scopes.", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"):
            fails(call.execute, 403, words)
    fails(events.execute, 403, "insufficientPermissions")


def main():
    calendar = calendar_of(os.environ["GOOGLE_CALENDAR_REFRESH_TOKEN"])
    people = people_of(os.environ["GOOGLE_CONTACTS_REFRESH_TOKEN"])
    for name, check in {
        "tokens": tokens,
        "scopes": scopes,
        "events": lambda: events(calendar),
        "push": lambda: push(calendar),
        "contacts": lambda: contacts(people),
    }.items():
        check()
        print(f"python: {name} ok")


main()
