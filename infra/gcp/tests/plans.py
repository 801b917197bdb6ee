#!/usr/bin/env python3
"""Shows what a change of the declarations plans, and what it leaves alone.

Applies the whole project to a provider that only knows the schemas (TF_CLI_CONFIG_FILE names it), changes one thing, and
reads terraform's own plan. Touches nothing but a temporary copy.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

INFRA = pathlib.Path(__file__).resolve().parents[2]
PREDECESSOR = {"url": "https://api.example.com", "service_account_email": "tasks@example.iam.gserviceaccount.com"}
QUEUE = 'module.function["calendar-sync"].google_cloud_tasks_queue.queue'
SERVICE = 'module.function["calendar-sync"].google_cloud_run_v2_service.service'


class Project:
    """A copy of the declarations, applied once."""

    def __init__(self, folder):
        self.infra = pathlib.Path(folder) / "infra"
        shutil.copytree(INFRA, self.infra, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "local"))
        self.gcp = self.infra / "gcp"
        self.queues = sorted(json.loads((INFRA / "queues.json").read_text())["queues"])
        self.terraform("init", "-backend=false", "-no-color")
        self.terraform("apply", "-auto-approve", *self.arguments({}))

    def terraform(self, *arguments):
        done = subprocess.run(["terraform", *arguments], cwd=self.gcp, text=True, capture_output=True)
        if done.returncode:
            sys.exit(f"terraform {arguments[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def arguments(self, variables):
        values = {"predecessor": PREDECESSOR, "enabled_queues": self.queues, **variables}
        file = self.gcp / "scenario.tfvars.json"
        file.write_text(json.dumps(values))
        return ["-no-color", "-input=false", "-var-file=tests/terraform.tfvars", f"-var-file={file.name}"]

    def plan(self, variables):
        """What would change: the attributes of each resource that differ, by its address."""
        self.terraform("plan", "-out=plan", *self.arguments(variables))
        changes = {}
        for resource in json.loads(self.terraform("show", "-json", "plan"))["resource_changes"]:
            before, after = resource["change"]["before"] or {}, resource["change"]["after"] or {}
            if resource["change"]["actions"] != ["no-op"]:
                changes[resource["address"]] = {
                    "actions": resource["change"]["actions"],
                    "attributes": sorted(k for k in before | after if before.get(k) != after.get(k)),
                }
        return changes

    def edit(self, path, change):
        """Changes a declaration; what it returns undoes it."""
        file = self.infra / path
        text = file.read_text()
        declaration = json.loads(text)
        change(declaration)
        file.write_text(json.dumps(declaration))
        return lambda: file.write_text(text)


def update(*attributes):
    return {"actions": ["update"], "attributes": sorted(attributes)}


def main():
    def rate(declaration):
        declaration["queues"]["calendar-sync"]["maxDispatchesPerSecond"] += 1

    def concurrency(declaration):
        declaration["functions"]["calendar-sync"]["concurrency"] += 1

    sweep = 'module.function["token-refresh"].google_cloud_scheduler_job.schedule["sweep"]'
    scenarios = [
        ("nothing changes where nothing was changed", None, {}, {}),
        ("a queue's limits plan that queue and no service", ("queues.json", rate), {}, {QUEUE: update("rate_limits")}),
        (
            "what an instance holds plans its queue and its service",
            ("gcp/functions.json", concurrency),
            {},
            {QUEUE: update("rate_limits"), SERVICE: update("template")},
        ),
        (
            "giving a queue back takes its http_target and nothing else",
            None,
            {"enabled_queues": ["token-refresh"]},
            None,  # filled in below: every queue but one
        ),
        ("a release that CI deployed plans nothing", None, {"release": "second"}, {}),
        ("a schedule that rests plans that schedule", None, {"paused_schedules": ["token-refresh"]}, {sweep: update("paused")}),
    ]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        project = Project(folder)
        given_back = {
            QUEUE.replace("calendar-sync", queue): update("http_target") for queue in project.queues if queue != "token-refresh"
        }
        for name, edit, variables, expected in scenarios:
            undo = project.edit(*edit) if edit else lambda: None
            planned = project.plan(variables)
            undo()
            good = planned == (given_back if expected is None else expected)
            failed += not good
            print(f"{'ok' if good else 'FAILED':7} {name}")
            if not good:
                print(json.dumps(planned, indent=2))
    print(f"plans: {len(scenarios) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
