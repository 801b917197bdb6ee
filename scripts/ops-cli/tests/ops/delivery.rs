//! The definitions of CI, as far as they can be wrong without anybody noticing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The builds of Cloud Build.
const BUILD: &str = "infra/cloudbuild/build.yaml";
const DEPLOY: &str = "infra/cloudbuild/deploy.yaml";
/// Of a build.
const ID: &str = "00000000-0000-0000-0000-000000000000";

/// A file of this project.
fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

/// Everything that runs in CI: workflows, actions, Cloud Build.
fn everything() -> Vec<(PathBuf, String)> {
    let mut all = definitions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.github"));
    for path in [BUILD, DEPLOY, ".ci/run"] {
        all.push((path.into(), text(path)));
    }
    all
}

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.chars().all(|digit| digit.is_ascii_hexdigit())
}

fn definitions(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(definitions(&path));
        } else if path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

#[test]
fn every_action_of_others_is_pinned_by_commit() {
    let definitions = definitions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.github"));
    let mut actions = 0;
    for (path, text) in &definitions {
        for line in text.lines() {
            let Some((_, action)) = line.split_once("uses: ") else { continue };
            if action.starts_with("./") {
                continue;
            }
            let (_, version) = action.split_once('@').unwrap();
            let commit = version.split(' ').next().unwrap();
            assert!(is_hexadecimal(commit, 40) && version.contains(" # v"), "{}: {line}", path.display());
            actions += 1;
        }
    }
    assert!(actions > 0, "no action was found");
}

#[test]
fn every_image_of_others_is_pinned_by_digest() {
    #[track_caller]
    fn check(images: &[&str]) {
        assert!(!images.is_empty(), "no image was found");
        for image in images {
            let digest = image.split_once("@sha256:").map(|(_, digest)| digest);
            assert!(digest.is_some_and(|digest| is_hexadecimal(digest, 64)), "{image}");
        }
    }
    for build in [BUILD, DEPLOY].map(text) {
        let named = |key: &'static str| build.lines().filter_map(move |line| line.trim().strip_prefix(key));
        // Those of steps, and that which steps start themselves. Volumes have names, too.
        let images: Vec<_> = named("name: ").filter(|name| name.contains(['/', ':'])).collect();
        assert_eq!(images.len(), build.matches("\n    entrypoint: ").count());
        check(&images);
        assert_eq!(build.matches("docker run").count(), build.matches("\"$$RUST\"").count());
    }
    let build = text(BUILD);
    check(&build.lines().filter_map(|line| line.trim().strip_prefix("- RUST=")).collect::<Vec<_>>());

    let dockerfile = text("infra/Dockerfile");
    let froms = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    let froms: Vec<_> = froms.map(|from| from.split(' ').next().unwrap()).collect();
    let stages: Vec<_> = dockerfile.lines().filter_map(|line| Some(line.split_once(" AS ")?.1)).collect();
    let of_others = froms.iter().filter(|from| **from != "scratch" && !stages.contains(*from));
    check(&of_others.copied().collect::<Vec<_>>());
}

#[test]
fn what_is_delivered_is_what_was_committed() {
    let mut calls = 0;
    for (path, text) in everything() {
        for line in text.lines().filter(|line| !line.trim().starts_with('#')) {
            for (at, _) in line.match_indices("scripts/ops affected ") {
                let call = line[at..].split([';', '|', '>']).next().unwrap();
                assert!(call.contains(" --committed"), "{}: {line}", path.display());
                calls += 1;
            }
        }
    }
    assert!(calls >= 3, "scripts/ops affected was found only {calls} times");
}

#[test]
fn a_lock_file_that_is_missing_is_an_error() {
    for (path, text) in everything() {
        assert!(!text.contains("allow-no-lockfiles"), "{}", path.display());
    }
}

#[test]
fn a_deployment_can_tell_whether_its_commit_is_older() {
    // What serves is looked for in the history of the checkout.
    let workflow = text(".github/workflows/deliver.yml");
    let (_, job) = workflow.split_once("\n  deploy:\n").unwrap();
    assert!(job.contains("fetch-depth: 0"), "{job}");
    let build = text(DEPLOY);
    let whole = build.find("git fetch --quiet --unshallow").unwrap();
    assert!(whole < build.find("/delivery/ops deploy").unwrap());
    for (path, text) in everything() {
        assert!(!text.contains("--older"), "{}", path.display());
    }
}

/// The jobs of all workflows, by the name of the file and their own.
fn jobs() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, text) in definitions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.github/workflows")) {
        let file = path.file_name().unwrap().to_str().unwrap();
        let (_, jobs) = text.split_once("\njobs:\n").unwrap();
        let mut job: Option<(String, String)> = None;
        for line in jobs.lines() {
            let name =
                line.strip_prefix("  ").filter(|rest| rest.starts_with(|it: char| it.is_ascii_lowercase()));
            if let Some(name) = name.and_then(|name| name.strip_suffix(':')) {
                found.extend(job.replace((format!("{file} {name}"), String::new())));
            } else if let Some((_, text)) = &mut job {
                *text += line;
                text.push('\n');
            }
        }
        found.extend(job);
    }
    found
}

#[test]
fn only_the_deployment_and_the_reader_of_bills_get_an_identity() {
    for (path, text) in definitions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.github/workflows")) {
        assert!(text.contains("\npermissions:\n  contents: read\n"), "{}", path.display());
        assert!(!text.contains(": write-all") && !text.contains("contents: write"), "{}", path.display());
    }
    let jobs = jobs();
    let with_identity: Vec<_> = jobs.iter().filter(|(_, job)| job.contains("id-token: write")).collect();
    let names: Vec<_> = with_identity.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for (name, environment) in [("deliver.yml deploy", "production"), ("scan.yml bills", "scan")] {
        let (_, job) = with_identity.iter().find(|(found, _)| found == name).unwrap();
        assert!(job.contains(&format!("\n    environment: {environment}\n")), "{name}");
    }
}

#[test]
fn nothing_is_compiled_where_an_identity_is() {
    let of_github = jobs().into_iter().filter(|(_, job)| job.contains("id-token: write"));
    let all: Vec<_> = of_github.chain([(DEPLOY.to_owned(), text(DEPLOY))]).collect();
    for (name, job) in &all {
        let code: Vec<_> = job.lines().filter(|line| !line.trim().starts_with('#')).collect();
        // scripts/ops compiles itself, and with it run the build scripts of its dependencies.
        for compiles in ["actions/rust", "rust:", "docker run", "cargo ", "scripts/", "npm ", "pip "] {
            assert!(!code.iter().any(|line| line.contains(compiles)), "{name}: {compiles}");
        }
    }
    let deploy = text(DEPLOY);
    let images: Vec<_> = deploy
        .lines()
        .filter_map(|line| line.strip_prefix("    name: "))
        .map(|it| it.split(':').next())
        .collect();
    assert!(!images.is_empty());
    for image in images {
        assert_eq!(image, Some("gcr.io/google.com/cloudsdktool/google-cloud-cli"));
    }
}

#[test]
fn only_the_deployment_waits_for_another_commits() {
    let workflow = text(".github/workflows/deliver.yml");
    let (head, jobs_of_it) = workflow.split_once("\njobs:\n").unwrap();
    assert!(head.contains("github.run_id"), "tests of one commit wait for the deployment of another");
    assert_eq!(jobs_of_it.matches("concurrency:").count(), 1);
    let (_, deploy) = jobs().into_iter().find(|(name, _)| name == "deliver.yml deploy").unwrap();
    assert!(deploy.contains("concurrency:") && deploy.contains("cancel-in-progress: false"), "{deploy}");
}

#[test]
fn a_build_has_time_for_all_its_steps_and_deploys_after_those_before_it() {
    let seconds =
        |line: &str| Some(line.split_once("timeout: ")?.1.strip_suffix('s')?.parse::<u32>().unwrap());
    for build in [BUILD, DEPLOY].map(text) {
        let (of_steps, whole): (Vec<_>, Vec<_>) = build.lines().partition(|line| line.starts_with(' '));
        let steps: Vec<_> = of_steps.into_iter().filter_map(seconds).collect();
        let whole: u32 = whole.into_iter().filter_map(seconds).sum();
        assert_eq!(steps.len(), build.matches("\n  - id: ").count(), "a step has no limit");
        assert!(steps.iter().sum::<u32>() <= whole, "{steps:?} do not fit into {whole} s");
    }
    let build = text(DEPLOY);
    let at = |step: &str| build.find(&format!("\n  - id: {step}\n")).unwrap();
    assert!(at("turn") < at("deploy"));
    let limit = |step: &str| build[at(step)..].lines().find_map(seconds).unwrap();
    let rest: u32 = ["candidate", "deploy"].map(limit).iter().sum();
    assert!(limit("turn") >= 3 * rest, "a deployment gives up while the three before it have not ended");
}

#[test]
fn triggers_are_those_that_the_builds_name() {
    let terraform = text("infra/gcp/ci.tf");
    for name in ["jobs-build", "jobs-deploy"] {
        assert!(terraform.contains(&format!("\"{name}\"\n")), "{name}");
    }
    for file in [BUILD, DEPLOY] {
        assert!(terraform.contains(&format!("= \"{file}\"\n")), "{file}");
    }
    // Which commit was delivered last is what deployments say that they delivered.
    let base = script(BUILD, "base");
    assert!(
        base.contains("triggers describe jobs-deploy ") && base.contains("substitutions._COMMIT"),
        "{base}"
    );
    for name in ["_BUILD", "_COMMIT"] {
        let said = terraform.lines().any(|line| line.trim().starts_with(&format!("{name} ")));
        assert!(said && text(DEPLOY).contains(&format!("\n  {name}: \"\"\n")), "{name}");
    }
    let registry = "repository_id = \"jobs-candidates\"\n";
    assert!(text("infra/gcp/registry.tf").contains(registry));
}

/// The shell of a step.
fn script(build: &str, step: &str) -> String {
    let build = text(build);
    let (_, rest) = build.split_once(&format!("\n  - id: {step}\n")).unwrap();
    let (_, rest) = rest.split_once("\n      - |\n").unwrap();
    let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with("        "));
    lines.flat_map(|line| [line.trim_start_matches("        "), "\n"]).collect()
}

/// Steps of builds, run with stand-ins of the programs that reach a cloud.
struct Stage {
    folder: TempDir,
    commit: String,
    /// Not on main.
    unmerged: String,
}

impl Stage {
    fn new() -> Self {
        let mut stage =
            Self { folder: tempfile::tempdir().unwrap(), commit: String::new(), unmerged: String::new() };
        for folder in ["bin", "store", "build/images", "deploy", "workspace"] {
            std::fs::create_dir_all(stage.path(folder)).unwrap();
        }
        // Artifact Registry replaces nothing.
        stage.program(
            "gcloud",
            r#"for it in "$@"; do
              case $it in --*=*) key=${it%%=*} key=${key#--}; declare "${key//-/_}=${it#*=}" ;; esac
            done
            place=../store/${repository-}/${package-}/${version-}
            case $1-$2-${3-} in
              artifacts-generic-upload)
                # Nothing is skipped of a single file.
                case " $* " in *" --skip-existing "*) skips=yes; [ -z "${source-}" ] ;; esac
                mkdir -p "$place"
                for file in ${source-$source_directory/*}; do
                  if [ -e "$place/${file##*/}" ]; then [ -n "${skips-}" ]; else cp "$file" "$place"; fi
                done ;;
              artifacts-generic-download) cp "$place/$name" "$destination" ;;
              auth-print-access-token-) echo token ;;
              builds-triggers-describe) [ "$4" = jobs-build ] && echo trigger ;;
              builds-describe-00000000-0000-0000-0000-000000000000) cat ../built ;;
              *) exit 1 ;;
            esac"#,
        );
        stage.program("apt-get", "");
        stage.program(
            "skopeo",
            r#"case $1 in login) [ "$(cat)" = token ] ;; copy) cat "${3#oci:}" >/dev/null; echo "push $4" >>../did ;; esac"#,
        );
        stage.git(&["init", "--quiet", "--initial-branch=main"]);
        stage.commit = stage.committed("one");
        stage.git(&["checkout", "--quiet", "-b", "unmerged"]);
        stage.unmerged = stage.committed("unmerged");
        stage.git(&["checkout", "--quiet", "main"]);
        // Main continues while a commit is tested.
        stage.committed("two");
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        write_program(&self.path("bin").join(name), script);
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x@example.com"]).args(arguments);
        let output = git.current_dir(self.path("workspace")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn committed(&self, message: &str) -> String {
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// What the steps before `candidate` leave, and what Cloud Build says of the build later.
    fn built(&self, functions: &[&str]) {
        self.says("trigger", "SUCCESS", &self.commit);
        let folder = self.path("build");
        let listed: String = functions.iter().flat_map(|function| [*function, "\n"]).collect();
        std::fs::write(folder.join("functions"), listed).unwrap();
        for function in functions {
            std::fs::write(folder.join("images").join(function), "image").unwrap();
            std::fs::write(folder.join(format!("images/{function}.cdx.json")), "bill").unwrap();
        }
        write_program(&folder.join("ops"), r#"echo "$(git rev-parse HEAD) $*" >>../did"#);
    }

    fn says(&self, trigger: &str, status: &str, commit: &str) {
        std::fs::write(self.path("built"), format!("{trigger}\t{status}\t{commit}\n")).unwrap();
    }

    /// Runs a step as Cloud Build does; `folder` stands for the volume.
    fn run(&self, build: &str, folder: &str, step: &str, commit: &str) -> Output {
        self.run_for(ID, build, folder, step, commit)
    }

    fn run_for(&self, id: &str, build: &str, folder: &str, step: &str, commit: &str) -> Output {
        let mut script = script(build, step).replace("$$", "\0");
        for (name, value) in [
            ("PROJECT_ID", "project"),
            ("LOCATION", "region"),
            ("BUILD_ID", if build == BUILD { ID } else { "another" }),
        ] {
            script = script.replace(&format!("${name}"), value);
        }
        assert!(
            !script.contains('$'),
            "Cloud Build would replace what it does not know by nothing: {script}"
        );
        let script = script.replace('\0', "$").replace("/delivery", self.path(folder).to_str().unwrap());
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env("IMAGE_REGISTRY", "registry/jobs")
            .envs([("BUILD", id), ("COMMIT", commit)])
            .current_dir(self.path("workspace"))
            .output()
            .unwrap()
    }

    /// What was pushed, and then the deployment with the commit that was checked out.
    fn did(&self) -> Vec<String> {
        let did = std::fs::read_to_string(self.path("did")).unwrap_or_default();
        did.lines().map(str::to_owned).collect()
    }
}

fn write_program(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;

    std::fs::write(path, format!("#!/usr/bin/env bash\nset -eu\n{script}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[track_caller]
fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_deployment_takes_what_its_build_hands_on_and_nothing_of_another() {
    let stage = Stage::new();
    stage.built(&["calendar-sync", "token-refresh"]);
    succeeds(&stage.run(BUILD, "build", "candidate", ""));
    // What is handed on cannot be replaced behind the checks.
    assert!(!stage.run(BUILD, "build", "candidate", "").status.success());

    succeeds(&stage.run(DEPLOY, "deploy", "candidate", &stage.commit));
    succeeds(&stage.run(DEPLOY, "deploy", "deploy", &stage.commit));
    let commit = &stage.commit;
    let images = stage.path("deploy/images");
    assert_eq!(
        stage.did(),
        [
            format!("push docker://registry/jobs/calendar-sync:{commit}"),
            format!("push docker://registry/jobs/token-refresh:{commit}"),
            format!("{commit} deploy calendar-sync token-refresh --yes --images {}", images.display()),
        ]
    );
    // Once more, as after a deployment that was cut off: the bills are there already.
    succeeds(&stage.run(DEPLOY, "deploy", "deploy", &stage.commit));
    assert_eq!(stage.did().len(), 6);
    let bill = stage.path("store/jobs-bills/calendar-sync").join(commit).join("calendar-sync.cdx.json");
    assert!(bill.exists());
}

#[test]
fn a_candidate_without_functions_deploys_nothing_and_counts_as_delivered() {
    let stage = Stage::new();
    stage.built(&[]);
    std::fs::remove_dir(stage.path("build/images")).unwrap();
    succeeds(&stage.run(BUILD, "build", "candidate", ""));
    succeeds(&stage.run(DEPLOY, "deploy", "candidate", &stage.commit));
    succeeds(&stage.run(DEPLOY, "deploy", "deploy", &stage.commit));
    assert_eq!(stage.did(), [""; 0]);
}

#[test]
fn a_message_that_is_not_true_deploys_nothing() {
    let stage = Stage::new();
    stage.built(&["calendar-sync"]);
    succeeds(&stage.run(BUILD, "build", "candidate", ""));
    let is_taken = || stage.run(DEPLOY, "deploy", "candidate", &stage.commit).status.success();
    let (commit, other) = (&stage.commit, &stage.unmerged);
    for (trigger, status, commit) in
        [("another", "SUCCESS", commit), ("trigger", "WORKING", commit), ("trigger", "SUCCESS", other)]
    {
        stage.says(trigger, status, commit);
        assert!(!is_taken(), "{trigger} {status} {commit}");
    }
    stage.says("trigger", "SUCCESS", commit);
    for id in [format!("{ID}\"; touch ../did; \""), "--help".to_owned()] {
        assert!(!stage.run_for(&id, DEPLOY, "deploy", "candidate", commit).status.success(), "{id}");
    }
    assert!(is_taken());
    assert_eq!(stage.did(), [""; 0]);
    // A substitution is text of the script, whatever it is.
    assert!(!text(DEPLOY).contains("$_"));
}

#[test]
fn a_commit_that_is_not_on_main_is_not_deployed() {
    let stage = Stage::new();
    stage.built(&["calendar-sync"]);
    stage.says("trigger", "SUCCESS", &stage.unmerged);
    succeeds(&stage.run(BUILD, "build", "candidate", ""));
    succeeds(&stage.run(DEPLOY, "deploy", "candidate", &stage.unmerged));
    let output = stage.run(DEPLOY, "deploy", "deploy", &stage.unmerged);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not on main"));
    assert_eq!(stage.did(), [""; 0]);
}
