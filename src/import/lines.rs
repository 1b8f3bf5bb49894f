//! Lines of bounded length, with their numbers.

use std::io::{self, BufRead};

/// The longest line, in bytes without its end.
pub const LINE_MAX: usize = 1024 * 1024;

/// How many bytes without an end of a line are passed over before the source is taken for something else than lines.
const ENDLESS: u64 = 64 << 20;

/// A line that holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// Its bytes, without its end.
    Whole(&'a [u8]),
    /// It is longer than [`LINE_MAX`], and was skipped without being kept.
    TooLong,
}

/// Reads lines one by one into one buffer.
#[derive(Debug)]
pub struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `source`.
    pub const fn new(source: R) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            number: 0,
        }
    }

    /// The next line that is not blank, its number (from 1), and how many bytes were read up to its end since the last one;
    /// `None` at the end. A byte order mark at the very beginning is no part of the first line.
    ///
    /// # Errors
    /// [`io::Error`] when the source cannot be read.
    pub fn next(&mut self) -> io::Result<Option<(u64, Line<'_>, u64)>> {
        let mut read = 0;
        loop {
            let (bytes, too_long) = self.read_line()?;
            if bytes == 0 {
                return Ok(None);
            }
            read += bytes;
            self.number += 1;
            if self.number == 1 && self.buffer.starts_with(b"\xef\xbb\xbf") {
                self.buffer.drain(..3);
            }
            if too_long {
                return Ok(Some((self.number, Line::TooLong, read)));
            }
            if !self.buffer.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some((self.number, Line::Whole(&self.buffer), read)));
            }
        }
    }

    /// Reads a line into the buffer; returns its length with its end, 0 at the end, and whether it was too long to keep.
    fn read_line(&mut self) -> io::Result<(u64, bool)> {
        self.buffer.clear();
        let (mut length, mut too_long) = (0_u64, false);
        loop {
            let available = match self.source.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = available.iter().position(|byte| *byte == b'\n');
            let (content, consumed) = match end {
                Some(end) => (end, end + 1),
                None => (available.len(), available.len()),
            };
            too_long |= self.buffer.len() + content > LINE_MAX;
            if too_long {
                self.buffer.clear();
            } else if let Some(content) = available.get(..content) {
                self.buffer.extend_from_slice(content);
            }
            self.source.consume(consumed);
            length += u64::try_from(consumed).unwrap_or(u64::MAX);
            if length > ENDLESS && end.is_none() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("line {} has no end", self.number + 1),
                ));
            }
            if end.is_some() || consumed == 0 {
                return Ok((length, too_long));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// Every line as `number:content`, and the bytes read.
    fn read(text: &[u8]) -> (Vec<String>, u64) {
        let mut lines = Lines::new(BufReader::with_capacity(7, text));
        let (mut found, mut total) = (Vec::new(), 0);
        while let Some((number, line, bytes)) = lines.next().unwrap() {
            total += bytes;
            found.push(match line {
                Line::Whole(bytes) => format!("{number}:{}", std::str::from_utf8(bytes).unwrap()),
                Line::TooLong => format!("{number} is too long"),
            });
        }
        (found, total)
    }

    #[test]
    fn lines_are_numbered_from_one_and_blank_ones_count_but_are_skipped() {
        let (lines, bytes) = read(b"one\n\n \t\r\na longer line\r\nlast");
        assert_eq!(lines, ["1:one", "4:a longer line\r", "5:last"]);
        assert_eq!(bytes, 28);
        assert_eq!(read(b""), (vec![], 0));
        assert_eq!(read(b"\n"), (vec![], 0));
    }

    #[test]
    fn a_source_without_any_end_of_a_line_is_given_up() {
        let mut lines = Lines::new(BufReader::with_capacity(1 << 20, std::io::repeat(0)));
        let error = lines.next().unwrap_err();
        assert_eq!(error.to_string(), "line 1 has no end");
    }

    #[test]
    fn a_byte_order_mark_at_the_beginning_is_no_content() {
        assert_eq!(read(b"\xef\xbb\xbfx\n").0, ["1:x"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_is_read() {
        let longest = "x".repeat(LINE_MAX);
        let text = format!("{longest}\n{longest}y\nz\n");
        let (lines, bytes) = read(text.as_bytes());
        assert_eq!(
            lines,
            [format!("1:{longest}"), "2 is too long".into(), "3:z".into()]
        );
        assert_eq!(bytes, text.len() as u64);
    }
}
