//! What came of one attempt.

use chrono::{DateTime, Utc};
use std::fmt;
use std::time::Duration;

/// What went wrong with an attempt, as a short class that holds nothing of the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryFailure {
    /// The host name has no address or the lookup failed.
    DnsFailed,
    /// The lookup took too long.
    DnsTimeout,
    /// The address is not public and not exempt.
    AddressRefused,
    /// Nothing listens there.
    ConnectRefused,
    /// Connection and TLS handshake took too long.
    ConnectTimeout,
    /// The connection failed otherwise.
    ConnectFailed,
    /// The TLS handshake failed, e.g. by an invalid certificate.
    TlsFailed,
    /// No status line within the time of the whole exchange.
    ResponseTimeout,
    /// No status line came, and others that had never been tried needed the place.
    GaveWay,
    /// The receiver closed or reset the connection before it answered.
    ConnectionClosed,
    /// The answer is not HTTP.
    InvalidResponse,
    /// Anything else before a status line came.
    RequestFailed,
    /// A status came, but the body was not complete in time.
    BodyTimeout,
    /// A status came, but the body broke off.
    BodyFailed,
}

impl DeliveryFailure {
    /// The class as it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DnsFailed => "dns_failed",
            Self::DnsTimeout => "dns_timeout",
            Self::AddressRefused => "address_refused",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectFailed => "connect_failed",
            Self::TlsFailed => "tls_failed",
            Self::ResponseTimeout => "response_timeout",
            Self::GaveWay => "gave_way",
            Self::ConnectionClosed => "connection_closed",
            Self::InvalidResponse => "invalid_response",
            Self::RequestFailed => "request_failed",
            Self::BodyTimeout => "body_timeout",
            Self::BodyFailed => "body_failed",
        }
    }
}

/// What an attempt says of its URL and of the endpoint that the URL shares with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// A status line came after so long, whatever it says.
    Answered(Duration),
    /// None came, and nothing else than this URL is known to be at fault.
    Failed {
        /// A connection was made: the endpoint can be reached.
        reached: bool,
    },
    /// No connection came about: no other URL there can do better.
    Unreachable,
}

impl fmt::Display for DeliveryFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptOutcome {
    /// The status line's code, if one came.
    pub status: Option<u16>,
    /// What went wrong, if anything did. A failure beside a status concerns the body only.
    pub error: Option<DeliveryFailure>,
    /// From the start of the lookup to the end of the reading.
    pub duration: Duration,
    /// The first bytes of the answer, at most [`super::client::ClientOptions::keep`].
    pub body: Vec<u8>,
    /// The answer was longer than `body`, or broke off.
    pub body_truncated: bool,
    /// How long the receiver asks to wait, counted from the answer: on 429 and 503 only.
    pub retry_after: Option<Duration>,
}

impl AttemptOutcome {
    /// An attempt that brought no answer.
    #[must_use]
    pub const fn failed(error: DeliveryFailure, duration: Duration) -> Self {
        Self {
            status: None,
            error: Some(error),
            duration,
            body: Vec::new(),
            body_truncated: false,
            retry_after: None,
        }
    }

    /// The receiver has it: a status line of 200–299 (seed 004), whatever then became of the body.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// What circuits learn from it. `connects_first`: whoever ran out of time for the answer had been connected.
    #[must_use]
    pub const fn evidence(&self, connects_first: bool) -> Evidence {
        if self.status.is_some() {
            return Evidence::Answered(self.duration);
        }
        match self.error {
            Some(
                DeliveryFailure::ConnectRefused
                | DeliveryFailure::ConnectTimeout
                | DeliveryFailure::ConnectFailed,
            ) => Evidence::Unreachable,
            Some(DeliveryFailure::ResponseTimeout) => Evidence::Failed {
                reached: connects_first,
            },
            Some(
                DeliveryFailure::TlsFailed
                | DeliveryFailure::ConnectionClosed
                | DeliveryFailure::InvalidResponse
                | DeliveryFailure::BodyTimeout
                | DeliveryFailure::BodyFailed,
            ) => Evidence::Failed { reached: true },
            Some(
                DeliveryFailure::DnsFailed
                | DeliveryFailure::DnsTimeout
                | DeliveryFailure::AddressRefused
                | DeliveryFailure::GaveWay
                | DeliveryFailure::RequestFailed,
            )
            | None => Evidence::Failed { reached: false },
        }
    }
}

/// The wait that a `Retry-After` value asks for (RFC 9110, 10.2.3): seconds, or an HTTP date seen from `now`; zero for a
/// date in the past, `None` for anything else.
#[must_use]
pub fn parse_retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean "very long"; the schedule caps it.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date: DateTime<Utc> = httpdate::parse_http_date(value).ok()?.into();
    Some((date - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_one_of_the_three_http_dates() {
        let now = DateTime::from_timestamp(784_111_777 - 60, 0).unwrap();
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("99999999999999999999999", Some(u64::from(u32::MAX))),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(60)),
            ("Sun Nov  6 08:49:37 1994", Some(60)),
            ("Sun, 06 Nov 1993 08:49:37 GMT", None),
            ("Sat, 06 Nov 1993 08:49:37 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(
                parse_retry_after(value, now),
                seconds.map(Duration::from_secs),
                "{value}"
            );
        }
    }

    #[test]
    fn every_status_of_200_to_299_and_no_other_is_success() {
        for status in 100..=599_u16 {
            let outcome = AttemptOutcome {
                status: Some(status),
                error: None,
                ..AttemptOutcome::failed(DeliveryFailure::BodyFailed, Duration::ZERO)
            };
            assert_eq!(outcome.is_success(), (200..=299).contains(&status), "{status}");
            assert_eq!(outcome.evidence(true), Evidence::Answered(Duration::ZERO));
        }
        assert!(!AttemptOutcome::failed(DeliveryFailure::DnsFailed, Duration::ZERO).is_success());
    }

    #[test]
    fn only_what_keeps_every_url_from_its_endpoint_speaks_against_the_endpoint() {
        let reached = Evidence::Failed { reached: true };
        let no_news = Evidence::Failed { reached: false };
        for (failure, evidence) in [
            (DeliveryFailure::DnsFailed, no_news),
            (DeliveryFailure::DnsTimeout, no_news),
            (DeliveryFailure::AddressRefused, no_news),
            (DeliveryFailure::ConnectRefused, Evidence::Unreachable),
            (DeliveryFailure::ConnectTimeout, Evidence::Unreachable),
            (DeliveryFailure::ConnectFailed, Evidence::Unreachable),
            (DeliveryFailure::TlsFailed, reached),
            (DeliveryFailure::ResponseTimeout, reached),
            (DeliveryFailure::GaveWay, no_news),
            (DeliveryFailure::ConnectionClosed, reached),
            (DeliveryFailure::InvalidResponse, reached),
            (DeliveryFailure::RequestFailed, no_news),
        ] {
            let outcome = AttemptOutcome::failed(failure, Duration::ZERO);
            assert_eq!(outcome.evidence(true), evidence, "{failure}");
        }
        let too_short = AttemptOutcome::failed(DeliveryFailure::ResponseTimeout, Duration::ZERO);
        assert_eq!(too_short.evidence(false), no_news);
    }
}
