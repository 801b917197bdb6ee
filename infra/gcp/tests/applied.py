#!/usr/bin/env python3
"""Applies the whole project to a provider that only knows the schemas, and looks at what comes of it.

usage: applied.py [FOLDER]

Shows what a change of the declarations plans and what it leaves alone, in terraform's own plan; what the operator is told
by a first apply; and that each function whose binary is in FOLDER (target/debug) starts with the environment of its
service, and with nothing less than its secrets. TF_CLI_CONFIG_FILE names the provider. Touches nothing but a temporary
copy. Exit status: 0 all passed, 1 not.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

INFRA = pathlib.Path(__file__).resolve().parents[2]
DECLARED = json.loads((INFRA / "queues.json").read_text())["queues"]
QUEUES = sorted(DECLARED)
PREDECESSOR = {"url": "https://api.example.com", "service_account_email": "tasks@example.iam.gserviceaccount.com"}

# Those that read what Twilio and SendGrid want to see.
NEEDS = json.loads((INFRA / "gcp" / "functions.json").read_text())["functions"]
SERVICES = sorted(json.loads((INFRA / "gcp" / "functions.json").read_text())["services"])
MESSAGES = [name for name in QUEUES if "messages" in NEEDS[name]["features"]]

# Values of the form that each secret has.
SECRETS = {
    "DATABASE_PASSWORD": "example",
    "ENCRYPTION_KEY": "00" * 32,
    "GOOGLE_CLIENT_ID": "example",
    "GOOGLE_CLIENT_SECRET": "example",
    "LINK_SIGNING_KEYS": "00" * 32,
    "SENDGRID_API_KEY": "SG.example",
    "TWILIO_ACCOUNT_SID": "AC" + "00" * 16,
    "TWILIO_AUTH_TOKEN": "example",
    "UPSTASH_REDIS_REST_TOKEN": "example",
    "UPSTASH_REDIS_REST_URL": "https://redis.example.com",
}
# A socket may let its user in without one.
OPTIONAL_SECRETS = {"DATABASE_PASSWORD"}
# What Cloud Run says, and where a test may listen.
GIVEN = {"HOST": "127.0.0.1", "PORT": "0"}
START_DEADLINE_SECONDS = 20


class Project:
    """A copy of the declarations, applied once."""

    def __init__(self, folder):
        self.infra = pathlib.Path(folder) / "infra"
        self.gcp = self.infra / "gcp"
        left_out = shutil.ignore_patterns(".terraform*", "*.tfstate*", "__pycache__")
        shutil.copytree(INFRA / "gcp", self.gcp, ignore=left_out)
        for declaration in ("queues.json", "alerts.json"):
            shutil.copy(INFRA / declaration, self.infra)
        self.terraform("init", "-backend=false", "-no-color")
        self.terraform("apply", "-auto-approve", *self.arguments({}))

    def terraform(self, *arguments, folder="."):
        done = subprocess.run(["terraform", *arguments], cwd=self.gcp / folder, text=True, capture_output=True)
        if done.returncode:
            sys.exit(f"terraform {arguments[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def arguments(self, variables):
        values = {"predecessor": PREDECESSOR, "enabled_queues": QUEUES, **variables}
        (self.gcp / "scenario.tfvars.json").write_text(json.dumps(values))
        return ["-no-color", "-input=false", "-var-file=tests/terraform.tfvars", "-var-file=scenario.tfvars.json"]

    def planned(self, variables, *options):
        """Each resource with what it is and what it would become."""
        self.terraform("plan", "-out=plan", *options, *self.arguments(variables))
        return json.loads(self.terraform("show", "-json", "plan"))["resource_changes"]

    def plan(self, variables, *options):
        """What would change: the action and the differing attributes of each resource, by its address."""
        changes = {}
        for resource in self.planned(variables, *options):
            actions, before, after = (resource["change"][key] for key in ("actions", "before", "after"))
            if actions != ["no-op"]:
                before, after = before or {}, after or {}
                differing = sorted(key for key in before | after if before.get(key) != after.get(key))
                changes[resource["address"]] = [*actions, *differing]
        return changes

    def with_edit(self, path, change, then):
        """Does `then` while a declaration is changed."""
        file = self.infra / path
        text = file.read_text()
        declaration = json.loads(text)
        change(declaration)
        file.write_text(json.dumps(declaration))
        try:
            return then()
        finally:
            file.write_text(text)

    def state(self):
        return self.terraform("show", "-json")

    def of_functions(self, kind, name):
        """Values of all functions' resources with this type and name, as they were applied."""
        functions = json.loads(self.state())["values"]["root_module"]["child_modules"]
        modules = [module for function in functions for module in [function, *function.get("child_modules", [])]]
        resources = [resource for module in modules for resource in module.get("resources", [])]
        return [resource["values"] for resource in resources if (resource["type"], resource["name"]) == (kind, name)]

    def environments(self):
        """Plain variables and names of secrets of each service."""
        found = {}
        for service in self.of_functions("google_cloud_run_v2_service", "service"):
            variables = service["template"][0]["containers"][0]["env"]
            plain = {v["name"]: v["value"] for v in variables if not v["value_source"]}
            found[service["name"]] = (plain, {v["name"] for v in variables if v["value_source"]})
        return found


# What cloud-run-service manages was once managed by the modules that call it.
INNER = ".module.cloud_run"


def service_of(function):
    return f'module.function["{function}"].module.cloud_run.google_cloud_run_v2_service.service'


def public_service_of(name):
    return f'module.service["{name}"].module.cloud_run.google_cloud_run_v2_service.service'


def schedule_of(function, name):
    return f'module.function["{function}"].google_cloud_scheduler_job.schedule["{name}"]'


def plans(project):
    """What was planned and what should have been, by what that shows."""
    queue = 'module.function["calendar-sync"].google_cloud_tasks_queue.queue'
    service = service_of("calendar-sync")
    schedules = [schedule_of(name, each["name"]) for name in QUEUES for each in DECLARED[name]["schedules"]]

    def rate(declaration):
        declaration["queues"]["calendar-sync"]["maxDispatchesPerSecond"] += 1

    def concurrency(declaration):
        declaration["functions"]["calendar-sync"]["concurrency"] += 1

    def nothing(_):
        pass

    for name, path, change, variables, expected in [
        ("nothing changes where nothing was changed", "queues.json", nothing, {}, {}),
        ("a queue's limits plan that queue", "queues.json", rate, {}, {queue: ["update", "rate_limits"]}),
        (
            "what an instance holds plans its service, and its queue",
            "gcp/functions.json",
            concurrency,
            {},
            {queue: ["update", "rate_limits"], service: ["update", "template"]},
        ),
        (
            "what is ours is served and watched though it is not named: it was taken over later",
            "queues.json",
            nothing,
            {"enabled_queues": [], "paused_schedules": None},
            {},
        ),
        (
            "a new version of a secret plans the services that read it",
            "queues.json",
            nothing,
            {"secret_versions": {"TWILIO_AUTH_TOKEN": 2}},
            {service_of(name): ["update", "template"] for name in MESSAGES}
            # Whose signature a callback of Twilio's has.
            | {public_service_of("webhooks"): ["update", "template"]},
        ),
        (
            "a predecessor that is retired is named by no new task, and no identity loses the right to name it",
            "queues.json",
            nothing,
            {"predecessor": PREDECESSOR | {"retired": True}},
            {service_of(name): ["update", "template"] for name in QUEUES}
            | {public_service_of(name): ["update", "template"] for name in SERVICES}
            | {each: ["update", "http_target"] for each in schedules},
        ),
        ("a release that was deployed plans nothing", "queues.json", nothing, {"release": "second"}, {}),
    ]:
        planned = project.with_edit(path, change, lambda: project.plan(variables))
        yield name, planned == expected, json.dumps(planned, indent=2)


def addresses_of_before(project):
    """What a project that was applied before cloud-run-service existed plans now."""
    state = json.loads((project.gcp / "terraform.tfstate").read_text())
    instances = 0
    for resource in state["resources"]:
        if resource.get("module", "").endswith(INNER):
            resource["module"] = resource["module"].removesuffix(INNER)
            instances += len(resource["instances"])
    (project.gcp / "older.tfstate").write_text(json.dumps(state))
    planned = project.planned({}, "-state=older.tfstate")
    changed = {each["address"]: each["change"]["actions"] for each in planned if each["change"]["actions"] != ["no-op"]}
    yield "a project with the addresses of before loses and gains nothing", not changed, json.dumps(changed, indent=2)
    moved = sum("previous_address" in each for each in planned)
    good = moved == instances > len(QUEUES + SERVICES)
    yield "and all that its services had is moved", good, f"{moved} of {instances} resources are moved"


def failed_creation(project):
    """What the apply after a first one that created a service, but no revision that starts, would do."""
    state = json.loads((project.gcp / "terraform.tfstate").read_text())
    address = service_of("calendar-sync")
    for resource in state["resources"]:
        if f"{resource.get('module')}.{resource['type']}.{resource['name']}" == address:
            resource["instances"][0]["status"] = "tainted"
    (project.gcp / "failed.tfstate").write_text(json.dumps(state))
    [change] = [each["change"] for each in project.planned({}, "-state=failed.tfstate") if each["address"] == address]
    replaced = change["actions"] == ["delete", "create"]
    yield "a service whose creation failed is replaced", replaced, json.dumps(change["actions"])
    protected = change["before"]["deletion_protection"]
    yield "and the provider lets it be", protected is False, f"deletion_protection is {protected}"


def handed_over(project):
    """What an apply does to queues that others changed: the predecessor, before they were imported, or an operator."""
    for name, target, attempts in [
        ("a queue that was imported keeps the number of attempts that it had", [], 7),
        ("a queue that was taken over stays so, though it is not named", None, -1),
    ]:
        state = json.loads((project.gcp / "terraform.tfstate").read_text())
        for resource in state["resources"]:
            if (resource["type"], resource["name"]) == ("google_cloud_tasks_queue", "queue"):
                for instance in resource["instances"]:
                    found = instance["attributes"]
                    found["http_target"] = found["http_target"] if target is None else target
                    found["retry_config"][0]["max_attempts"] = attempts
        (project.gcp / "handed.tfstate").write_text(json.dumps(state))
        planned = project.planned({"enabled_queues": []}, "-state=handed.tfstate")
        ours = [each for each in planned if each["type"] in ("google_cloud_tasks_queue", "google_cloud_scheduler_job")]
        changed = {each["address"]: each["change"]["actions"] for each in ours if each["change"]["actions"] != ["no-op"]}
        yield name, not changed, json.dumps(changed, indent=2)


def imported(project):
    """What the first apply does to the queues of the predecessor, as README.md lets it import them."""
    file = project.gcp / "imports.tf"
    address = "projects/example/locations/europe-west1/queues"
    text = (
        f'import {{\n  to = module.function["{name}"].google_cloud_tasks_queue.queue\n  id = "{address}/{name}-queue"\n}}\n'
        for name in QUEUES
    )
    file.write_text("".join(text))
    try:
        planned = project.planned({"enabled_queues": []}, "-state=none.tfstate")
    finally:
        file.unlink()
    queues = [each["change"] for each in planned if (each["type"], each["name"]) == ("google_cloud_tasks_queue", "queue")]
    good = len(queues) == len(QUEUES) and all(each.get("importing") and "create" not in each["actions"] for each in queues)
    yield "the first apply imports the predecessor's queues and creates none of them", good, json.dumps(queues, indent=2)


def watched(project):
    """What an apply does when others have given a queue back, or paused a schedule: what is not ours is not watched."""

    def given_back(resource, attributes):
        if resource["type"] == "google_cloud_tasks_queue" and attributes["name"] == "calendar-sync-queue":
            # All that gcloud can clear of it.
            attributes["http_target"][0]["uri_override"] = []

    def paused(resource, attributes):
        if resource["type"] == "google_cloud_scheduler_job" and attributes["name"].startswith("token-refresh-"):
            attributes["paused"] = True

    for name, change, alerts in [
        ("a queue that was given back", given_back, ["lost-calls-critical", "stuck-queue-critical"]),
        ("a schedule that was paused", paused, ["missed-sweep-24h-critical"]),
    ]:
        state = json.loads((project.gcp / "terraform.tfstate").read_text())
        for resource in state["resources"]:
            for instance in resource["instances"]:
                change(resource, instance["attributes"])
        (project.gcp / "watched.tfstate").write_text(json.dumps(state))
        planned = project.plan({}, "-state=watched.tfstate")
        expected = {f'google_monitoring_alert_policy.alert["{alert}"]': ["update", "conditions"] for alert in alerts}
        expected["google_monitoring_dashboard.jobs"] = ["update", "dashboard_json"]
        yield f"{name} is not watched, and stays so", planned == expected, json.dumps(planned, indent=2)


def attempts(project):
    """What ends a task, in the plan that creates the queues."""
    for name, variables, ours in [
        ("without a predecessor, Cloud Tasks ends no task", {"predecessor": None, "enabled_queues": None}, QUEUES),
        ("a queue that is not taken over ends tasks as before", {"enabled_queues": []}, []),
        ("only a queue that is taken over ends none", {"enabled_queues": ["calendar-sync"]}, ["calendar-sync"]),
    ]:
        found = {}
        for resource in project.planned(variables, "-state=none.tfstate"):
            if (resource["type"], resource["name"]) == ("google_cloud_tasks_queue", "queue"):
                queue = resource["change"]["after"]
                is_ours = bool(queue["http_target"])
                found[queue["name"]] = [is_ours, queue["retry_config"][0]["max_attempts"]]
        expected = {
            f"{function}-queue": [function in ours, -1 if function in ours else DECLARED[function]["attempts"]]
            for function in QUEUES
        }
        yield name, found == expected, json.dumps(found, indent=2)


def first_outputs(project):
    """What the operator is told when only registry and secrets are there, as README.md has it."""
    (project.gcp / "example" / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    project.terraform("init", "-no-color", folder="example")
    targets = ("google_artifact_registry_repository.images", "google_secret_manager_secret.secret")
    options = ["-auto-approve", "-no-color", "-input=false", *(f"-target=module.jobs.{target}" for target in targets)]
    project.terraform("apply", *options, folder="example")
    told = json.loads(project.terraform("output", "-json", folder="example"))
    registry, secrets = (told.get(name, {}).get("value", {}) for name in ("registry", "secrets"))
    yield "the registry is known before there are services", str(registry).endswith("/jobs"), json.dumps(told)
    named = {f"jobs-{name}" for name in SECRETS}
    yield "the secrets that wait for a value are known before, too", set(secrets) == named, json.dumps(told)


def grants(project):
    """Who may create tasks in the predecessor's name."""
    granted = project.of_functions("google_service_account_iam_member", "act_as_predecessor")
    creators = QUEUES + SERVICES + [f"{name}-cron" for name in QUEUES if DECLARED[name]["schedules"]]
    expected = {f"serviceAccount:{creator}@example.iam.gserviceaccount.com" for creator in creators}
    good = {grant["member"] for grant in granted} == expected
    yield "creators of tasks may name the predecessor", good, json.dumps(granted, indent=2)


def exposures(project):
    """What must not be in a state, whatever grants or writes it."""
    invokers = project.of_functions("google_cloud_run_v2_service_iam_binding", "invoker")
    public = [binding["name"] for binding in invokers if "allUsers" in binding["members"]]
    yield "only a service without a queue may be called by everybody", public == SERVICES, json.dumps(public)
    state = project.state()
    yield "and nothing else is everybody's", state.count('"allUsers"') == len(SERVICES), "allUsers has another right"
    for name, text in [
        ("no identity in the project is everybody with an account", "allAuthenticatedUsers"),
        ("no secret has a value", "google_secret_manager_secret_version"),
    ]:
        yield name, text not in state, f"{text} is in the state"


def start(program, environment):
    """Starts a function. None when it listens, otherwise what it wrote to standard error."""
    process = subprocess.Popen(
        [program], env=GIVEN | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    timer = threading.Timer(START_DEADLINE_SECONDS, process.kill)
    timer.start()
    try:
        listens = any('"event":"listening"' in line for line in process.stdout)
        process.kill()
        return None if listens else process.communicate()[1] or "it ended without a word"
    finally:
        timer.cancel()
        process.wait()


def starts(environments, folder):
    for name, (plain, secrets) in environments.items():
        program = folder / name
        if not program.exists():
            print(f"SKIPPED {name} is not built in {folder}")
            continue
        told = plain | {secret: SECRETS[secret] for secret in secrets}
        problem = start(program, told)
        yield f"{name} starts with the environment of its service", problem is None, problem
        for secret in sorted(secrets - OPTIONAL_SECRETS):
            less = {variable: value for variable, value in told.items() if variable != secret}
            problem = start(program, less)
            yield f"{name} needs {secret}", problem is not None and secret in problem, problem


def main(arguments):
    if arguments in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0
    folder = pathlib.Path(arguments[0] if arguments else INFRA.parent / "target" / "debug").resolve()
    passed = failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        project = Project(temporary)
        started = starts(project.environments(), folder)
        checked = (
            plans,
            addresses_of_before,
            failed_creation,
            handed_over,
            imported,
            watched,
            attempts,
            first_outputs,
            grants,
            exposures,
        )
        for checks in (*(check(project) for check in checked), started):
            for name, good, detail in checks:
                passed, failed = passed + good, failed + (not good)
                print(f"{'ok' if good else 'FAILED':7} {name}" + ("" if good else f"\n{detail}"))
    print(f"applied: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main(sys.argv[1:]))
