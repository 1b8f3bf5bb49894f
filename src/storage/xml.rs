//! Answers in XML, read strictly: an answer is whole, or it is none.
//!
//! What a storage says about what it holds is believed only if the text is well-formed to the closing tag of the root that was
//! expected. No document type and no entities of its own; the depth and the number of elements are bounded.

use super::request::Doubt;
use percent_encoding::percent_decode;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::borrow::Cow;

/// How deep elements may be nested: four would do.
const MAX_DEPTH: usize = 16;

/// How many elements an answer may have: a page of a few thousand objects with everything that is known of each.
const MAX_ELEMENTS: usize = 500_000;

/// An element of an answer.
#[derive(Debug)]
pub(super) struct Element<'a> {
    name: String,
    attributes: Vec<(String, String)>,
    text: Cow<'a, str>,
    children: Vec<Element<'a>>,
}

/// Reads a whole answer, whose root must be `root`.
pub(super) fn parse<'a>(body: &'a [u8], root: &str) -> Result<Element<'a>, Doubt> {
    let text = std::str::from_utf8(body).map_err(|_| Doubt("it is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element<'a>> = Vec::new();
    let mut whole: Option<Element<'a>> = None;
    let (mut elements, mut events) = (0, 0);
    loop {
        let event = reader.read_event().map_err(|_| Doubt("it is not well-formed"))?;
        events += 1;
        match event {
            Event::Start(start) => {
                begin(&start, root, &open, whole.is_some(), &mut elements)?;
                open.push(Element::new(&start)?);
            }
            Event::Empty(start) => {
                begin(&start, root, &open, whole.is_some(), &mut elements)?;
                let element = Element::new(&start)?;
                close(element, &mut open, &mut whole);
            }
            // That it is the end of what was begun last, the reader has checked.
            Event::End(_) => {
                let element = open.pop().ok_or(Doubt("it is not well-formed"))?;
                close(element, &mut open, &mut whole);
            }
            Event::Text(text) => {
                let text = text.decode().map_err(|_| Doubt("it is not UTF-8"))?;
                add(text, &mut open)?;
            }
            Event::CData(text) => {
                let text = text.decode().map_err(|_| Doubt("it is not UTF-8"))?;
                add(text, &mut open)?;
            }
            Event::GeneralRef(reference) => {
                let character = match reference.resolve_char_ref() {
                    Ok(Some(character)) => character,
                    Ok(None) => predefined(&reference)?,
                    Err(_) => return Err(Doubt("it refers to a character that there is not")),
                };
                add(Cow::Owned(character.to_string()), &mut open)?;
            }
            Event::Decl(declaration) => {
                if events > 1 {
                    return Err(Doubt("it is not well-formed"));
                }
                if let Some(encoding) = declaration.encoding() {
                    let encoding = encoding.map_err(|_| Doubt("it is not well-formed"))?;
                    if !encoding.eq_ignore_ascii_case(b"utf-8") {
                        return Err(Doubt("it is not UTF-8"));
                    }
                }
            }
            Event::DocType(_) => return Err(Doubt("it declares a document type")),
            Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    if !open.is_empty() {
        return Err(Doubt("it is cut off"));
    }
    whole.ok_or(Doubt("it is empty"))
}

/// Whether an element may begin here.
fn begin(
    start: &BytesStart<'_>,
    root: &str,
    open: &[Element<'_>],
    ended: bool,
    elements: &mut usize,
) -> Result<(), Doubt> {
    if ended {
        return Err(Doubt("something follows its end"));
    }
    if open.is_empty() && start.local_name().as_ref() != root.as_bytes() {
        return Err(Doubt("it is the answer to something else"));
    }
    *elements += 1;
    if open.len() >= MAX_DEPTH {
        return Err(Doubt("it is nested too deeply"));
    }
    if *elements > MAX_ELEMENTS {
        return Err(Doubt("it has too many elements"));
    }
    if let Some(parent) = open.last()
        && !parent.text.trim().is_empty()
    {
        return Err(Doubt("it has text between its elements"));
    }
    Ok(())
}

fn close<'a>(element: Element<'a>, open: &mut [Element<'a>], whole: &mut Option<Element<'a>>) {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *whole = Some(element),
    }
}

/// Text as it stands there: a name may end in a line break, which is none of an XML parser's business.
fn add<'a>(text: Cow<'a, str>, open: &mut [Element<'a>]) -> Result<(), Doubt> {
    let Some(element) = open.last_mut() else {
        return if text.trim().is_empty() {
            Ok(())
        } else {
            Err(Doubt("something stands outside its root"))
        };
    };
    if element.children.is_empty() {
        if element.text.is_empty() {
            element.text = text;
        } else {
            element.text.to_mut().push_str(&text);
        }
        Ok(())
    } else if text.trim().is_empty() {
        Ok(())
    } else {
        Err(Doubt("it has text between its elements"))
    }
}

fn predefined(name: &[u8]) -> Result<char, Doubt> {
    match name {
        b"amp" => Ok('&'),
        b"lt" => Ok('<'),
        b"gt" => Ok('>'),
        b"quot" => Ok('"'),
        b"apos" => Ok('\''),
        _ => Err(Doubt("it refers to an entity of its own")),
    }
}

impl<'a> Element<'a> {
    fn new(start: &BytesStart<'_>) -> Result<Self, Doubt> {
        let malformed = || Doubt("it is not well-formed");
        let text = |bytes: &[u8]| {
            std::str::from_utf8(bytes)
                .map(ToOwned::to_owned)
                .map_err(|_| malformed())
        };
        let mut attributes = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| malformed())?;
            let value = attribute
                .normalized_value(quick_xml::XmlVersion::Implicit1_0)
                .map_err(|_| malformed())?;
            attributes.push((text(attribute.key.local_name().as_ref())?, value.into_owned()));
        }
        Ok(Self {
            name: text(start.local_name().as_ref())?,
            attributes,
            text: Cow::Borrowed(""),
            children: Vec::new(),
        })
    }

    /// The text of an element; one that has others in it says something else than was expected.
    pub(super) fn text(&self) -> Result<&str, Doubt> {
        if self.children.is_empty() {
            Ok(&self.text)
        } else {
            Err(Doubt("it has elements where a text was expected"))
        }
    }

    /// Refuses an element in which there is anything else than these: what is not known, text included, may say that this is no
    /// whole answer.
    pub(super) fn only(&self, names: &[&str]) -> Result<(), Doubt> {
        if !self.text.trim().is_empty() {
            return Err(Doubt("it has text where elements were expected"));
        }
        if self
            .children
            .iter()
            .all(|child| names.contains(&child.name.as_str()))
        {
            Ok(())
        } else {
            Err(Doubt("it has something that such an answer does not have"))
        }
    }

    /// An attribute.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(of, _)| of == name)
            .map(|(_, value)| value.as_str())
    }

    /// The elements of this name directly below.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The one element of this name directly below, if there is any.
    pub(super) fn optional(&self, name: &str) -> Result<Option<&Self>, Doubt> {
        let mut found = self.all(name);
        match (found.next(), found.next()) {
            (one, None) => Ok(one),
            (_, Some(_)) => Err(Doubt("it says the same thing twice")),
        }
    }

    /// The text of the one element of this name directly below, if there is any.
    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&str>, Doubt> {
        self.optional(name)?.map(Element::text).transpose()
    }

    /// As [`Element::optional_text`]; an element that is empty says nothing.
    pub(super) fn said(&self, name: &str) -> Result<Option<&str>, Doubt> {
        Ok(self.optional_text(name)?.filter(|text| !text.is_empty()))
    }

    /// The text of an element that has to be there and to say something.
    pub(super) fn required(&self, name: &str, missing: &'static str) -> Result<&str, Doubt> {
        self.said(name)?.ok_or(Doubt(missing))
    }

    /// `true` or `false`, if the element is there.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Doubt> {
        match self.optional_text(name)?.map(str::trim) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Doubt("it says neither true nor false")),
        }
    }

    /// A number, if the element is there.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Doubt> {
        self.optional_text(name)?
            .map(|text| {
                text.trim()
                    .parse()
                    .map_err(|_| Doubt("it has a number that is none"))
            })
            .transpose()
    }
}

/// The bytes of a name that is said to be percent-encoded.
pub(super) fn percent_decoded(name: &str) -> Result<Vec<u8>, Doubt> {
    let bytes = name.as_bytes();
    let whole = bytes.iter().enumerate().all(|(at, byte)| {
        *byte != b'%'
            || bytes
                .get(at + 1..at + 3)
                .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !whole {
        return Err(Doubt("a name is not encoded as it was announced"));
    }
    Ok(percent_decode(bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubt(body: &str) -> &'static str {
        parse(body.as_bytes(), "R").unwrap_err().0
    }

    #[test]
    fn a_whole_answer_is_read() {
        let body = "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- x --><R xmlns=\"http://a/\" N=\"a&amp;b\">\n \
                    <Key>a &amp; b&#x1;<![CDATA[<c>]]></Key><Empty/><Flag> true </Flag><Deep><Key>x</Key></Deep></R>\n ";
        let root = parse(body.as_bytes(), "R").unwrap();
        assert_eq!(root.required("Key", "").unwrap(), "a & b\u{1}<c>");
        assert_eq!(root.attribute("N"), Some("a&b"));
        assert_eq!(root.flag("Flag"), Ok(Some(true)));
        assert_eq!(root.optional_text("Empty"), Ok(Some("")));
        assert_eq!(root.said("Empty"), Ok(None));
        assert_eq!(root.optional_text("Absent"), Ok(None));
        assert_eq!(root.all("Deep").count(), 1);
        assert!(parse(b"<R/>", "R").is_ok());
        let kept = parse(b"<R><Key> a\r\n</Key></R>", "R").unwrap();
        assert_eq!(kept.optional_text("Key"), Ok(Some(" a\r\n")));
    }

    #[test]
    fn what_is_cut_off_anywhere_is_no_answer() {
        let whole = "<?xml version=\"1.0\"?><R><A>1&amp;2</A><B c=\"d\"/><!-- e --><F><![CDATA[g]]></F></R>";
        assert!(parse(whole.as_bytes(), "R").is_ok());
        for end in 0..whole.len() {
            assert!(parse(&whole.as_bytes()[..end], "R").is_err(), "{}", &whole[..end]);
        }
    }

    #[test]
    fn what_is_not_strictly_well_formed_is_no_answer() {
        for body in [
            "",
            " ",
            "\u{feff}",
            "ok",
            "{}",
            "<R>",
            "<R",
            "</R>",
            "<R></S>",
            "<R><A></R></A>",
            "<Q/>",
            "<Error><Code>SlowDown</Code></Error>",
            "<!DOCTYPE html><html></html>",
            "<!DOCTYPE R [<!ENTITY a \"b\">]><R>&a;</R>",
            "<!DOCTYPE R><R/>",
            "<R>&unknown;</R>",
            "<R>&#xD800;</R>",
            "<R>&#0;</R>",
            "<R>&</R>",
            "<R/><R/>",
            "<R/>x",
            "x<R/>",
            "<R/>&amp;",
            "<R></R><!-- ok --></R>",
            "<R>x<A/></R>",
            "<R><A/>x</R>",
            "<R a=\"1\" a=\"2\"/>",
            "<R a=1/>",
            " <?xml version=\"1.0\"?><R/>",
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?><R/>",
        ] {
            assert!(parse(body.as_bytes(), "R").is_err(), "{body}");
        }
        assert_eq!(parse(b"<R>\xff</R>", "R").unwrap_err().0, "it is not UTF-8");
        assert_eq!(doubt("<R><A>"), "it is cut off");
    }

    #[test]
    fn what_is_not_expected_is_no_answer() {
        let root = parse(b"<R>\n<A/> <B>x</B></R>", "R").unwrap();
        assert_eq!(root.only(&["A", "B", "C"]), Ok(()));
        assert!(root.only(&["A"]).is_err());
        assert!(root.only(&["a", "B"]).is_err());
        assert!(parse(b"<R>busy</R>", "R").unwrap().only(&["A"]).is_err());
        let nested = parse(b"<R><A><x/></A></R>", "R").unwrap();
        assert!(nested.optional_text("A").is_err());
        assert!(nested.said("A").is_err());
        assert!(nested.flag("A").is_err());
        assert!(nested.number("A").is_err());
    }

    #[test]
    fn depth_and_size_are_bounded() {
        assert_eq!(doubt(&"<R>".repeat(100_000)), "it is nested too deeply");
        let deep = format!("{}{}", "<R>".repeat(100_000), "</R>".repeat(100_000));
        assert_eq!(doubt(&deep), "it is nested too deeply");
        let wide = format!("<R>{}</R>", "<A/>".repeat(MAX_ELEMENTS));
        assert_eq!(doubt(&wide), "it has too many elements");
    }

    #[test]
    fn what_is_said_twice_is_not_said() {
        let root = parse(b"<R><A>true</A><A>false</A><N>x</N><F>yes</F></R>", "R").unwrap();
        assert!(root.optional("A").is_err());
        assert!(root.flag("A").is_err());
        assert!(root.number("N").is_err());
        assert!(root.flag("F").is_err());
    }
}
