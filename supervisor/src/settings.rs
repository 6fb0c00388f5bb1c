//! Arguments and environment of the supervisor itself.

use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;

pub const USAGE: &str = "usage: supervisor [--binary PATH] [--] [ARGUMENT...]
       supervisor receive
       supervisor --version";

/// What the supervisor was told when it was started.
#[derive(Debug)]
pub struct Settings {
    /// The folder with `want.json`, `bin/` and `trees/`.
    pub dir: String,
    /// The app's TCP port. Without it the app is ready as soon as it runs.
    pub port: Option<u16>,
    /// The path that has to answer 200, or empty for no request.
    pub health: String,
    /// Where the supervisor's own server listens.
    pub listen: SocketAddr,
    /// The image's own binary, run while there is no valid `want.json`.
    pub binary: Option<String>,
    /// The app's arguments where `want.json` gives none.
    pub args: Vec<CString>,
    /// The container's environment, without what is meant for the supervisor.
    pub env: Vec<CString>,
}

#[derive(Debug)]
pub enum Command {
    Supervise(Box<Settings>),
    Receive { dir: String },
    Version,
}

const OWN: &str = "KINDLOOP_";

/// Reads both; the error is one line for a person.
pub fn read(args: Vec<CString>, env: Vec<CString>) -> Result<Command, String> {
    let (own, env): (Vec<_>, Vec<_>) = env
        .into_iter()
        .partition(|entry| entry.as_bytes().starts_with(OWN.as_bytes()));
    let dir = lookup(&own, "DIR")?.unwrap_or("/kindloop").to_string();
    let mut rest = args.into_iter().skip(1).peekable();
    match rest.peek().and_then(|first| first.to_str().ok()) {
        Some("receive") => return Ok(Command::Receive { dir }),
        Some("--version") => return Ok(Command::Version),
        _ => {}
    }
    let mut binary = None;
    while let Some(first) = rest.peek() {
        match first.to_str() {
            Ok("--") => {
                rest.next();
                break;
            }
            Ok("--binary") => {
                rest.next();
                let path = rest.next().ok_or("--binary needs a path")?;
                binary = Some(path.into_string().map_err(|_| "--binary is not UTF-8")?);
            }
            Ok(option) if option.starts_with("--binary=") => {
                binary = option.strip_prefix("--binary=").map(String::from);
                rest.next();
            }
            Ok(option) if option.starts_with('-') => {
                return Err(format!(
                    "unknown option {option} (the app's own options go after --)"
                ));
            }
            _ => break,
        }
    }
    let port = match lookup(&own, "PORT")?.filter(|text| !text.is_empty()) {
        Some(text) => Some(
            text.parse::<u16>()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| format!("KINDLOOP_PORT is not a port: {text}"))?,
        ),
        None => None,
    };
    let health = lookup(&own, "HEALTH")?.unwrap_or("/health");
    let plain = health.bytes().all(|byte| byte.is_ascii_graphic());
    if !(health.is_empty() || health.starts_with('/') && plain) {
        return Err(format!("KINDLOOP_HEALTH is not a path: {health}"));
    }
    let listen = lookup(&own, "LISTEN")?.unwrap_or("0.0.0.0:9909");
    Ok(Command::Supervise(Box::new(Settings {
        dir,
        port,
        health: health.to_string(),
        listen: listen
            .parse()
            .map_err(|_| format!("KINDLOOP_LISTEN is not ADDRESS:PORT: {listen}"))?,
        binary,
        args: rest.collect(),
        env,
    })))
}

fn lookup<'a>(own: &'a [CString], name: &str) -> Result<Option<&'a str>, String> {
    for entry in own {
        let rest = entry.as_bytes().strip_prefix(OWN.as_bytes());
        let value = rest
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .and_then(|rest| rest.strip_prefix(b"="));
        if let Some(value) = value {
            return core::str::from_utf8(value)
                .map(Some)
                .map_err(|_| format!("{OWN}{name} is not UTF-8"));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(all: &[&str]) -> Vec<CString> {
        all.iter().map(|one| CString::new(*one).unwrap()).collect()
    }

    fn supervise(args: &[&str], env: &[&str]) -> Settings {
        match read(strings(args), strings(env)) {
            Ok(Command::Supervise(settings)) => *settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_apps_arguments_follow_two_dashes() {
        let got = supervise(
            &["supervisor", "--binary", "/a", "--", "--binary", "x"],
            &[],
        );
        assert_eq!(got.binary.as_deref(), Some("/a"));
        assert_eq!(got.args, strings(&["--binary", "x"]));
    }

    #[test]
    fn its_own_settings_are_not_the_apps() {
        let got = supervise(
            &["supervisor"],
            &["KINDLOOP_PORT=8080", "A=1", "KINDLOOP_X=2"],
        );
        assert_eq!(got.port, Some(8080));
        assert_eq!(got.env, strings(&["A=1"]));
        assert_eq!(got.listen.port(), 9909);
        assert_eq!(
            (got.dir.as_str(), got.health.as_str()),
            ("/kindloop", "/health")
        );
    }

    #[test]
    fn wrong_settings_are_refused() {
        for env in [
            "KINDLOOP_PORT=x",
            "KINDLOOP_PORT=0",
            "KINDLOOP_HEALTH=a b",
            "KINDLOOP_LISTEN=1",
        ] {
            assert!(
                read(strings(&["supervisor"]), strings(&[env])).is_err(),
                "{env}"
            );
        }
        assert!(read(strings(&["supervisor", "--spec"]), Vec::new()).is_err());
        assert!(read(strings(&["supervisor", "--binary"]), Vec::new()).is_err());
    }

    #[test]
    fn an_empty_health_path_asks_nothing() {
        assert_eq!(supervise(&["supervisor"], &["KINDLOOP_HEALTH="]).health, "");
    }
}
