//! A gRPC client as small as the kubelet's calls need it: one unary call on a connection of its own to a Unix socket.
//!
//! A call is an HTTP/2 request whose body is one message behind five bytes: a zero and the length. The answer is the same, and its trailers hold the status.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::UnixStream;

/// A call that failed: gRPC's status, or 14 (UNAVAILABLE) where none came.
#[derive(Debug, Clone)]
pub struct Status {
    /// The number: 3 invalid argument, 4 deadline exceeded, 5 not found, 2 unknown.
    pub code: u32,
    /// The server's words.
    pub message: String,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gRPC status {}: {}", self.code, self.message)
    }
}

impl std::error::Error for Status {}

/// Calls `method`, such as `/runtime.v1.RuntimeService/Version`, and gives up after `deadline`.
pub fn call<Answer: Message + Default>(
    socket: &Path,
    method: &str,
    question: &impl Message,
    deadline: Duration,
) -> Result<Answer, Status> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| unavailable(&e))?;
    let body = frame(question);
    runtime.block_on(async {
        let exchange = exchange(socket, method, body);
        match tokio::time::timeout(deadline, exchange).await {
            Ok(answer) => {
                Answer::decode(answer?).map_err(|e| unavailable(&format!("{method}: {e}")))
            }
            Err(_) => Err(unavailable(&format!("{method}: no answer"))),
        }
    })
}

/// The message behind its five bytes.
fn frame(message: &impl Message) -> Bytes {
    let length = u32::try_from(message.encoded_len()).unwrap_or(u32::MAX);
    let mut body = vec![0];
    body.extend(length.to_be_bytes());
    body.extend(message.encode_to_vec());
    body.into()
}

async fn exchange(socket: &Path, method: &str, body: Bytes) -> Result<Bytes, Status> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|e| unavailable(&e))?;
    let (mut requests, connection) = h2::client::handshake(stream)
        .await
        .map_err(|e| unavailable(&e))?;
    // It ends with the runtime that it runs on; what went wrong with it the request says too.
    tokio::spawn(connection);
    let request = Request::post(format!("http://localhost{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(|e| unavailable(&e))?;
    let (answer, mut sender) = requests
        .send_request(request, false)
        .map_err(|e| unavailable(&e))?;
    sender.send_data(body, true).map_err(|e| unavailable(&e))?;
    let (head, mut body) = answer.await.map_err(|e| unavailable(&e))?.into_parts();
    let mut received = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part.map_err(|e| unavailable(&e))?;
        let _ = body.flow_control().release_capacity(part.len());
        received.extend_from_slice(&part);
    }
    let trailers = body.trailers().await.map_err(|e| unavailable(&e))?;
    // A failed call has them in its head, for lack of a body.
    succeeded(&trailers.unwrap_or(head.headers))?;
    if received.len() < 5 {
        return Err(unavailable(&"no message came"));
    }
    received.advance(5);
    Ok(received.freeze())
}

fn succeeded(trailers: &HeaderMap) -> Result<(), Status> {
    let text = |name: &str| {
        let value = trailers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or("").to_owned()
    };
    match text("grpc-status").as_str() {
        "0" => Ok(()),
        code => Err(Status {
            code: code.parse().unwrap_or(14),
            message: text("grpc-message"),
        }),
    }
}

fn unavailable(why: &dyn fmt::Display) -> Status {
    Status {
        code: 14,
        message: why.to_string(),
    }
}
