//! The command line of a service.

use std::net::SocketAddr;
use std::path::PathBuf;

pub struct Options {
    pub spec: PathBuf,
    pub config: PathBuf,
    pub doc_dir: PathBuf,
    pub addr: SocketAddr,
}

pub const HELP: &str = "\
      --spec FILE     the OpenAPI document [default: doc/openapi.yaml]
      --config FILE   limits and credentials [default: config/config.yaml]
      --doc-dir DIR   where index.html, the page at /docs, is [default: doc]
      --addr ADDR     the IP address and port to listen at [default: 0.0.0.0:8080]
  -h, --help          print this
";

/// The options; none when help is wanted.
pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        spec: "doc/openapi.yaml".into(),
        config: "config/config.yaml".into(),
        doc_dir: "doc".into(),
        addr: SocketAddr::from(([0, 0, 0, 0], 8080)),
    };
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("`{flag}` needs a value"));
        match flag.as_str() {
            "-h" | "--help" => return Ok(None),
            "--spec" => options.spec = value()?.into(),
            "--config" => options.config = value()?.into(),
            "--doc-dir" => options.doc_dir = value()?.into(),
            "--addr" => {
                let addr = value()?;
                let wrong = |_| format!("`{addr}` is not an IP address with a port");
                options.addr = addr.parse().map_err(wrong)?;
            }
            _ => return Err(format!("unknown argument `{flag}`")),
        }
    }
    Ok(Some(options))
}
