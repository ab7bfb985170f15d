//! Netlink messages as bytes: the header, the fixed part and the attributes (`linux/netlink.h`, `linux/rtnetlink.h`).
//!
//! Own code of a few lines, because what is read here is partly another's to shape: the core container may make links
//! of any kind in its network namespace, and a reader that insists on understanding all of them could be stopped by one.
//! This one looks at the attributes it knows and skips the rest. All numbers are in the byte order of the machine, and
//! all parts are padded to 4 bytes.

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct nlattr`.
const ATTRIBUTE: usize = 4;
/// The attribute's value is attributes again (`NLA_F_NESTED`); the two highest bits of a type are flags.
const NESTED: u16 = 1 << 15;
const TYPE_MASK: u16 = 0x3fff;

/// A message being written.
#[derive(Debug)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// Of type `kind`, with the fixed part that this type has.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(fixed);
        let mut message = Self(bytes);
        message.pad();
        message
    }

    /// Adds an attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let start = self.open(kind);
        self.0.extend_from_slice(value);
        self.close(start);
        self
    }

    /// Adds an attribute of 32 bits.
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Adds a text with the NUL at its end.
    pub(crate) fn text(mut self, kind: u16, value: &str) -> Self {
        let start = self.open(kind);
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
        self.close(start);
        self
    }

    /// Adds an attribute that is made of what `inner` adds.
    pub(crate) fn nest(mut self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        let start = self.open(kind | NESTED);
        self = inner(self);
        self.close(start);
        self
    }

    /// Adds bytes that stand before the attributes of a nest (the `ifinfomsg` of a veth's peer).
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// The message with its length and `sequence`, by which the answer is known.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("our own messages are a few hundred bytes");
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length = u16::try_from(self.0.len() - start).expect("our own attributes are a few hundred bytes");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// One message of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// What follows the header.
    pub(crate) body: &'a [u8],
}

/// The messages in one datagram, up to the first that is cut short.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = number(bytes.get(..4)?) as usize;
        let message = bytes.get(..length).filter(|message| message.len() >= HEADER)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Received {
            kind: short(&message[4..6]),
            flags: short(&message[6..8]),
            sequence: number(&message[8..12]),
            body: &message[HEADER..],
        })
    })
}

/// The attributes in `bytes`: type without its flags, and value; up to the first that is cut short.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(short(bytes.get(..2)?));
        let attribute = bytes.get(..length).filter(|attribute| attribute.len() >= ATTRIBUTE)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((short(&attribute[2..4]) & TYPE_MASK, &attribute[ATTRIBUTE..]))
    })
}

/// The first 2 bytes as a number; 0 if there are fewer.
pub(crate) fn short(bytes: &[u8]) -> u16 {
    bytes.first_chunk().map_or(0, |bytes| u16::from_ne_bytes(*bytes))
}

/// The first 4 bytes as a number; 0 if there are fewer.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// A text up to its NUL. What is not UTF-8 becomes what no name of ours has.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let bytes = Message::new(16, 5, &[1, 2, 3, 4])
            .text(3, "cz-plant")
            .nest(18, |nest| nest.number(1, 7).attribute(2, &[9]))
            .finish(42);
        let found: Vec<_> = messages(&bytes).collect();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].kind, found[0].flags, found[0].sequence), (16, 5, 42));
        let outer: Vec<_> = attributes(&found[0].body[4..]).collect();
        assert_eq!(text(outer[0].1), "cz-plant");
        assert_eq!(attributes(outer[1].1).collect::<Vec<_>>(), [(1, &7u32.to_ne_bytes()[..]), (2, &[9][..])]);
    }

    #[test]
    fn every_cut_of_a_message_is_survived() {
        let bytes = Message::new(16, 0, &[0; 16]).text(3, "eth0").nest(18, |nest| nest.text(1, "veth")).finish(1);
        for end in 0..bytes.len() {
            for message in messages(&bytes[..end]) {
                attributes(message.body.get(16..).unwrap_or_default()).for_each(drop);
            }
        }
        // Lengths of 0 and of less than a header end the list, they do not loop.
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0, 4, 0, 1, 0]).count(), 0);
    }
}
