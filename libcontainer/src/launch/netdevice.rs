//! Network devices that move into the container's network namespace, with their addresses (runtime-spec config-linux.md "Network Devices").
//!
//! All devices are looked up before the first one moves, so that a wrong name changes nothing. A device comes back by itself when the
//! container's namespace ends, whether create fails or the container is deleted: the kernel returns a physical one to the initial network
//! namespace, under its new name and without addresses, and destroys a virtual one. Nothing here moves one back; runc does not either.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::netlink::{Address, Socket};
use crate::config::NetDevice;
use crate::error::{Error, ErrorKind, Pointer, Refused};
use crate::host::Host;
use crate::sys;

/// A device that was found, and what it is to keep.
struct Found<'a> {
    device: &'a NetDevice,
    index: u32,
    addresses: Vec<Address>,
}

/// Moves each device from the caller's network namespace into that of `pid`, gives it its permanent global addresses again and sets it up.
/// Errors: Refused, one sentence a device, each with its JSON pointer. Source: rtnetlink(7).
pub fn move_net_devices(host: &Host, pid: i32, devices: &[NetDevice]) -> Result<(), Error> {
    if devices.is_empty() {
        return Ok(());
    }
    let mut here = Socket::open()
        .map_err(|errno| Refused::call("socket(AF_NETLINK, NETLINK_ROUTE)", errno))?;
    let found = each(devices, |device| look_up(&mut here, device))?;
    let namespace = network_namespace_of(host, pid)?;
    let mut there = open_socket_in(namespace.as_fd())?;
    each(&found, |found| {
        attach(&mut here, &mut there, namespace.as_fd(), found)
    })
    .map(drop)
}

/// Does `work` for each item; the errors of all of them are one.
fn each<'a, I, T>(
    items: &'a [I],
    mut work: impl FnMut(&'a I) -> Result<T, Vec<Refused>>,
) -> Result<Vec<T>, Error> {
    let mut done = Vec::with_capacity(items.len());
    let mut errors = Vec::new();
    for item in items {
        match work(item) {
            Ok(value) => done.push(value),
            Err(refused) => errors.extend(refused),
        }
    }
    if errors.len() < 2 {
        return errors.pop().map_or(Ok(done), |error| Err(error.into()));
    }
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Err(Error::new(ErrorKind::Refused, texts.join("; ")))
}

fn look_up<'a>(here: &mut Socket, device: &'a NetDevice) -> Result<Found<'a>, Vec<Refused>> {
    let index = here.link(&device.host).map_err(|errno| {
        let call = format!("look-up of network device {:?}", device.host);
        vec![refused(call, errno, device)]
    })?;
    let addresses = here.addresses(index).map_err(|errno| {
        let call = format!("look-up of the addresses of {:?}", device.host);
        vec![refused(call, errno, device)]
    })?;
    Ok(Found {
        device,
        index,
        addresses,
    })
}

fn attach(
    here: &mut Socket,
    there: &mut Socket,
    namespace: BorrowedFd<'_>,
    found: &Found<'_>,
) -> Result<(), Vec<Refused>> {
    let Found { device, .. } = found;
    let refused = |call: String| move |errno| refused(call, errno, device);
    here.move_link(found.index, namespace, &device.container)
        .map_err(refused(format!(
            "move of network device {:?} into the container as {:?}",
            device.host, device.container
        )))
        .map_err(|error| vec![error])?;
    // The index is another one if a device of the container has had the old one.
    let index = there
        .link(&device.container)
        .map_err(refused(format!(
            "look-up of network device {:?} in the container",
            device.container
        )))
        .map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    for address in &found.addresses {
        let added = there.add_address(index, address);
        errors.extend(
            added
                .map_err(refused(format!(
                    "adding address {address} to {:?}",
                    device.container
                )))
                .err(),
        );
    }
    let up = there.set_up(index);
    errors.extend(
        up.map_err(refused(format!("setting up {:?}", device.container)))
            .err(),
    );
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

fn refused(call: String, errno: Errno, device: &NetDevice) -> Refused {
    let at = Pointer::CONFIG.key("linux").key("netDevices");
    Refused::call(call, errno).at(at.key(&device.host))
}

fn network_namespace_of(host: &Host, pid: i32) -> Result<OwnedFd, Error> {
    let path = format!("{pid}/ns/net");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(host.proc_dir()?, path.as_str(), flags, Mode::empty())
        .map_err(|errno| Refused::new("open", format!("/proc/{path}"), errno).into())
}

/// A socket stays where it was opened, so the namespace is entered by a thread that ends right after, and never by one of the host
/// program's. Signals are kept from it: a handler of the host program would run in the wrong namespace.
fn open_socket_in(namespace: BorrowedFd<'_>) -> Result<Socket, Error> {
    let refused = |call: &'static str| move |errno: Errno| Error::from(Refused::call(call, errno));
    let open = || {
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
            .map_err(refused("setns(CLONE_NEWNET)"))?;
        Socket::open().map_err(refused("socket(AF_NETLINK, NETLINK_ROUTE)"))
    };
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("garboard-netns".to_owned());
        let thread = sys::with_signals_blocked(|| builder.spawn_scoped(scope, open));
        let thread = thread.map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
            refused("clone(thread)")(errno)
        })?;
        thread.join().unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Internal,
                "the thread that enters the network namespace panicked",
            ))
        })
    })
}
