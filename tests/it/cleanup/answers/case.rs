//! What can be wrong with an answer, whichever storage it comes from.

use std::sync::Arc;

pub type Edit = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Makes another body of a body.
type Change = fn(&str) -> String;

/// What is wrong with an answer.
#[derive(Clone)]
pub enum Bad {
    /// Another one comes instead.
    Instead(u16, Vec<u8>),
    /// The body is another one.
    Edit(Edit),
    /// This many bytes of a hundred are left of the body.
    Cut(usize),
    /// It has this header as well.
    Header(&'static str, &'static str),
}

/// A case: its name, which listings are concerned (all that have this in their query), and what is wrong with their answers.
pub struct Case {
    pub name: String,
    pub of: &'static str,
    pub bad: Bad,
}

pub fn case(name: impl Into<String>, of: &'static str, bad: Bad) -> Case {
    let name = name.into();
    Case { name, of, bad }
}

pub fn edit(edit: impl Fn(&str) -> String + Send + Sync + 'static) -> Bad {
    Bad::Edit(Arc::new(edit))
}

pub fn swap(from: &'static str, to: &'static str) -> Bad {
    edit(move |body| body.replacen(from, to, 1))
}

/// What is between the first `from` and the last `to` goes, with both.
pub fn without(body: &str, from: &str, to: &str) -> String {
    match (body.find(from), body.rfind(to)) {
        (Some(start), Some(end)) => format!("{}{}", &body[..start], &body[end + to.len()..]),
        _ => body.to_owned(),
    }
}

/// What is wrong with any answer, whichever cloud it comes from.
pub fn anywhere() -> Vec<Case> {
    let text = |text: &str| text.as_bytes().to_vec();
    let mut cases: Vec<Case> = (0..10)
        .map(|tenth| 10 * tenth)
        .chain([99])
        .map(|percent| case(format!("cut off after {percent} %"), "", Bad::Cut(percent)))
        .collect();
    let html = "<html><head><title>ok</title></head><body>Welcome</body></html>";
    for (name, status, body) in [
        ("empty", 200, text("")),
        ("a page of a portal", 200, text(html)),
        (
            "an error with a good status",
            200,
            text("<Error><Code>InternalError</Code></Error>"),
        ),
        ("an empty object", 200, text("{}")),
        ("an empty list", 200, text("[]")),
        ("nothing", 204, text("")),
        ("a part", 206, text(html)),
        ("100,000 open tags", 200, "<a>".repeat(100_000).into_bytes()),
        ("100,000 open brackets", 200, "[".repeat(100_000).into_bytes()),
        ("no text", 200, vec![0xff; 100]),
        ("no method", 405, text("")),
        (
            "not implemented",
            501,
            text("<Error><Code>NotImplemented</Code></Error>"),
        ),
        (
            "not implemented, created",
            201,
            text("<Error><Code>NotImplemented</Code></Error>"),
        ),
        ("log in first", 511, text(html)),
        ("gateway", 502, text(html)),
        ("busy", 503, text(html)),
        ("too many", 429, text("")),
        ("timeout", 408, text("")),
        ("failure", 500, text("{\"error\":{}}")),
    ] {
        cases.push(case(name, "", Bad::Instead(status, body)));
    }
    cases.push(case(
        "a part, with a good status",
        "",
        Bad::Header("content-range", "bytes 0-99/1000"),
    ));
    let more: [(&str, Change); 5] = [
        ("something behind it", |body| format!("{body}x")),
        ("a zero behind it", |body| format!("{body}\0")),
        ("itself behind it", |body| format!("{body}{body}")),
        ("something before it", |body| format!("x{body}")),
        ("all in capitals", |body| body.to_uppercase()),
    ];
    for (name, change) in more {
        cases.push(case(name, "", edit(change)));
    }
    // Without a code of the storage's own, whoever is in between may have refused.
    for (status, body) in [
        (403, "{\"message\":\"Forbidden\"}"),
        (404, "{\"error\":{\"code\":404,\"message\":\"Not Found\"}}"),
        (404, "<Error><Message>not found</Message></Error>"),
        (400, "<Error><Code></Code></Error>"),
        (403, "Code: AccessDenied"),
    ] {
        let name = format!("{status} {body}");
        cases.push(case(name, "", Bad::Instead(status, text(body))));
    }
    for status in [301, 302, 307, 400, 403, 404, 407, 409, 412, 418, 421, 423, 499] {
        let body = text(if status % 2 == 0 { html } else { "" });
        let name = format!("{status} of nobody knows whom");
        cases.push(case(name, "", Bad::Instead(status, body)));
    }
    cases
}
