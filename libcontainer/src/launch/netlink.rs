//! The rtnetlink requests that moving a network device takes, and nothing more: messages are written and read byte for byte
//! (linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h).
//!
//! A [`Socket`] stays in the network namespace of the thread that opened it, wherever it is used. What a message says is checked for length
//! before it is read: a short or torn one is EBADMSG, never a panic.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

use crate::kernel_file::retry;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFF_UP: u32 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_F_PERMANENT: u32 = 0x80;
/// What an administrator sets: NODAD, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN. The rest is the kernel's to say.
const IFA_F_KEPT: u32 = 0x02 | 0x100 | 0x200 | 0x400;
const RT_SCOPE_UNIVERSE: u8 = 0;

const HEADER: usize = 16;
/// struct ifinfomsg
const LINK: usize = 16;
/// struct ifaddrmsg
const ADDRESS: usize = 8;
/// The kernel fills at most 32 kB of a dump into one datagram.
const DATAGRAM: usize = 32 * 1024;
/// How often a dump that the kernel calls inconsistent is asked for again.
const DUMPS: usize = 8;

/// An address of a device, as it is set again in another namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    flags: u32,
    /// IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST and IFA_RT_PRIORITY with their values in network order.
    attributes: Vec<(u16, Vec<u8>)>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // IFA_ADDRESS is the other side's on a point-to-point link; IPv6 has IFA_LOCAL there only.
        let value = |kind| self.attributes.iter().find(|(found, _)| *found == kind);
        let bytes = value(IFA_LOCAL).or_else(|| value(IFA_ADDRESS));
        let bytes = bytes.map_or(&[][..], |(_, bytes)| bytes);
        if let Ok(four) = <[u8; 4]>::try_from(bytes) {
            write!(f, "{}/{}", std::net::Ipv4Addr::from(four), self.prefix)
        } else if let Ok(sixteen) = <[u8; 16]>::try_from(bytes) {
            write!(f, "{}/{}", std::net::Ipv6Addr::from(sixteen), self.prefix)
        } else {
            write!(f, "of family {}", self.family)
        }
    }
}

/// An rtnetlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens one in the network namespace of the calling thread.
    pub fn open() -> Result<Socket, Errno> {
        // No protocol is NETLINK_ROUTE, which is 0.
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Socket { fd, sequence: 0 })
    }

    /// The index of the device `name`. Errors: ENODEV.
    pub fn link(&mut self, name: &str) -> Result<u32, Errno> {
        let mut message = Message::new(RTM_GETLINK, 0);
        message.fixed(&[0; LINK]);
        message.name(name);
        let mut index = None;
        self.exchange(message, |body| {
            index = body.get(4..8).map(number);
            Ok(())
        })?;
        index.ok_or(Errno::BADMSG)
    }

    /// The permanent addresses of global scope of the device `index`: those that an administrator has set, and that mean the same anywhere.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<Address>, Errno> {
        for _ in 0..DUMPS {
            let mut message = Message::new(RTM_GETADDR, NLM_F_DUMP);
            message.fixed(&[0; ADDRESS]);
            let mut found = Vec::new();
            let result = self.exchange(message, |body| {
                found.extend(parse_address(body, index)?);
                Ok(())
            });
            match result {
                Err(Errno::INTR) => {}
                result => return result.map(|()| found),
            }
        }
        Err(Errno::AGAIN)
    }

    /// Moves the device into `namespace` and names it `name`, both or neither. The kernel takes it down and its addresses away.
    /// Errors: EEXIST when the name is taken there; EINVAL for a device that is bound to its namespace, such as `lo`.
    pub fn move_link(
        &mut self,
        index: u32,
        namespace: BorrowedFd<'_>,
        name: &str,
    ) -> Result<(), Errno> {
        let mut message = Message::new(RTM_NEWLINK, NLM_F_ACK);
        message.fixed(&link_header(index, 0, 0));
        message.name(name);
        message.attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        self.exchange(message, |_| Ok(()))
    }

    /// Sets the device up.
    pub fn set_up(&mut self, index: u32) -> Result<(), Errno> {
        let mut message = Message::new(RTM_NEWLINK, NLM_F_ACK);
        message.fixed(&link_header(index, IFF_UP, IFF_UP));
        self.exchange(message, |_| Ok(()))
    }

    /// Gives the device an address.
    pub fn add_address(&mut self, index: u32, address: &Address) -> Result<(), Errno> {
        let mut message = Message::new(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
        let [a, b, c, d] = index.to_ne_bytes();
        message.fixed(&[
            address.family,
            address.prefix,
            0,
            RT_SCOPE_UNIVERSE,
            a,
            b,
            c,
            d,
        ]);
        for (kind, value) in &address.attributes {
            message.attribute(*kind, value);
        }
        message.attribute(IFA_FLAGS, &address.flags.to_ne_bytes());
        self.exchange(message, |_| Ok(()))
    }

    /// Sends a request and hands every message of the answer to `each`, until the kernel says that it was the last.
    /// Errors: what the kernel answers; EINTR for a dump that changed while it was made.
    fn exchange(
        &mut self,
        message: Message,
        mut each: impl FnMut(&[u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        self.sequence += 1;
        let dump = message.flags & NLM_F_DUMP == NLM_F_DUMP;
        let acknowledged = message.flags & NLM_F_ACK != 0;
        let request = message.finish(self.sequence);
        let kernel = SocketAddrNetlink::new(0, 0);
        retry(|| sendto(&self.fd, &request, SendFlags::empty(), &kernel))?;
        let mut buffer = vec![0; DATAGRAM];
        let mut torn = Ok(());
        loop {
            let (length, _) = retry(|| recv(&self.fd, &mut buffer[..], RecvFlags::empty()))?;
            let mut rest = &buffer[..length];
            while !rest.is_empty() {
                let (header, body, next) = split(rest)?;
                rest = next;
                if header.sequence != self.sequence {
                    continue; // the end of an answer that we gave up on
                }
                if header.flags & NLM_F_DUMP_INTR != 0 {
                    torn = Err(Errno::INTR);
                }
                match header.kind {
                    NLMSG_ERROR => return outcome(body),
                    NLMSG_DONE => return torn,
                    _ => each(body)?,
                }
                if !dump && !acknowledged {
                    return Ok(());
                }
            }
        }
    }
}

/// A request in the making; [`Message::finish`] fills in its length.
struct Message {
    bytes: Vec<u8>,
    kind: u16,
    flags: u16,
}

impl Message {
    fn new(kind: u16, flags: u16) -> Message {
        Message {
            bytes: vec![0; HEADER],
            kind,
            flags: flags | NLM_F_REQUEST,
        }
    }

    /// The structure that follows the header; a multiple of 4 bytes.
    fn fixed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// struct rtattr, the value, and zeros up to a multiple of 4. Values are a few bytes each, so their lengths fit.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn name(&mut self, name: &str) {
        let mut value = name.as_bytes().to_vec();
        value.push(0);
        self.attribute(IFLA_IFNAME, &value);
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[4..6].copy_from_slice(&self.kind.to_ne_bytes());
        self.bytes[6..8].copy_from_slice(&self.flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// What of struct nlmsghdr decides anything.
struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
}

/// (the first message's header, its body, the messages behind it)
fn split(bytes: &[u8]) -> Result<(Header, &[u8], &[u8]), Errno> {
    let field = bytes.get(..HEADER).ok_or(Errno::BADMSG)?;
    let length = number(&field[0..4]) as usize;
    let message = bytes
        .get(..length)
        .filter(|message| message.len() >= HEADER)
        .ok_or(Errno::BADMSG)?;
    let header = Header {
        kind: half(&field[4..6]),
        flags: half(&field[6..8]),
        sequence: number(&field[8..12]),
    };
    let next = length.next_multiple_of(4).min(bytes.len());
    Ok((header, &message[HEADER..], &bytes[next..]))
}

/// struct nlmsgerr: 0 is an acknowledgement.
fn outcome(body: &[u8]) -> Result<(), Errno> {
    match body.get(..4).map(|code| number(code).cast_signed()) {
        Some(0) => Ok(()),
        Some(code) => Err(Errno::from_raw_os_error(-code)),
        None => Err(Errno::BADMSG),
    }
}

fn link_header(index: u32, flags: u32, change: u32) -> [u8; LINK] {
    let mut header = [0; LINK]; // family and type unspecified
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// The address in an RTM_NEWADDR message, if it is the device's, permanent and global.
fn parse_address(body: &[u8], index: u32) -> Result<Option<Address>, Errno> {
    let fixed = body.get(..ADDRESS).ok_or(Errno::BADMSG)?;
    if number(&fixed[4..8]) != index || fixed[3] != RT_SCOPE_UNIVERSE {
        return Ok(None);
    }
    let mut flags = u32::from(fixed[2]);
    let mut attributes = Vec::new();
    let mut rest = &body[ADDRESS..];
    while rest.len() >= 4 {
        let length = usize::from(half(&rest[0..2]));
        let value = rest.get(4..length).ok_or(Errno::BADMSG)?;
        match half(&rest[2..4]) {
            IFA_FLAGS => flags = value.get(..4).map(number).ok_or(Errno::BADMSG)?,
            kind @ (IFA_ADDRESS | IFA_LOCAL | IFA_BROADCAST | IFA_RT_PRIORITY) => {
                attributes.push((kind, value.to_vec()));
            }
            // The label holds the old name, the cache info times of the old namespace.
            _ => {}
        }
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    Ok((flags & IFA_F_PERMANENT != 0).then(|| Address {
        family: fixed[0],
        prefix: fixed[1],
        flags: flags & IFA_F_KEPT,
        attributes,
    }))
}

/// Four bytes in the machine's order.
fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_ne_bytes)
}

/// Two bytes in the machine's order.
fn half(bytes: &[u8]) -> u16 {
    bytes.try_into().map_or(0, u16::from_ne_bytes)
}
