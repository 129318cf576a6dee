//! systemd's methods: the few that a container's unit needs (org.freedesktop.systemd1(5)).

use std::time::Instant;

use rustix::io::Errno;

use crate::config::ConfigErrors;
use crate::error::{Error, ErrorKind};

use super::bus::{Argument, BusError, Call, Connection, Message, Value};
use super::endpoint::Endpoint;
use super::properties::Property;

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// How often a unit that is there is taken for the remains of an earlier one, which go.
const START_ATTEMPTS: u32 = 3;
const START_PAUSE: std::time::Duration = std::time::Duration::from_millis(30);

/// What systemd did not do, and why.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    #[error("unable to {act} unit {unit:?}: {source}{}", hint(source))]
    Bus {
        act: &'static str,
        unit: String,
        source: Box<BusError>,
    },
    #[error(
        "unable to start unit {unit:?}: a unit of this name is active already (hint: it belongs to another container or service; give this \
         container another linux.cgroupsPath)"
    )]
    Exists { unit: String },
    #[error("unable to {act} unit {unit:?}: its job ended with {result:?}")]
    Job {
        act: &'static str,
        unit: String,
        result: String,
    },
}

fn hint(error: &BusError) -> &'static str {
    match error {
        BusError::Refused(refused) if absent(refused.errno) => {
            " (hint: systemd does not listen there; is it process 1 here, and for a user: is a session open?)"
        }
        BusError::Silent { .. } | BusError::Closed { .. } => {
            " (hint: systemd or the bus hangs, is overloaded or was restarted; without --systemd-cgroup neither is needed)"
        }
        _ => "",
    }
}

fn absent(errno: crate::error::Errno) -> bool {
    [Errno::NOENT, Errno::CONNREFUSED, Errno::NOTDIR]
        .iter()
        .any(|absent| absent.raw_os_error() == errno.0)
}

impl From<UnitError> for Error {
    fn from(error: UnitError) -> Error {
        let kind = match &error {
            UnitError::Exists { .. } => ErrorKind::AlreadyExists,
            _ => ErrorKind::Refused,
        };
        Error::new(kind, error)
    }
}

/// A systemd that is listened to.
#[derive(Debug)]
pub struct Systemd {
    connection: Connection,
}

impl Systemd {
    /// The first of `endpoints` that is there. All that is asked of it ends at `deadline`.
    pub fn connect(endpoints: &[Endpoint], deadline: Instant) -> Result<Systemd, BusError> {
        let mut endpoints = endpoints.iter().peekable();
        loop {
            let Some(endpoint) = endpoints.next() else {
                return Err(BusError::NoAddress);
            };
            match Connection::open(&endpoint.address, deadline) {
                Ok(connection) => {
                    let mut systemd = Systemd { connection };
                    if !endpoint.private {
                        systemd.greet()?;
                    }
                    return Ok(systemd);
                }
                Err(BusError::Refused(_)) if endpoints.peek().is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What a bus wants to hear first, and which signals it shall pass on.
    fn greet(&mut self) -> Result<(), BusError> {
        let bus = |member, arguments| Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member,
            arguments,
            answered: true,
        };
        self.connection.call(&bus("Hello", &[]))?;
        let rule = format!(
            "type='signal',sender='{NAME}',interface='{MANAGER}',member='JobRemoved',path='{PATH}'"
        );
        self.connection
            .call(&bus("AddMatch", &[Argument::Text(&rule)]))
            .map(drop)
    }

    fn call(&mut self, member: &str, arguments: &[Argument<'_>]) -> Result<Message, BusError> {
        let answer = self.connection.call(&Call {
            destination: NAME,
            path: PATH,
            interface: MANAGER,
            member,
            arguments,
            answered: true,
        })?;
        answer.ok_or(BusError::NoAddress)
    }

    /// Waits for the job that a method has answered with, and says how it ended: `done`, or why not.
    fn job(&mut self, answer: &Message) -> Result<String, BusError> {
        let wrong = |connection: &Connection, reason| connection.malformed(reason);
        let job = answer.body("o").and_then(|mut body| body.text());
        let job = job
            .map_err(|reason| wrong(&self.connection, reason))?
            .to_owned();
        loop {
            let signal = self.connection.signal()?;
            // Anybody on a bus may send us a signal: only systemd's own says that its job is done.
            let theirs = signal.sender == answer.sender
                && signal.member.as_deref() == Some("JobRemoved")
                && signal.interface.as_deref() == Some(MANAGER)
                && signal.path.as_deref() == Some(PATH);
            if !theirs {
                continue;
            }
            let ended = signal.body("uoss").and_then(|mut body| {
                body.u32()?;
                let path = body.text()?;
                body.text()?;
                Ok((path == job).then_some(body.text()?.to_owned()))
            });
            if let Some(result) = ended.map_err(|reason| wrong(&self.connection, reason))? {
                return Ok(result);
            }
        }
    }

    /// Starts the unit with these properties and waits until it has started. Properties that this systemd does not know are left out if
    /// they are optional. Errors: AlreadyExists for a unit that is active; InvalidConfig for a property that a key asked for and systemd refuses.
    pub fn start(&mut self, unit: &str, properties: &[Property]) -> Result<(), Error> {
        let mut values = named(properties, true);
        let mut attempts = 0;
        let answer = loop {
            attempts += 1;
            let arguments = [
                Argument::Text(unit),
                Argument::Text("replace"),
                Argument::Properties(&values),
                Argument::NoUnits,
            ];
            match self.call("StartTransientUnit", &arguments) {
                Ok(answer) => break answer,
                Err(error) if error.is("org.freedesktop.systemd1.UnitExists") => {
                    if attempts == START_ATTEMPTS {
                        return Err(UnitError::Exists {
                            unit: unit.to_owned(),
                        }
                        .into());
                    }
                    // One that has failed goes when it is reset, one that is just ending goes by itself.
                    self.reset_failed(unit);
                    if attempts > 1 {
                        std::thread::sleep(START_PAUSE);
                    }
                }
                Err(error)
                    if is_refusal(&error) && values.len() > named(properties, false).len() =>
                {
                    values = named(properties, false);
                }
                Err(error) => return Err(blame(properties, failed("start", unit)(error))),
            }
        };
        match self.job(&answer).map_err(failed("start", unit))?.as_str() {
            "done" => Ok(()),
            result => {
                self.reset_failed(unit);
                Err(job_failed("start", unit, result).into())
            }
        }
    }

    /// Stops the unit and waits until it has stopped. False when there is no such unit.
    pub fn stop(&mut self, unit: &str) -> Result<bool, UnitError> {
        let arguments = [Argument::Text(unit), Argument::Text("replace")];
        let answer = match self.call("StopUnit", &arguments) {
            Err(error) if error.is("org.freedesktop.systemd1.NoSuchUnit") => return Ok(false),
            answer => answer.map_err(failed("stop", unit))?,
        };
        let result = self.job(&answer).map_err(failed("stop", unit))?;
        self.reset_failed(unit);
        match result.as_str() {
            "done" => Ok(true),
            result => Err(job_failed("stop", unit, result)),
        }
    }

    /// Changes properties of a unit that runs, until it ends.
    pub fn set_properties(&mut self, unit: &str, properties: &[Property]) -> Result<(), Error> {
        for optional in [true, false] {
            let values = named(properties, optional);
            let arguments = [
                Argument::Text(unit),
                Argument::Bool(true),
                Argument::Properties(&values),
            ];
            match self.call("SetUnitProperties", &arguments) {
                Err(error) if optional && is_refusal(&error) => {}
                result => {
                    return result
                        .map(drop)
                        .map_err(|error| blame(properties, failed("update", unit)(error)));
                }
            }
        }
        Ok(())
    }

    /// Moves a process into the unit's cgroup, or into a sub-cgroup of it: for a user who may not do so in the filesystem.
    pub fn attach(&mut self, unit: &str, below: &str, pid: u32) -> Result<(), UnitError> {
        let below = format!("/{below}");
        let pids = [pid];
        let arguments = [
            Argument::Text(unit),
            Argument::Text(&below),
            Argument::Numbers(&pids),
        ];
        self.call("AttachProcessesToUnit", &arguments)
            .map(drop)
            .map_err(failed("move a process into", unit))
    }

    /// The cgroup of the manager itself, below which all its units are: `/user.slice/user-1000.slice/user@1000.service`.
    pub fn control_group(&mut self) -> Result<String, BusError> {
        let answer = self.connection.call(&Call {
            destination: NAME,
            path: PATH,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            arguments: &[Argument::Text(MANAGER), Argument::Text("ControlGroup")],
            answered: true,
        })?;
        let answer = answer.ok_or(BusError::NoAddress)?;
        let text = answer.body("v").and_then(|mut body| {
            let signature = body.signature()?;
            if signature != "s" {
                return Err(super::bus::Malformed(
                    "the answer is of another type than asked for",
                ));
            }
            Ok(body.text()?.to_owned())
        });
        text.map_err(|reason| self.connection.malformed(reason))
    }

    /// Best effort: what has not failed cannot be reset, and what comes next tells what matters.
    fn reset_failed(&mut self, unit: &str) {
        let _ = self.call("ResetFailedUnit", &[Argument::Text(unit)]);
    }
}

fn named(properties: &[Property], optional: bool) -> Vec<(String, Value)> {
    let chosen = properties.iter().filter(|one| optional || !one.optional);
    chosen
        .map(|one| (one.name.clone(), one.value.clone()))
        .collect()
}

fn failed(act: &'static str, unit: &str) -> impl Fn(BusError) -> UnitError {
    move |source| UnitError::Bus {
        act,
        unit: unit.to_owned(),
        source: Box::new(source),
    }
}

fn job_failed(act: &'static str, unit: &str, result: &str) -> UnitError {
    UnitError::Job {
        act,
        unit: unit.to_owned(),
        result: result.to_owned(),
    }
}

/// Whether systemd refused a property for what it is.
fn is_refusal(error: &BusError) -> bool {
    [
        "org.freedesktop.DBus.Error.PropertyReadOnly",
        "org.freedesktop.DBus.Error.UnknownProperty",
        "org.freedesktop.DBus.Error.InvalidArgs",
    ]
    .iter()
    .any(|name| error.is(name))
}

/// The refusal, with the key that asked for the property which it names.
fn blame(properties: &[Property], error: UnitError) -> Error {
    let UnitError::Bus { source, .. } = &error else {
        return error.into();
    };
    let text = source.to_string();
    let named = properties.iter().find(|one| {
        let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
        words.any(|word| word == one.name)
    });
    match named.and_then(|property| property.at.clone()) {
        Some(at) if is_refusal(source) => ConfigErrors::one(at, error.to_string()).into(),
        _ => error.into(),
    }
}
