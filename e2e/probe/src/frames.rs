//! Frames that a member of a zone may send, honest and forged, and which of them may arrive. One table: `catenoid-probe forge`
//! sends it on the device, and a test of the room of zones between namespaces (`netns_forged_frames`).
//!
//! Ethernet (IEEE 802.3, 802.1Q), ARP (RFC 826), IPv4 (RFC 791), IPv6 (RFC 8200), ICMPv6 (RFC 4443), discovery (RFC 4861).

/// Where a member is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) hardware: [u8; 6],
    pub(crate) v4: [u8; 4],
    pub(crate) v6: [u8; 16],
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Whether any of it arrives at anybody.
    pub(crate) arrives: bool,
    pub(crate) frames: Vec<Vec<u8>>,
}

/// A mark that each row's packets carry: these bytes and the row's number.
const MARK: [u8; 4] = [0xca, 0x7e, 0x0f, 0x9e];
/// The port of UDP on which members hear each other, and none that the core container hears without a flow.
const PORT: u16 = 53;
/// The port that all comes from.
pub(crate) const SOURCE: u16 = 0xc000;
/// Ethernet's names for what it carries.
const IP4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const IP6: [u8; 2] = [0x86, 0xdd];
/// What follows a header of IP.
const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const ICMP6: u8 = 58;
const DESTINATION: u8 = 60;
/// Messages of ICMPv6.
const ECHO: u8 = 128;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

/// The number of the row whose mark is in `frame`.
#[must_use]
pub(crate) fn heard(frame: &[u8]) -> Option<usize> {
    let at = frame.windows(6).position(|window| window.starts_with(&MARK))?;
    Some(usize::from(u16::from_be_bytes([frame[at + 4], frame[at + 5]])))
}

/// What `from` sends to `to` and to the core container, which hears UDP at the port `open` by a flow and no other.
#[must_use]
pub(crate) fn rows(from: End, to: End, core: End, open: u16) -> Vec<Row> {
    let mut rows = Rows { from, to, core, rows: Vec::new() };
    rows.honest(open);
    rows.names();
    rows.discovery();
    rows.hidden();
    rows.encapsulated();
    rows.row("the last one", true, |this, mark| {
        this.four(this.from.v4, this.to, mark, &[(0, false, &udp4(PORT, &padded(mark)))])
    });
    rows.rows
}

struct Rows {
    from: End,
    to: End,
    core: End,
    rows: Vec<Row>,
}

impl Rows {
    fn row(&mut self, name: &'static str, arrives: bool, frames: impl FnOnce(&Self, [u8; 6]) -> Vec<Vec<u8>>) {
        let number = u16::try_from(self.rows.len()).expect("the table is short").to_be_bytes();
        let mark = [MARK[0], MARK[1], MARK[2], MARK[3], number[0], number[1]];
        let frames = frames(self, mark);
        self.rows.push(Row { name, arrives, frames });
    }

    /// One frame of IPv6 from the sender to its neighbour.
    fn six(&self, next: u8, payload: &[u8]) -> Vec<Vec<u8>> {
        vec![ethernet(self.to.hardware, self.from.hardware, IP6, &ip6(self.from.v6, self.to.v6, next, payload))]
    }

    /// The same in two fragments, the first of `at` bytes; `before` are headers that are not cut, of which the first is of the
    /// kind `first`.
    fn cut(&self, mark: [u8; 6], (first, before): (u8, &[u8]), next: u8, payload: &[u8], at: usize) -> Vec<Vec<u8>> {
        let (head, tail) = payload.split_at(at);
        let id = u32::from_be_bytes([1, 2, mark[4], mark[5]]);
        let pieces = [(0, true, head), (at, false, tail)];
        pieces
            .into_iter()
            .flat_map(|(offset, more, piece)| {
                let fragment = [before, &fragment(next, offset, more, id), piece].concat();
                self.six(if before.is_empty() { FRAGMENT } else { first }, &fragment)
            })
            .collect()
    }

    /// An advertisement of `target`, as the payload of IPv6.
    fn advertisement(&self, target: End, mark: [u8; 6]) -> Vec<u8> {
        let link = [&[2, 1][..], &self.from.hardware].concat();
        let body = [&[0x20, 0, 0, 0][..], &target.v6, &link, &unknown_option(mark)].concat();
        icmp6(self.from.v6, self.to.v6, ADVERTISEMENT, &body)
    }

    fn datagram(&self, to: End, port: u16, mark: [u8; 6]) -> Vec<u8> {
        udp(&self.from.v6, &to.v6, port, &padded(mark))
    }

    /// In `pieces`: where each begins, whether more follow, and the bytes.
    fn four(&self, source: [u8; 4], to: End, mark: [u8; 6], pieces: &[(usize, bool, &[u8])]) -> Vec<Vec<u8>> {
        let id = u16::from_be_bytes([mark[5], 1]);
        let packets = pieces.iter().map(|(offset, more, piece)| ip4(source, to.v4, (*offset, *more, id), piece));
        packets.map(|packet| ethernet(to.hardware, self.from.hardware, IP4, &packet)).collect()
    }

    fn arp(&self, to: [u8; 6], operation: u8, sender: ([u8; 6], [u8; 4]), mark: [u8; 6]) -> Vec<Vec<u8>> {
        let body =
            [&[0, 1, 8, 0, 6, 4, 0, operation][..], &sender.0, &sender.1, &[0; 6], &self.to.v4, &padded(mark)].concat();
        vec![ethernet(to, self.from.hardware, ARP, &body)]
    }

    /// What has to arrive, or the rules keep out too much.
    fn honest(&mut self, open: u16) {
        self.row("UDP over IPv4", true, |this, mark| {
            this.four(this.from.v4, this.to, mark, &[(0, false, &udp4(PORT, &padded(mark)))])
        });
        self.row("UDP over IPv4 in two fragments", true, |this, mark| {
            let whole = udp4(PORT, &padded(mark));
            let (head, tail) = whole.split_at(8);
            this.four(this.from.v4, this.to, mark, &[(0, true, head), (8, false, tail)])
        });
        self.row("UDP over IPv6", true, |this, mark| this.six(UDP, &this.datagram(this.to, PORT, mark)));
        self.row("UDP over IPv6 in two fragments", true, |this, mark| {
            this.cut(mark, (0, &[]), UDP, &this.datagram(this.to, PORT, mark), 16)
        });
        self.row("UDP over IPv6 behind destination options", true, |this, mark| {
            let payload = [&options(UDP), &this.datagram(this.to, PORT, mark)[..]].concat();
            this.six(DESTINATION, &payload)
        });
        self.row("UDP over IPv6 in two fragments behind destination options", true, |this, mark| {
            let before = options(FRAGMENT);
            this.cut(mark, (DESTINATION, &before), UDP, &this.datagram(this.to, PORT, mark), 16)
        });
        self.row("echo request over IPv6 in two fragments", true, |this, mark| {
            let echo = icmp6(this.from.v6, this.to.v6, ECHO, &[&[0, 1, 0, 1][..], &padded(mark)].concat());
            this.cut(mark, (0, &[]), ICMP6, &echo, 16)
        });
        self.row("ARP request", true, |this, mark| this.arp([0xff; 6], 1, (this.from.hardware, this.from.v4), mark));
        self.row("ARP reply", true, |this, mark| {
            this.arp(this.to.hardware, 2, (this.from.hardware, this.from.v4), mark)
        });
        self.row("neighbour advertisement", true, |this, mark| this.six(ICMP6, &this.advertisement(this.from, mark)));
        self.row("neighbour solicitation", true, |this, mark| {
            let group = solicited_node(this.to.v6);
            let body = [&[0; 4][..], &this.to.v6, &[1, 1], &this.from.hardware, &unknown_option(mark)].concat();
            let packet = ip6(this.from.v6, group, ICMP6, &icmp6(this.from.v6, group, SOLICITATION, &body));
            vec![ethernet([0x33, 0x33, group[12], group[13], group[14], group[15]], this.from.hardware, IP6, &packet)]
        });
        self.row("UDP to the core container by a flow", true, |this, mark| {
            this.four(this.from.v4, this.core, mark, &[(0, false, &udp4(open, &padded(mark)))])
        });
    }

    /// Under another's name, and to those whom no flow permits.
    fn names(&mut self) {
        self.row("another's IPv4 address", false, |this, mark| {
            this.four(this.core.v4, this.to, mark, &[(0, false, &udp4(PORT, &padded(mark)))])
        });
        self.row("another's IPv4 address in fragments", false, |this, mark| {
            let whole = udp4(PORT, &padded(mark));
            let (head, tail) = whole.split_at(8);
            this.four(this.core.v4, this.to, mark, &[(0, true, head), (8, false, tail)])
        });
        self.row("another's IPv6 address", false, |this, mark| {
            let payload = udp(&this.core.v6, &this.to.v6, PORT, &padded(mark));
            let packet = ip6(this.core.v6, this.to.v6, UDP, &payload);
            vec![ethernet(this.to.hardware, this.from.hardware, IP6, &packet)]
        });
        self.row("another's hardware address", false, |this, mark| {
            let packet = ip4(this.from.v4, this.to.v4, (0, false, 7), &udp4(PORT, &padded(mark)));
            vec![ethernet(this.to.hardware, this.core.hardware, IP4, &packet)]
        });
        self.row("ARP reply for another's address", false, |this, mark| {
            this.arp(this.to.hardware, 2, (this.from.hardware, this.core.v4), mark)
        });
        self.row("ARP request from another's address", false, |this, mark| {
            this.arp([0xff; 6], 1, (this.from.hardware, this.core.v4), mark)
        });
        self.row("ARP reply that names another's hardware", false, |this, mark| {
            this.arp(this.to.hardware, 2, (this.core.hardware, this.from.v4), mark)
        });
        self.row("reverse ARP", false, |this, mark| {
            this.arp(this.to.hardware, 3, (this.from.hardware, this.from.v4), mark)
        });
        self.row("UDP to everybody", false, |this, mark| {
            let packet = ip4(this.from.v4, [255; 4], (0, false, 8), &udp4(PORT, &padded(mark)));
            vec![ethernet([0xff; 6], this.from.hardware, IP4, &packet)]
        });
        self.row("UDP to all nodes of the link", false, |this, mark| {
            let all = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            let packet = ip6(this.from.v6, all, UDP, &udp(&this.from.v6, &all, PORT, &padded(mark)));
            vec![ethernet([0x33, 0x33, 0, 0, 0, 1], this.from.hardware, IP6, &packet)]
        });
        self.row("UDP to the core container without a flow", false, |this, mark| {
            this.four(this.from.v4, this.core, mark, &[(0, false, &udp4(PORT, &padded(mark)))])
        });
    }

    /// Discovery that lies, or that does not come whole and alone.
    fn discovery(&mut self) {
        self.row("advertisement of another's address", false, |this, mark| {
            this.six(ICMP6, &this.advertisement(this.core, mark))
        });
        for (name, kind) in [
            ("advertisement of another's address behind hop-by-hop options", HOP_BY_HOP),
            ("advertisement of another's address behind destination options", DESTINATION),
            ("advertisement of another's address behind a routing header", ROUTING),
            ("advertisement of another's address behind an authentication header", AUTHENTICATION),
            ("advertisement of another's address in a single fragment", FRAGMENT),
        ] {
            self.row(name, false, |this, mark| {
                let payload = [&header(kind, ICMP6)[..], &this.advertisement(this.core, mark)].concat();
                this.six(kind, &payload)
            });
        }
        self.row("advertisement of another's address behind two destination options", false, |this, mark| {
            let payload = [&options(DESTINATION), &options(ICMP6), &this.advertisement(this.core, mark)[..]].concat();
            this.six(DESTINATION, &payload)
        });
        self.row("advertisement of another's address in fragments", false, |this, mark| {
            this.cut(mark, (0, &[]), ICMP6, &this.advertisement(this.core, mark), 8)
        });
        self.row("advertisement of its own address in fragments", false, |this, mark| {
            this.cut(mark, (0, &[]), ICMP6, &this.advertisement(this.from, mark), 16)
        });
        self.row("solicitation in fragments", false, |this, mark| {
            let body = [&[0; 4][..], &this.to.v6, &[1, 1], &this.from.hardware, &unknown_option(mark)].concat();
            this.cut(mark, (0, &[]), ICMP6, &icmp6(this.from.v6, this.to.v6, SOLICITATION, &body), 16)
        });
        for (name, kind) in [
            ("router advertisement", ROUTER_ADVERTISEMENT),
            ("router solicitation in fragments", ROUTER_SOLICITATION),
            ("redirect", REDIRECT),
        ] {
            self.row(name, false, |this, mark| {
                let body = [&[0; 36][..], &unknown_option(mark)].concat();
                let message = icmp6(this.from.v6, this.to.v6, kind, &body);
                if kind == ROUTER_SOLICITATION {
                    this.cut(mark, (0, &[]), ICMP6, &message, 8)
                } else {
                    this.six(ICMP6, &message)
                }
            });
        }
    }

    /// Fragments whose first does not say what they are about.
    fn hidden(&mut self) {
        // The headers between fragment and message, of which the first is of the kind, and where they are cut.
        type Hidden = (&'static str, u8, fn() -> Vec<u8>, usize);
        let hidden: [Hidden; 7] = [
            ("one destination option", DESTINATION, || options(ICMP6).to_vec(), 8),
            ("two destination options", DESTINATION, || [options(DESTINATION), options(ICMP6)].concat(), 8),
            (
                "two destination options, cut behind both",
                DESTINATION,
                || [options(DESTINATION), options(ICMP6)].concat(),
                16,
            ),
            ("hop-by-hop options", HOP_BY_HOP, || options(ICMP6).to_vec(), 8),
            ("a routing header", ROUTING, || header(ROUTING, ICMP6), 8),
            ("an authentication header", AUTHENTICATION, || header(AUTHENTICATION, ICMP6), 8),
            ("a fragment", FRAGMENT, || header(FRAGMENT, ICMP6), 8),
        ];
        for (name, kind, headers, at) in hidden {
            self.row(name, false, |this, mark| {
                let payload = [headers(), this.advertisement(this.core, mark)].concat();
                this.cut(mark, (0, &[]), kind, &payload, at)
            });
        }
        self.row("destination options before and after the fragment header", false, |this, mark| {
            let payload = [&options(ICMP6), &this.advertisement(this.core, mark)[..]].concat();
            this.cut(mark, (DESTINATION, &options(FRAGMENT)), DESTINATION, &payload, 8)
        });
        self.row("a router advertisement behind destination options", false, |this, mark| {
            let body = [&[0; 12][..], &unknown_option(mark)].concat();
            let message = icmp6(this.from.v6, this.to.v6, ROUTER_ADVERTISEMENT, &body);
            let payload = [&options(DESTINATION), &options(ICMP6), &message[..]].concat();
            this.cut(mark, (0, &[]), DESTINATION, &payload, 8)
        });
        self.row("a first fragment of nothing", false, |this, mark| {
            this.cut(mark, (0, &[]), ICMP6, &this.advertisement(this.core, mark), 0)
        });
        self.row("the second fragment first", false, |this, mark| {
            let payload = [&options(DESTINATION), &options(ICMP6), &this.advertisement(this.core, mark)[..]].concat();
            let mut frames = this.cut(mark, (0, &[]), DESTINATION, &payload, 8);
            frames.reverse();
            frames
        });
        self.row("UDP to the core container without a flow in fragments", false, |this, mark| {
            let whole = udp4(PORT, &padded(mark));
            this.four(this.from.v4, this.core, mark, &[(0, true, &whole[..8]), (8, false, &whole[8..])])
        });
        self.row("the port of TCP over IPv6 behind destination options in fragments", false, |this, mark| {
            let segment = tcp(&this.from.v6, &this.to.v6, PORT, &padded(mark));
            this.cut(mark, (0, &[]), DESTINATION, &[&options(TCP), &segment[..]].concat(), 8)
        });
    }

    /// IP where the rules of the IP layer do not look for it.
    fn encapsulated(&mut self) {
        let wrapped = [
            ("within a VLAN", &[0x81, 0x00, 0, 5][..]),
            ("within VLAN 0", &[0x81, 0x00, 0, 0]),
            ("within two VLANs", &[0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 5]),
            ("within PPPoE", &[0x88, 0x64, 0x11, 0, 0, 1, 0, 40]),
            ("within MPLS", &[0x88, 0x47, 0, 0, 0x11, 0x40]),
        ];
        for (name, tag) in wrapped {
            self.row(name, false, |this, mark| {
                let packet = ip6(this.from.v6, this.to.v6, UDP, &this.datagram(this.to, PORT, mark));
                let (kind, rest) = tag.split_at(2);
                let inner = [rest, &IP6, &packet].concat();
                vec![ethernet(this.to.hardware, this.from.hardware, [kind[0], kind[1]], &inner)]
            });
        }
        self.row("within 802.3", false, |this, mark| {
            let packet = ip4(this.from.v4, this.to.v4, (0, false, 9), &udp4(PORT, &padded(mark)));
            let inner = [&[0xaa, 0xaa, 3, 0, 0, 0][..], &IP4, &packet].concat();
            let length = u16::try_from(inner.len()).expect("a short frame").to_be_bytes();
            vec![ethernet(this.to.hardware, this.from.hardware, length, &inner)]
        });
        for (name, at, value) in
            [("IPv6 that says it is version 4", 14, 0x45), ("IPv6 that says it is longer than its frame", 18, 4)]
        {
            self.row(name, false, |this, mark| {
                let mut frames = this.six(ICMP6, &this.advertisement(this.core, mark));
                frames[0][at] = value;
                frames
            });
        }
    }
}

/// Of 64 bytes, with the mark at the end: in the last of two fragments.
fn padded(mark: [u8; 6]) -> Vec<u8> {
    [&[0; 58][..], &mark].concat()
}

/// An option of discovery that nobody knows (RFC 4727): it is skipped.
fn unknown_option(mark: [u8; 6]) -> Vec<u8> {
    [&[253, 1][..], &mark].concat()
}

/// A frame.
#[must_use]
pub(crate) fn ethernet(to: [u8; 6], from: [u8; 6], kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind, payload].concat()
}

/// A packet of IPv4 with UDP, or a piece of one.
#[must_use]
pub(crate) fn ip4(from: [u8; 4], to: [u8; 4], (offset, more, id): (usize, bool, u16), payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("a short packet").to_be_bytes();
    let fragment = u16::try_from(offset / 8).expect("a short packet") | if more { 0x2000 } else { 0 };
    let id = id.to_be_bytes();
    let [high, low] = fragment.to_be_bytes();
    let mut header =
        [&[0x45, 0, length[0], length[1], id[0], id[1], high, low, 64, UDP, 0, 0][..], &from, &to].concat();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    [&header, payload].concat()
}

/// A packet of IPv6.
#[must_use]
pub(crate) fn ip6(from: [u8; 16], to: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short packet").to_be_bytes();
    [&[0x60, 0, 0, 0, length[0], length[1], next, 255][..], &from, &to, payload].concat()
}

/// Options that say nothing (PadN).
fn options(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

/// A header of the kind, behind which `next` comes.
fn header(kind: u8, next: u8) -> Vec<u8> {
    match kind {
        // Of a kind for experiments (RFC 3692), with no way left to go.
        ROUTING => vec![next, 0, 253, 0, 0, 0, 0, 0],
        AUTHENTICATION => [&[next, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1][..], &[0; 12]].concat(),
        FRAGMENT => fragment(next, 0, false, 77).to_vec(),
        _ => options(next).to_vec(),
    }
}

fn fragment(next: u8, offset: usize, more: bool, id: u32) -> [u8; 8] {
    let [high, low] = (u16::try_from(offset).expect("a short packet") | u16::from(more)).to_be_bytes();
    let [a, b, c, d] = id.to_be_bytes();
    [next, 0, high, low, a, b, c, d]
}

/// From [`SOURCE`], without a checksum, which IPv4 permits.
#[must_use]
pub(crate) fn udp4(port: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let length = u16::try_from(8 + payload.len()).expect("a short datagram").to_be_bytes();
    let source = SOURCE.to_be_bytes();
    [&source[..], &[high, low, length[0], length[1], 0, 0], payload].concat()
}

fn udp(from: &[u8; 16], to: &[u8; 16], port: u16, payload: &[u8]) -> Vec<u8> {
    summed(from, to, UDP, udp4(port, payload), 6)
}

/// The first segment of a connection.
fn tcp(from: &[u8; 16], to: &[u8; 16], port: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let header = [0xc0, 0, high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0, 0, 0, 0, 0];
    summed(from, to, TCP, [&header[..], payload].concat(), 16)
}

/// A message of ICMPv6 with its checksum.
#[must_use]
pub(crate) fn icmp6(from: [u8; 16], to: [u8; 16], kind: u8, body: &[u8]) -> Vec<u8> {
    summed(&from, &to, ICMP6, [&[kind, 0, 0, 0][..], body].concat(), 2)
}

/// With its checksum at `at`, which counts the addresses as well (RFC 8200, 8.1).
fn summed(from: &[u8; 16], to: &[u8; 16], next: u8, mut message: Vec<u8>, at: usize) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    let sum = checksum(&[&from[..], to, &length, &[0, 0, 0, next], &message].concat());
    message[at..at + 2].copy_from_slice(&sum);
    message
}

/// RFC 1071.
#[must_use]
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    [high, low]
}

/// RFC 4291, 2.7.1.
fn solicited_node(address: [u8; 16]) -> [u8; 16] {
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, address[13], address[14], address[15]]
}
