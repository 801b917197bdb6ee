//! A gallery makes thumbnails of the images that are uploaded to it.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use shared::config::{InvalidConfig, variables};
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::Payload;
use shared::queue::{Declaration, Policies, Queue, Retention};
use shared::runtime;
use shared::tasks::{self, Options, Tasks};
use tokio::fs;

shared::variables! {
    GALLERY_FOLDER: "Where the images are.", "a folder", None, variables::SERVICE;
}

/// Pixels of the smallest thumbnail; each size is a task of its own, half as large as the one before.
const SMALLEST: u32 = 64;

/// What the platform must know of the gallery. Its queues are usually in a file that Terraform reads, too.
static DECLARATION: Declaration = Declaration {
    policies,
    variables: ALL,
    retention: Retention { users: "users", aged: &[], personal: &[] },
};

fn policies() -> &'static Policies {
    static POLICIES: LazyLock<Policies> = LazyLock::new(|| {
        let json = r#"{
            "queues": {
                "thumbnails": {
                    "attempts": 3,
                    "minBackoffSeconds": 30,
                    "maxBackoffSeconds": 1800,
                    "maxDoublings": 3,
                    "maxDispatchesPerSecond": 20,
                    "timeoutSeconds": 60,
                    "dispatchDeadlineSeconds": 120,
                    "schedules": []
                }
            }
        }"#;
        Policies::parse(json).expect("the declaration is checked by a test")
    });
    &POLICIES
}

/// The queue.
const THUMBNAILS: Queue = Queue::new("thumbnails", &DECLARATION);

/// What a task carries. Only this type goes to the queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Thumbnail {
    image: String,
    pixels: u32,
}

impl Payload for Thumbnail {
    const QUEUE: Queue = THUMBNAILS;
}

/// The producer: any code that holds [`Tasks`], here the job itself.
async fn ask_for(tasks: &Tasks, image: &str, pixels: u32) -> Result<(), tasks::Error> {
    let task = Thumbnail { image: image.to_owned(), pixels };
    // A name makes two calls one task.
    let once = Options::default().named(format_args!("{image}:{pixels}"));
    tasks.enqueue(&task, once).await?;
    Ok(())
}

/// The job: a struct that is what it depends on.
struct Thumbnails {
    folder: PathBuf,
    tasks: Tasks,
}

impl Job for Thumbnails {
    type Payload = Thumbnail;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        // Everything is asked for before the first `?`: all that is missing is reported together.
        let (folder, tasks) = (setup.config().required(&GALLERY_FOLDER), setup.tasks());
        Ok(Self { folder: folder?, tasks: tasks? })
    }

    /// May run again after a crash at any point: the same thumbnail is made once more.
    async fn run(&self, payload: Thumbnail, _context: &Context) -> Result<Outcome, Failure> {
        let Thumbnail { image, pixels } = payload;
        let original = match fs::read(self.folder.join(&image)).await {
            Ok(original) => original,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Outcome::Skipped("image_is_deleted"));
            }
            Err(error) => return Err(Failure::transient(error)),
        };
        let name = format!("{image}.{pixels}");
        fs::write(self.folder.join(&name), scaled(&original, pixels)).await.map_err(Failure::transient)?;
        if pixels > SMALLEST {
            ask_for(&self.tasks, &image, pixels / 2).await?;
        }
        Ok(Outcome::done(name))
    }
}

/// A stand-in for an image library.
fn scaled(original: &[u8], pixels: u32) -> &[u8] {
    &original[..original.len().min(pixels as usize)]
}

#[tokio::main]
async fn main() -> ExitCode {
    runtime::run::<Thumbnails>().await
}
