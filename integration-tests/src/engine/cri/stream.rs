//! The other half of a streaming exec: a WebSocket to the address that CRI's `Exec` gives, with Kubernetes' channels in it.
//!
//! The first byte of every message says which stream it is of: 0 stdin, 1 stdout, 2 stderr, 3 the status as JSON, 4 the terminal's size.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::case::Failure;

const STDIN: u8 = 0;
const SIZE: u8 = 4;

/// An open stream.
#[derive(Debug)]
pub struct ExecStream {
    reader: BufReader<TcpStream>,
    /// What came on stdout.
    pub out: Vec<u8>,
    /// What came on stderr.
    pub err: Vec<u8>,
    status: Option<Value>,
}

impl ExecStream {
    /// Connects to an address such as `http://127.0.0.1:41003/exec/TOKEN`.
    pub fn open(url: &str) -> Result<ExecStream, Failure> {
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (host, path) = rest
            .split_once('/')
            .ok_or_else(|| Failure::new(format!("a strange address: {url}")))?;
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(
            stream,
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: v4.channel.k8s.io\r\nOrigin: http://{host}\r\n\r\n"
        )?;
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while reader.read_line(&mut head)? > 2 {}
        if !head.starts_with("HTTP/1.1 101 ") {
            return Err(Failure::new(format!("no WebSocket at {url}: {head}")));
        }
        Ok(ExecStream {
            reader,
            out: Vec::new(),
            err: Vec::new(),
            status: None,
        })
    }

    /// Sends bytes to stdin.
    pub fn type_in(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.send(STDIN, bytes)
    }

    /// Gives the terminal a size.
    pub fn resize(&mut self, rows: u16, columns: u16) -> Result<(), Failure> {
        let text = format!("{{\"Width\":{columns},\"Height\":{rows}}}");
        self.send(SIZE, text.as_bytes())
    }

    /// Waits until stdout holds `text`, which is then taken with all before it.
    pub fn expect(&mut self, text: &str) -> Result<(), Failure> {
        loop {
            let shown = String::from_utf8_lossy(&self.out).into_owned();
            if let Some(at) = shown.find(text) {
                self.out = shown[at + text.len()..].into();
                return Ok(());
            }
            if self.status.is_some() || !self.receive()? {
                return Err(Failure::new(format!("{text:?} is not in {shown:?}")));
            }
        }
    }

    /// Waits for the end: the exit status.
    pub fn end(&mut self) -> Result<i64, Failure> {
        while self.status.is_none() && self.receive()? {}
        let status = self.status.take().unwrap_or_default();
        if status["status"] == "Success" {
            return Ok(0);
        }
        let code = status["details"]["causes"][0]["message"].as_str();
        code.and_then(|code| code.parse().ok())
            .ok_or_else(|| Failure::new(format!("a stream ended with {status}")))
    }

    /// A masked binary message in one frame.
    fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<(), Failure> {
        let length = u16::try_from(bytes.len() + 1)?;
        // A mask of zeroes leaves the bytes as they are.
        let mut frame = vec![0x82, 0x80 | 126];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.push(channel);
        frame.extend(bytes);
        Ok(self.reader.get_mut().write_all(&frame)?)
    }

    /// Takes one message. False: the stream is at its end.
    fn receive(&mut self) -> Result<bool, Failure> {
        let mut head = [0; 2];
        if self.reader.read_exact(&mut head).is_err() {
            return Ok(false);
        }
        let length = match head[1] & 0x7f {
            126 => {
                let mut long = [0; 2];
                self.reader.read_exact(&mut long)?;
                u64::from(u16::from_be_bytes(long))
            }
            127 => {
                let mut long = [0; 8];
                self.reader.read_exact(&mut long)?;
                u64::from_be_bytes(long)
            }
            short => u64::from(short),
        };
        let mut bytes = vec![0; usize::try_from(length)?];
        self.reader.read_exact(&mut bytes)?;
        // Anything but data is the end or of no account.
        if head[0] & 0x0f > 2 {
            return Ok(head[0] & 0x0f != 8);
        }
        match bytes.split_first() {
            Some((1, text)) => self.out.extend(text),
            Some((2, text)) => self.err.extend(text),
            Some((3, text)) => self.status = Some(serde_json::from_slice(text)?),
            _ => {}
        }
        Ok(true)
    }
}
