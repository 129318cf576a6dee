//! A server as people write them in Rust: threads, TCP, files, and a graceful end.
//!
//! It answers each connection to 127.0.0.1 at the port of its first argument with one line. SIGHUP makes it say so, SIGTERM ends it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sys::signal::{SigSet, Signal};

static SERVED: AtomicU32 = AtomicU32::new(0);

fn main() -> std::io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGHUP);
    signals.add(Signal::SIGTERM);
    // Before there are threads, which inherit it.
    signals.thread_block()?;
    let port = std::env::args().nth(1).unwrap_or_default();
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    println!("ready");
    loop {
        if signals.wait()? == Signal::SIGTERM {
            println!("stopped");
            return Ok(());
        }
        println!("reloaded");
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = String::new();
    BufReader::new(&stream).read_line(&mut request)?;
    let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
    let path = format!("/tmp/served-{served}");
    std::fs::write(&path, &request)?;
    let length = std::fs::metadata(&path)?.len();
    std::fs::remove_file(&path)?;
    write!(stream, "HTTP/1.0 200 OK\r\n\r\nserved {length} bytes\n")
}
