//! A program of any size that starts containers: `embedder ROOT BUNDLE MEGABYTES ROUNDS`.
//!
//! It keeps MEGABYTES resident, runs the bundle's container ROUNDS times in its own process, and prints the median time of a start in
//! milliseconds. A start costs a large program no more than a small one: nothing of it is copied.

use std::error::Error;
use std::fs::OpenOptions;
use std::path::Path;
use std::time::Instant;

use libcontainer::{CreateOptions, Runtime};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, root, bundle, megabytes, rounds] = args.as_slice() else {
        return Err("embedder ROOT BUNDLE MEGABYTES ROUNDS".into());
    };
    let ballast = vec![1u8; megabytes.parse::<usize>()? << 20];
    let runtime = Runtime::open(Path::new(root))?;
    let mut times = Vec::new();
    for round in 0..rounds.parse::<u32>()? {
        let id = format!("embedded-{}-{round}", std::process::id());
        let null = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/null")
                .map(Into::into)
        };
        let options = CreateOptions {
            stdio: [Some(null()?), Some(null()?), Some(null()?)],
            ..CreateOptions::default()
        };
        let since = Instant::now();
        let container = runtime.run(&id, Path::new(bundle), &options)?;
        times.push(since.elapsed().as_secs_f64() * 1000.0);
        container.wait()?;
        runtime.delete(&id, false)?;
    }
    times.sort_by(f64::total_cmp);
    println!("{:.3}", times.get(times.len() / 2).ok_or("no rounds")?);
    // Kept to the end: what the figure is about.
    drop(ballast);
    Ok(())
}
