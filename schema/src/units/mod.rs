//! Quantities with their units: written `192MiB`, `0.5`, `10s`, `2027-12-31T00:00:00Z`; signed as whole numbers.

mod bytes;
mod cpu;
mod quantity;
mod read;
mod span;
mod timestamp;

pub use bytes::ByteSize;
pub use cpu::Cpu;
pub use quantity::UnitError;
pub(crate) use read::text_or_number;
pub use read::{Whole, number, set, word, words};
pub use span::Span;
pub use timestamp::Timestamp;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in ["0B", "1KiB", "192MiB", "3GiB", "1023B", "16TiB"] {
            assert_eq!(text.parse::<ByteSize>().map(|v| v.to_string()).as_deref(), Ok(text));
        }
        for (text, shown, raw) in [("0.5", "0.5", 500), ("1.0", "1", 1000), ("2", "2", 2000), ("0.125", "0.125", 125)] {
            let cpu: Cpu = text.parse().unwrap();
            assert_eq!((cpu.to_string().as_str(), cpu.thousandths()), (shown, raw));
        }
        for text in ["500ms", "10s", "5m", "36h"] {
            assert_eq!(text.parse::<Span>().map(|v| v.to_string()).as_deref(), Ok(text));
        }
        let time = "2027-12-31T00:00:00Z";
        assert_eq!(time.parse::<Timestamp>().map(|v| v.to_string()).as_deref(), Ok(time));
    }

    #[test]
    fn quantities_without_unit_or_out_of_range_are_refused() {
        for text in ["", "12", "MiB", "-1MiB", "1.5MiB", "1 MiB", "01B", "99999999999999TiB", "1MB"] {
            assert!(text.parse::<ByteSize>().is_err(), "`{text}` was taken");
        }
        for text in ["", ".", "0.", ".5", "-1", "0.1234", "1e3", "NaN", "inf", "99999999999"] {
            assert!(text.parse::<Cpu>().is_err(), "`{text}` was taken");
        }
        for text in ["", "10", "s", "-1s", "1d", "1.5s"] {
            assert!(text.parse::<Span>().is_err(), "`{text}` was taken");
        }
        for text in ["", "2027-12-31", "2027-12-31T00:00:00", "2027-12-31T00:00:00+02:00", "2027-12-31T00:00:00.5Z"] {
            assert!(text.parse::<Timestamp>().is_err(), "`{text}` was taken");
        }
    }

    proptest! {
        #[test]
        fn every_quantity_reads_back(bytes: u64, thousandths: u32, ms: u64, seconds in 0i64..253_402_300_800) {
            prop_assert_eq!(ByteSize::from_bytes(bytes).to_string().parse(), Ok(ByteSize::from_bytes(bytes)));
            prop_assert_eq!(Cpu::from_thousandths(thousandths).to_string().parse(), Ok(Cpu::from_thousandths(thousandths)));
            prop_assert_eq!(Span::from_milliseconds(ms).to_string().parse(), Ok(Span::from_milliseconds(ms)));
            let time = Timestamp::from_seconds(seconds).unwrap();
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }
    }
}
