//! From a frame to the function that serves it, and back. Both names of the Task service are served: containerd 2 speaks of
//! `containerd.task.v3.Task`, everything before of `v2`; the messages are the same.

use containerd_shim_protos::protobuf::Message;
use ttrpc::proto::{Request, Response, Status};

use super::failure::Failure;
use super::{Call, Daemon};
use crate::wire::Frame;

const SERVICES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

impl Daemon {
    pub(super) fn client_ready(&mut self, number: u64) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        let frames = client
            .connection
            .flush()
            .and_then(|()| client.connection.read());
        match frames {
            Ok(frames) => {
                for frame in frames {
                    // A response: nobody was asked anything on this connection.
                    if let Frame::Request { stream, request } = frame {
                        let call = Call {
                            client: number,
                            stream,
                        };
                        self.serve(call, &request);
                    }
                }
            }
            Err(_) => self.leave(number),
        }
    }

    /// A client that went away, as containerd does when it is restarted. Its calls go on; their answers have nobody to go to.
    fn leave(&mut self, number: u64) {
        if let Some(client) = self.clients.remove(&number) {
            self.reactor.remove(client.connection.fd(), client.token);
        }
        for task in self.tasks.values_mut() {
            for process in std::iter::once(&mut task.init).chain(task.execs.values_mut()) {
                process.waiting.retain(|call| call.client != number);
            }
        }
    }

    fn serve(&mut self, call: Call, request: &Request) {
        if !SERVICES.contains(&request.service.as_str()) {
            let text = format!("service {}", request.service);
            return self.answer_failure(call, Failure::unimplemented(text));
        }
        log::debug!("{}", request.method);
        let payload = request.payload.as_slice();
        match request.method.as_str() {
            "State" => self.at_once(call, payload, Daemon::state),
            "Create" => self.later(call, payload, Daemon::create),
            "Start" => self.later(call, payload, Daemon::start),
            "Delete" => self.later(call, payload, Daemon::delete),
            "Pids" => self.later(call, payload, Daemon::pids),
            "Pause" => self.later(call, payload, Daemon::pause),
            "Resume" => self.later(call, payload, Daemon::resume),
            "Kill" => self.later(call, payload, Daemon::kill),
            "Exec" => self.at_once(call, payload, Daemon::exec),
            "ResizePty" => self.at_once(call, payload, Daemon::resize),
            "CloseIO" => self.at_once(call, payload, Daemon::close_io),
            "Update" => self.later(call, payload, Daemon::update),
            "Wait" => self.later(call, payload, Daemon::wait),
            "Stats" => self.later(call, payload, Daemon::stats),
            "Connect" => self.at_once(call, payload, Daemon::connect),
            "Shutdown" => self.at_once(call, payload, Daemon::shutdown),
            "Checkpoint" => {
                let text = "checkpoint is not implemented by garboard yet";
                self.answer_failure(call, Failure::unimplemented(text));
            }
            method => {
                let text = format!("method {method}");
                self.answer_failure(call, Failure::unimplemented(text));
            }
        }
    }

    /// A call that needs nothing but what is known.
    fn at_once<I: Message, O: Message>(
        &mut self,
        call: Call,
        payload: &[u8],
        handler: fn(&mut Daemon, I) -> Result<O, Failure>,
    ) {
        match decode(payload).and_then(|input| handler(self, input)) {
            Ok(output) => self.answer(call, &output),
            Err(failure) => self.answer_failure(call, failure),
        }
    }

    /// A call that is answered by what it has set going, unless it fails at once.
    fn later<I: Message>(
        &mut self,
        call: Call,
        payload: &[u8],
        handler: fn(&mut Daemon, Call, I) -> Result<(), Failure>,
    ) {
        if let Err(failure) = decode(payload).and_then(|input| handler(self, call, input)) {
            self.answer_failure(call, failure);
        }
    }

    pub(super) fn answer(&mut self, call: Call, output: &impl Message) {
        match output.write_to_bytes() {
            Ok(payload) => {
                // Without a status Go's client takes the code for OK as well; containerd's own server sends one.
                let response = Response {
                    status: Some(Status::default()).into(),
                    payload,
                    ..Response::default()
                };
                self.respond(call, response);
            }
            Err(error) => self.answer_failure(call, Failure::unknown(error)),
        }
    }

    pub(super) fn answer_failure(&mut self, call: Call, failure: Failure) {
        log::debug!("answered with {:?}: {}", failure.code, failure.message);
        let response = Response {
            status: Some(failure.into_status()).into(),
            ..Response::default()
        };
        self.respond(call, response);
    }

    fn respond(&mut self, call: Call, response: Response) {
        if let Some(client) = self.clients.get_mut(&call.client) {
            client.connection.queue(Frame::Response {
                stream: call.stream,
                response,
            });
        }
    }
}

fn decode<I: Message>(payload: &[u8]) -> Result<I, Failure> {
    I::parse_from_bytes(payload)
        .map_err(|error| Failure::invalid(format!("the request cannot be read: {error}")))
}
