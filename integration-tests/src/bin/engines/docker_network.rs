//! Docker: networks, in a network namespace of the case's own that stands for the host's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use garboard_integration_tests::case::{Case, Done, Failure};
use garboard_integration_tests::engine::Engine;
use garboard_integration_tests::engine::docker::Docker;
use garboard_integration_tests::engine_cases;
use garboard_integration_tests::processes;

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command, Shim](
        none_host_and_shared,
        bridge_and_ports
    ))
}

const SERVE: &str = "mkdir /www; hostname > /www/index.html; exec busybox httpd -f -h /www -p 80";

fn none_host_and_shared(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    let links = ["sh", "-c", "ls /sys/class/net | tr '\\n' ' '"];
    assert_eq!(docker.prints(&["--network=none"], &links)?, "lo ");
    let namespace = |name: &str| Ok::<_, Failure>(processes::namespace(docker.pid(name)?, "net"));
    docker.run_in_background("host", &["--network=host"], &["sleep", "1000"])?;
    let own = std::process::id().cast_signed();
    assert_eq!(namespace("host")?, processes::namespace(own, "net"));
    docker.run_in_background("first", &[], &["sleep", "1000"])?;
    docker.run_in_background("second", &["--network=container:first"], &["sleep", "1000"])?;
    assert_eq!(namespace("first")?, namespace("second")?);
    assert_ne!(namespace("first")?, namespace("host")?);
    assert_eq!(docker.exec("second", &links)?, "eth0 lo ");
    docker.end()
}

/// A bridge of one's own with names, and a port that the host serves; a network that comes later.
fn bridge_and_ports(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    docker.docker(&["network", "create", "ours"])?.success()?;
    let flags = [
        "--network=ours",
        "--publish=127.0.0.1::80",
        "--hostname=served",
    ];
    docker.run_in_background("web", &flags, &["sh", "-c", SERVE])?;
    let fetch = "until busybox wget -qO- http://web/; do sleep 0.1; done";
    assert_eq!(
        docker.prints(&["--network=ours"], &["timeout", "10", "sh", "-c", fetch])?,
        "served\n"
    );
    let port = docker.docker(&["port", "web", "80"])?.success()?.stdout();
    assert!(fetched(port.trim())?.ends_with("\r\n\r\nserved\n"));

    docker.run_in_background("late", &[], &["sleep", "1000"])?;
    let ping = ["timeout", "10", "ping", "-c", "1", "web"];
    let words = [&["exec", "late"], &ping[..]].concat();
    docker.docker(&words)?.fails_with("bad address")?;
    docker
        .docker(&["network", "connect", "ours", "late"])?
        .success()?;
    docker.exec("late", &ping)?;
    docker
        .docker(&["rm", "--force", "web", "late"])?
        .success()?;
    docker.docker(&["network", "rm", "ours"])?.success()?;
    docker.end()
}

/// What a server says to `GET /`.
pub fn fetched(address: &str) -> Result<String, Failure> {
    let until = Instant::now() + Duration::from_secs(20);
    let limit = Some(Duration::from_secs(5));
    loop {
        let tried = TcpStream::connect(address).and_then(|mut stream| {
            stream.set_read_timeout(limit)?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        });
        match tried {
            Ok(text) if !text.is_empty() => return Ok(text),
            _ if Instant::now() < until => std::thread::sleep(Duration::from_millis(50)),
            Ok(_) => return Err(Failure::new(format!("{address} says nothing"))),
            Err(error) => return Err(Failure::new(format!("{address}: {error}"))),
        }
    }
}
