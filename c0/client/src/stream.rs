//! Server-sent events: bytes to messages. The format is that of the HTML standard, section 9.2.6.

/// The most bytes of one line and of one message: an event is a few hundred bytes, one with a long chain of causes a few
/// thousand.
pub(crate) const MESSAGE_LIMIT: usize = 256 * 1024;

/// One thing that a stream says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// The data of one message, its lines joined by line feeds.
    Data(Vec<u8>),
    /// A comment; servers send them to show that they live.
    Comment,
}

/// A line or message over [`MESSAGE_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Takes a stream in pieces of any size.
///
/// Fields other than `data` are left out: an event carries its number and its kind in its data.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    after_return: bool,
}

impl Parser {
    /// Takes the next piece; gives what is complete with it.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<Vec<Item>, TooLarge> {
        let mut items = Vec::new();
        for &byte in piece {
            let after_return = std::mem::take(&mut self.after_return);
            match byte {
                // The second half of a line end that was taken as one already.
                b'\n' if after_return => {}
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    items.extend(self.end_line()?);
                }
                _ if self.line.len() == MESSAGE_LIMIT => return Err(TooLarge),
                _ => self.line.push(byte),
            }
        }
        Ok(items)
    }

    fn end_line(&mut self) -> Result<Option<Item>, TooLarge> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return Ok(self.data.take().map(Item::Data));
        }
        let colon = line.iter().position(|b| *b == b':');
        let (field, value) = colon.map_or((&line[..], &[][..]), |at| (&line[..at], &line[at + 1..]));
        match field {
            b"" => Ok(Some(Item::Comment)),
            b"data" => {
                let value = value.strip_prefix(b" ").unwrap_or(value);
                let data = match self.data.take() {
                    None => value.to_vec(),
                    Some(before) => [&before, &b"\n"[..], value].concat(),
                };
                if data.len() > MESSAGE_LIMIT {
                    return Err(TooLarge);
                }
                self.data = Some(data);
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(pieces: &[&[u8]]) -> Result<Vec<Item>, TooLarge> {
        let mut parser = Parser::default();
        let items = pieces.iter().map(|piece| parser.take(piece)).collect::<Result<Vec<_>, _>>()?;
        Ok(items.concat())
    }

    #[test]
    fn messages_end_with_an_empty_line() {
        let stream = b"id: 7\nevent: x\ndata: one\ndata:two\n\n: alive\n\r\ndata\r\rdata: cut off";
        let expected = vec![Item::Data(b"one\ntwo".to_vec()), Item::Comment, Item::Data(Vec::new())];
        assert_eq!(parse(&[stream]), Ok(expected));
    }

    #[test]
    fn endless_line_and_endless_message_are_refused() {
        assert_eq!(parse(&[&vec![b'x'; MESSAGE_LIMIT + 1]]), Err(TooLarge));
        let line = [b"data:", &[b'x'; 1000][..], b"\n"].concat();
        assert_eq!(parse(&vec![line.as_slice(); MESSAGE_LIMIT / 1000 + 1]), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn cuts_between_pieces_do_not_matter(
            text in "(data: ?[ab]{0,3}|: c|id: 1|\n|\r|\r\n){0,20}", cuts in prop::collection::vec(0usize..200, 0..5)
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(parse(&pieces), parse(&[bytes]));
        }
    }
}
