//! One message of ttrpc and its bytes: a header of ten (length, stream, type, flags; big endian), then a protobuf message.

use protobuf::{EnumOrUnknown, Message, MessageField};
use ttrpc::proto::{
    Code, MESSAGE_HEADER_LENGTH, MESSAGE_LENGTH_MAX, MESSAGE_TYPE_REQUEST, MESSAGE_TYPE_RESPONSE,
    MessageHeader, Request, Response, Status,
};

use super::Closed;

/// A message and the stream it belongs to. Who calls picks odd numbers, each greater than the one before; the answer bears the same number.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// A call.
    Request {
        /// Of the call.
        stream: u32,
        /// Service, method, payload, time limit and metadata.
        request: Request,
    },
    /// Its answer.
    Response {
        /// Of the call it answers.
        stream: u32,
        /// A status (none: success) and a payload.
        response: Response,
    },
}

/// A response that is nothing but an error.
pub fn refusal(code: Code, message: impl Into<String>) -> Response {
    Response {
        status: MessageField::some(Status {
            code: EnumOrUnknown::new(code),
            message: message.into(),
            ..Status::default()
        }),
        ..Response::default()
    }
}

impl Frame {
    /// As it is sent. A response that is too long becomes a refusal: whoever waits for it must not wait for ever.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Closed> {
        match self {
            Frame::Request { stream, request } => {
                encode(*stream, MESSAGE_TYPE_REQUEST, request).ok_or(Closed::TooLong)
            }
            Frame::Response { stream, response } => {
                let encode = |response: &Response| encode(*stream, MESSAGE_TYPE_RESPONSE, response);
                encode(response)
                    .or_else(|| encode(&too_long(response.compute_size())))
                    .ok_or(Closed::TooLong)
            }
        }
    }
}

/// The answer to a message of that many bytes, in the words of the Go server.
pub(super) fn too_long(length: u64) -> Response {
    refusal(
        Code::RESOURCE_EXHAUSTED,
        format!("message length {length} exceed maximum message size of {MESSAGE_LENGTH_MAX}"),
    )
}

/// `None` when it is too long.
fn encode(stream: u32, type_: u8, message: &impl Message) -> Option<Vec<u8>> {
    let length = message.compute_size();
    if length > MESSAGE_LENGTH_MAX as u64 {
        return None;
    }
    let header = MessageHeader {
        length: length as u32,
        stream_id: stream,
        type_,
        flags: 0,
    };
    let mut bytes = Vec::with_capacity(MESSAGE_HEADER_LENGTH + length as usize);
    bytes.extend_from_slice(&Vec::from(header));
    // Writing to a vector fails only for a message without its required fields, which proto3 does not have.
    message.write_to_vec(&mut bytes).ok()?;
    Some(bytes)
}
