//! Free ports on the loopback interface, and the one question asked over them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// The first port from `wanted` on that nobody listens on, on any address.
pub fn free_from(wanted: u16) -> Option<u16> {
    let free = |port: &u16| {
        [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED]
            .into_iter()
            .all(|address| TcpListener::bind((address, *port)).is_ok())
    };
    (wanted..=u16::MAX).take(200).find(free)
}

/// Whether `path` answers 200 on `port`.
pub fn answers(port: u16, path: &str) -> bool {
    let ask = || {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
        // to its end: a connection closed before it would be an error in the API's log
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let status = answer.split(|byte| *byte == b' ').nth(1);
        std::io::Result::Ok(status == Some(b"200".as_slice()))
    };
    ask().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_gives_way_to_the_next() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(free_from(port).is_none_or(|free| free > port));
    }
}
