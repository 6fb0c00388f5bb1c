//! One HTTP request, as far as this server needs it. Pure: bytes in, a request out.

/// The longest request that is read.
pub const LIMIT: usize = 4096;

const LONGEST_WAIT_MS: u64 = 30_000;

#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    Live,
    Ready,
    Metrics,
    Status(Option<Wait>),
    Bad(u16),
}

/// What the answer waits for, and at most how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    pub until: Until,
    pub most_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    Generation(i64),
    Revision(u64),
}

/// None: not all of it is there yet.
pub fn parse(got: &[u8]) -> Option<Request> {
    let whole = got.windows(4).any(|part| part == b"\r\n\r\n");
    if !whole {
        return (got.len() >= LIMIT).then_some(Request::Bad(431));
    }
    let line = got.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Some(core::str::from_utf8(line).map_or(Request::Bad(400), first_line))
}

fn first_line(line: &str) -> Request {
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Request::Bad(400);
    };
    if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return Request::Bad(400);
    }
    if method != "GET" {
        return Request::Bad(405);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match path {
        "/livez" => Request::Live,
        "/readyz" => Request::Ready,
        "/metrics" => Request::Metrics,
        "/status" => wait(query).map_or(Request::Bad(400), Request::Status),
        _ => Request::Bad(404),
    }
}

/// None when a value is no number.
fn wait(query: &str) -> Option<Option<Wait>> {
    let (mut until, mut most_ms) = (None, 0);
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("generation", value)) => until = Some(Until::Generation(value.parse().ok()?)),
            Some(("revision", value)) => until = Some(Until::Revision(value.parse().ok()?)),
            Some(("wait_s", value)) => most_ms = milliseconds(value)?,
            _ => {}
        }
    }
    Some(until.map(|until| Wait { until, most_ms }))
}

/// Seconds, perhaps with decimals.
fn milliseconds(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let seconds: u64 = whole.parse().ok()?;
    let mut thousandths = 0;
    for place in 0..3 {
        let digit = part.as_bytes().get(place).copied().unwrap_or(b'0');
        let digit = char::from(digit).to_digit(10)?;
        thousandths = thousandths * 10 + u64::from(digit);
    }
    Some(
        seconds
            .saturating_mul(1000)
            .saturating_add(thousandths)
            .min(LONGEST_WAIT_MS),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> Request {
        parse(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap()
    }

    fn status(until: Until, most_ms: u64) -> Request {
        Request::Status(Some(Wait { until, most_ms }))
    }

    #[test]
    fn paths() {
        assert_eq!(get("/livez"), Request::Live);
        assert_eq!(get("/readyz?verbose"), Request::Ready);
        assert_eq!(get("/metrics"), Request::Metrics);
        assert_eq!(get("/status"), Request::Status(None));
        assert_eq!(get("/status/"), Request::Bad(404));
        assert_eq!(get("/../livez"), Request::Bad(404));
    }

    #[test]
    fn waits() {
        assert_eq!(
            get("/status?generation=7&wait_s=10"),
            status(Until::Generation(7), 10_000)
        );
        assert_eq!(
            get("/status?wait_s=0.25&revision=3"),
            status(Until::Revision(3), 250)
        );
        assert_eq!(
            get("/status?revision=3&wait_s=99999999999999999999"),
            Request::Bad(400)
        );
        assert_eq!(
            get("/status?revision=3&wait_s=31"),
            status(Until::Revision(3), 30_000)
        );
        assert_eq!(get("/status?generation=x"), Request::Bad(400));
        assert_eq!(
            get("/status?generation=-1"),
            status(Until::Generation(-1), 0)
        );
        assert_eq!(get("/status?revision=1&wait_s=1.é"), Request::Bad(400));
    }

    #[test]
    fn what_is_no_request_is_told() {
        assert_eq!(parse(b"GET /livez HTTP/1.1\r\n"), None);
        assert_eq!(
            parse(b"POST /livez HTTP/1.1\r\n\r\n"),
            Some(Request::Bad(405))
        );
        assert_eq!(
            parse(b"\xff\xfe / HTTP/1.1\r\n\r\n"),
            Some(Request::Bad(400))
        );
        assert_eq!(parse(b"\r\n\r\n"), Some(Request::Bad(400)));
        assert_eq!(parse(b"GET  / HTTP/1.1\r\n\r\n"), Some(Request::Bad(400)));
        assert_eq!(parse(b"GET /livez HTTP/2\r\n\r\n"), Some(Request::Bad(400)));
        assert_eq!(parse(&[b'a'; LIMIT]), Some(Request::Bad(431)));
    }
}
