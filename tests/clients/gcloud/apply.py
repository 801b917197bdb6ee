"""Rotates a secret with the real Terraform, and sends the service what Terraform plans for it, as its provider does.

Usage: apply.py FOLDER FUNCTION VERSION

FOLDER is Terraform's, and is filled by the first call: the whole project, applied to a provider that only knows the schemas
(TF_CLI_CONFIG_FILE names it). What Terraform leaves alone it finds in the service: each call first reads that into the
state. Prints the status of the answer, and exits with 1 unless it is 200.
"""

import json
import os
import pathlib
import sys
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "infra" / "gcp" / "tests"))

import applied  # noqa: E402

SECRET = "DATABASE_PASSWORD"


class Rotated(applied.Project):
    """The project in a folder that stays."""

    def __init__(self, folder):
        self.infra = pathlib.Path(folder) / "infra"
        self.gcp = self.infra / "gcp"
        if not self.infra.exists():
            super().__init__(folder)

    def refresh(self, function, service):
        """Reads the fields that Terraform ignores into the state."""
        file = self.gcp / "terraform.tfstate"
        state = json.loads(file.read_text())
        module = applied.service_of(function).removesuffix(".google_cloud_run_v2_service.service")
        template = service["spec"]["template"]
        for resource in state["resources"]:
            if resource.get("module") == module and resource["type"] == "google_cloud_run_v2_service":
                found = resource["instances"][0]["attributes"]["template"][0]
                found["revision"] = template["metadata"].get("name", "")
                found["containers"][0]["image"] = template["spec"]["containers"][0]["image"]
        file.write_text(json.dumps(state))

    def rotate(self, function, version):
        """Applies, and returns the template that the service gets."""
        changes = self.planned({"secret_versions": {SECRET: version}})
        self.terraform("apply", "-no-color", "-input=false", "plan")
        [change] = [each["change"] for each in changes if each["address"] == applied.service_of(function)]
        assert change["actions"] == ["update"], change["actions"]
        return change["after"]["template"][0]


def secrets(planned):
    """The variables from secrets, as Knative writes them."""
    for variable in planned["containers"][0]["env"]:
        for source in variable["value_source"]:
            reference = source["secret_key_ref"][0]
            name = reference["secret"].rsplit("/", 1)[-1]
            value = {"secretKeyRef": {"name": name, "key": str(reference["version"])}}
            yield {"name": variable["name"], "valueFrom": value}


def call(url, body=None):
    request = urllib.request.Request(
        url,
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"},
        method="GET" if body is None else "PUT",
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def main(folder, function, version):
    # gcloud's proxy is the stand-in.
    base, project = os.environ["http_proxy"], os.environ["GCP_PROJECT_ID"]
    url = f"{base}/apis/serving.knative.dev/v1/namespaces/{project}/services/{function}"
    rotated = Rotated(folder)
    _, service = call(url)
    rotated.refresh(function, service)
    planned = rotated.rotate(function, int(version))
    template = service["spec"]["template"]
    template["metadata"].pop("name", None)
    if planned["revision"]:
        template["metadata"]["name"] = planned["revision"]
    container = template["spec"]["containers"][0]
    container["image"] = planned["containers"][0]["image"]
    plain = [variable for variable in container["env"] if "valueFrom" not in variable]
    container["env"] = plain + list(secrets(planned))
    status, answer = call(url, service)
    print(status, "" if status == 200 else answer["error"]["message"])
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
