//! HTTP as far as tests need it: one request a connection, and a registry of our own behind a socket.

use crate::registry::{CONTENT_TYPE, SchemaStore, answer};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

/// GETs a URL; status and body.
pub fn get(url: &str) -> std::io::Result<(u16, String)> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    Ok((
        status,
        text.split_once("\r\n\r\n")
            .map_or(String::new(), |(_, body)| body.to_owned()),
    ))
}

/// The answers of a registry behind a socket, for tests of clients. Ends when dropped.
pub struct RegistryDouble {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    forced: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
}

impl RegistryDouble {
    /// Serves a store on a free port.
    ///
    /// # Panics
    /// Where there is no free port.
    pub fn start(store: Arc<dyn SchemaStore>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let double = Self {
            address,
            closing: Arc::default(),
            forced: Arc::default(),
            asked: Arc::default(),
        };
        let (closing, forced, asked) = (
            double.closing.clone(),
            double.forced.clone(),
            double.asked.clone(),
        );
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if closing.load(Ordering::Acquire) {
                    break;
                }
                asked.fetch_add(1, Ordering::AcqRel);
                let forced = forced.load(Ordering::Acquire);
                let _ = serve(stream, &*store, forced);
            }
        });
        double
    }

    /// The base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers everything with this status from now on; 0: as it should.
    pub fn force(&self, status: u16) {
        self.forced.store(status, Ordering::Release);
    }

    /// How many requests came.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Acquire)
    }
}

impl Drop for RegistryDouble {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, store: &dyn SchemaStore, forced: u16) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, path) = (
        words.next().unwrap_or_default().to_owned(),
        words.next().unwrap_or_default().to_owned(),
    );
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let header = line.trim();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, body) = if forced == 0 {
        let answer = answer(store, &method, &path, &body);
        (answer.status, answer.body.to_string())
    } else {
        (
            forced,
            String::from("{\"error_code\":0,\"message\":\"forced\"}"),
        )
    };
    let length = body.len();
    write!(
        reader.get_mut(),
        "HTTP/1.1 {status} X\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
