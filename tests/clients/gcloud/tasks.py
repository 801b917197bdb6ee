"""Creates a task every so often until it is stopped: the load under which deployments are watched.

Usage: tasks.py FUNCTION SECONDS_BETWEEN
"""

import base64
import json
import os
import sys
import time
import urllib.request
import uuid


def create(function: str) -> None:
    queue = (
        f"{os.environ['CLOUD_TASKS_URL']}/v2/projects/{os.environ['GCP_PROJECT_ID']}"
        f"/locations/{os.environ['GCP_REGION']}/queues/{function}-queue"
    )
    # No user has this id: the task finds nothing to do.
    envelope = {
        "data": {"userId": str(uuid.uuid4())},
        "idempotencyKey": str(uuid.uuid4()),
        "jobName": function,
    }
    body = base64.b64encode(json.dumps(envelope).encode()).decode()
    task = {
        "httpRequest": {
            "url": f"http://nowhere.example.test/api/jobs/{function}",
            "headers": {"Content-Type": "application/json"},
            "body": body,
        }
    }
    request = urllib.request.Request(
        f"{queue}/tasks",
        json.dumps({"task": task}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()


while True:
    create(sys.argv[1])
    time.sleep(float(sys.argv[2]))
