//! A smart card: what pcsc and opensc-tool(1) say to a card and hear of it, through a real pcscd.
//!
//! The card is a thread of the test behind the virtual reader of vsmartcard. All of it runs in namespaces of its own: pcscd's
//! socket below `/run`, and the port on which that reader waits for its card.

use std::ffi::CString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::mount::{MsFlags, mount};
use pcsc::{Card, Context, Protocols, ReaderState, Scope, ShareMode, State};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::{Ended, PATIENCE, enter_own_namespaces, until};

const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
/// Any port: nobody else is in the network namespace.
const PORT: u16 = 35_963;
const READER: &str = "Virtual PCD 00 00";
/// A card without historical bytes that speaks T=1 (ISO/IEC 7816-3, section 8).
const ANSWER_TO_RESET: [u8; 5] = [0x3b, 0x80, 0x80, 0x01, 0x01];
const COMMANDS: usize = 24;

/// pcscd with the one reader.
fn start_daemon(folder: &Path) -> Ended {
    let reader = format!(
        "FRIENDLYNAME \"Virtual PCD\"\nDEVICENAME /dev/null:{PORT:#x}\nLIBPATH {DRIVER}\nCHANNELID {PORT:#x}\n"
    );
    fs::write(folder.join("reader"), reader).unwrap();
    let mut pcscd = Command::new("pcscd");
    pcscd.args(["--foreground", "--config"]).arg(folder).stdout(Stdio::null());
    Ended(pcscd.spawn().expect("pcscd is installed"))
}

/// What a card heard.
type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

/// Lets a card be in the reader until the daemon ends. vpcd's messages are a length of two bytes, and so many; one byte is a
/// command to the reader.
fn insert_card() -> Heard {
    let mut reader = until("the reader is there", || TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).ok());
    let heard = Heard::default();
    let hears = Arc::clone(&heard);
    thread::spawn(move || -> std::io::Result<()> {
        loop {
            let mut length = [0; 2];
            reader.read_exact(&mut length)?;
            let mut message = vec![0; u16::from_be_bytes(length).into()];
            reader.read_exact(&mut message)?;
            let answer = match message[..] {
                // Off, on, reset.
                [0..=2] => continue,
                [4] => ANSWER_TO_RESET.to_vec(),
                _ => {
                    let answer = answer(&message);
                    hears.lock().unwrap().push(message);
                    answer
                }
            };
            let length = u16::try_from(answer.len()).unwrap();
            reader.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
        }
    });
    heard
}

/// As many bytes as the command asks for, each made of the command and its place, and a success that is made of it as well.
fn answer(command: &[u8]) -> Vec<u8> {
    let sum = command.iter().fold(0_u8, |sum, byte| sum.rotate_left(1) ^ byte);
    let expected = match command {
        [_, _, _, _, expected] => Some(expected),
        [_, _, _, _, data, rest @ ..] if rest.len() > (*data).into() => rest.last(),
        _ => None,
    };
    // 0 stands for 256.
    let length = expected.map_or(0, |expected| usize::from(expected.wrapping_sub(1)) + 1);
    let data = (0..length).map(|place| sum ^ u8::try_from(place).expect("at most 256"));
    data.chain([0x90, sum]).collect()
}

/// A command of each of the four short forms (ISO/IEC 7816-4, section 5.1): with and without data, with and without an answer.
fn any_command() -> impl Strategy<Value = Vec<u8>> {
    let instruction = (any::<u8>()).prop_filter("no instruction", |byte| !matches!(byte >> 4, 6 | 9));
    let data = prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 1..=255)];
    let head = (prop_oneof![Just(0), Just(0x80)], instruction, any::<u8>(), any::<u8>());
    (head, data, any::<Option<u8>>()).prop_map(|((class, instruction, p1, p2), data, expected)| {
        let length = (!data.is_empty()).then(|| u8::try_from(data.len()).expect("at most 255"));
        [class, instruction, p1, p2].into_iter().chain(length).chain(data).chain(expected).collect()
    })
}

/// The card in the reader, as soon as it is there.
fn card(context: &Context) -> Card {
    let name = CString::new(READER).unwrap();
    let mut states = [ReaderState::new(name.clone(), State::UNAWARE)];
    while !states[0].event_state().contains(State::PRESENT) {
        states[0].sync_current_state();
        context.get_status_change(PATIENCE, &mut states).unwrap();
    }
    context.connect(&name, ShareMode::Shared, Protocols::T1).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn opensc_tool(arguments: &[String]) -> String {
    // Its drivers of cards would ask the card who it is.
    let output =
        Command::new("opensc-tool").args(["--reader", READER, "--card-driver", "default"]).args(arguments).output();
    let output = output.expect("opensc-tool is installed");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What opensc-tool printed of the answer to each command: `Received (SW1=0x90, SW2=0x00)`, and lines of up to 16 bytes, in
/// hexadecimal and then as characters. What is shorter than one line has no room between the two.
fn printed(output: &str) -> Vec<Vec<u8>> {
    let byte = |text: &str| u8::from_str_radix(text, 16).unwrap();
    let answers = output.split("Received (SW1=0x").skip(1).map(|answer| {
        let mut lines = answer.lines();
        let (sw1, rest) = lines.next().unwrap().split_once(", SW2=0x").unwrap();
        let bytes = lines.take_while(|line| !line.starts_with("Sending: ")).enumerate().flat_map(|(number, line)| {
            let columns = if number == 0 { line.len() / 4 * 3 } else { 48 };
            line[..columns].split_whitespace().map(byte).collect::<Vec<_>>()
        });
        bytes.chain([byte(sw1), byte(&rest[..2])]).collect()
    });
    answers.collect()
}

#[test]
fn netns_a_card_hears_and_says_the_same_by_pcsc_and_by_opensc() {
    enter_own_namespaces();
    mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let _daemon = start_daemon(folder.path());
    let heard = insert_card();
    let take_heard = || std::mem::take(&mut *heard.lock().unwrap());

    let mut runner = TestRunner::deterministic();
    let commands: Vec<_> = (0..COMMANDS).map(|_| any_command().new_tree(&mut runner).unwrap().current()).collect();
    let answers: Vec<_> = commands.iter().map(|command| answer(command)).collect();
    let context = until("pcscd listens", || Context::establish(Scope::User).ok());
    let card = card(&context);
    assert_eq!(card.status2_owned().unwrap().atr(), ANSWER_TO_RESET);
    let mut room = [0; 258];
    let received: Vec<_> = commands.iter().map(|command| card.transmit(command, &mut room).unwrap().to_vec()).collect();
    assert_eq!(received, answers);
    assert_eq!(take_heard(), commands);
    drop(card);

    assert_eq!(opensc_tool(&["--atr".to_owned()]).trim(), "3b:80:80:01:01");
    take_heard();
    let sent: Vec<_> = commands.iter().flat_map(|command| ["--send-apdu".to_owned(), hex(command)]).collect();
    assert_eq!(printed(&opensc_tool(&sent)), answers);
    assert_eq!(take_heard(), commands);
}
