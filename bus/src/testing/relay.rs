//! Between a client and a broker: passes everything on, but holds one request of a kind back; its client has hung up and asked
//! again meanwhile, and then the first copy reaches the broker all the same.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Kafka's number of the request that ends a transaction.
pub const END_TXN: i16 = 26;

/// What is to be held back, and whether it has gone on since.
#[derive(Default)]
struct Held {
    api: Mutex<Option<i16>>,
    is_released: Mutex<bool>,
    released: Condvar,
    has_passed: AtomicBool,
}

/// A relay on a port of its own; its threads end with their connections.
#[derive(Clone)]
pub struct Relay {
    held: Arc<Held>,
}

impl Relay {
    /// Listens on `port` and passes everything on to `broker`, both on this machine.
    pub(crate) fn start(port: u16, broker: u16) -> std::io::Result<Self> {
        let relay = Self {
            held: Arc::default(),
        };
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let held = relay.held.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", broker)) else {
                    continue;
                };
                let (Ok(from_server), Ok(to_client)) = (server.try_clone(), client.try_clone())
                else {
                    continue;
                };
                let held = held.clone();
                std::thread::spawn(move || requests(client, server, &held));
                std::thread::spawn(move || answers(from_server, to_client));
            }
        });
        Ok(relay)
    }

    /// Holds the next request of this kind back.
    pub fn hold(&self, api: i16) {
        *lock(&self.held.is_released) = false;
        self.held.has_passed.store(false, Ordering::Release);
        *lock(&self.held.api) = Some(api);
    }

    /// Whether something is held back now.
    pub fn holds(&self) -> bool {
        lock(&self.held.api).is_none() && !*lock(&self.held.is_released)
    }

    /// Lets it go on, and waits until the broker has it.
    pub fn release(&self) {
        *lock(&self.held.is_released) = true;
        self.held.released.notify_all();
        while !self.held.has_passed.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A request is its length, then its kind.
fn requests(mut client: TcpStream, mut server: TcpStream, held: &Held) {
    let mut pass = || -> std::io::Result<()> {
        loop {
            let mut frame = vec![0; 4];
            client.read_exact(&mut frame)?;
            let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
            frame.resize(4 + length as usize, 0);
            client.read_exact(&mut frame[4..])?;
            let api = i16::from_be_bytes([frame[4], frame[5]]);
            let is_held = {
                let mut wanted = lock(&held.api);
                let is_held = *wanted == Some(api);
                if is_held {
                    *wanted = None;
                }
                is_held
            };
            if is_held {
                let mut is_released = lock(&held.is_released);
                while !*is_released {
                    is_released = held
                        .released
                        .wait(is_released)
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                }
            }
            server.write_all(&frame)?;
            if is_held {
                held.has_passed.store(true, Ordering::Release);
            }
        }
    };
    let _ = pass();
    // what was passed on is executed although nobody waits for its answer
    let _ = server.shutdown(Shutdown::Write);
}

fn answers(mut server: TcpStream, mut client: TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        if client.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}
