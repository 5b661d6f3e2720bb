//! A TCP proxy that misbehaves on demand: cuts, resets, stalls, delays, and counts.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the program under test to the server.
    ToServer,
    /// From the server to the program under test.
    ToClient,
}

/// What happens once so many bytes have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Both sides see the end of the connection (FIN).
    Cut,
    /// Both sides see a reset (RST).
    Reset,
    /// Nothing moves any more, in either direction, and nobody closes.
    Stall,
}

/// A fault of the network. It counts the bytes of all connections since it was set; once it has struck, every connection that
/// moves another byte in that direction is struck too, new ones included, until another is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// The direction whose bytes are counted.
    pub direction: Direction,
    /// So many bytes pass, not one more.
    pub after: u64,
}

/// A proxy on a free port of 127.0.0.1. Dropping it closes every connection.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    server: SocketAddr,
    rules: Mutex<Rules>,
    stopped: AtomicBool,
    to_server: AtomicU64,
    to_client: AtomicU64,
    connections: AtomicU64,
}

#[derive(Default)]
struct Rules {
    fault: Option<Fault>,
    /// Bytes that have passed in the fault's direction since it was set.
    counted: u64,
    stalled: bool,
    delay: Duration,
}

/// How often a waiting thread looks whether something changed.
const LOOK: Duration = Duration::from_millis(20);

impl Proxy {
    /// Starts to forward to a server.
    pub fn start(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind the proxy");
        let address = listener.local_addr().expect("the proxy's address");
        let shared = Arc::new(Shared {
            server,
            rules: Mutex::default(),
            stopped: AtomicBool::new(false),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let inside = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &inside));
        Proxy {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Starts to forward to a port of 127.0.0.1.
    pub fn to_port(port: u16) -> Proxy {
        Self::start(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Where the program under test connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port where the program under test connects to.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Sets (or with `None` mends) the fault, and begins to count anew.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut rules = self.shared.rules.lock().expect("rules");
        rules.fault = fault;
        rules.counted = 0;
        rules.stalled = false;
    }

    /// The same as [`Proxy::set_fault`], in one line.
    pub fn strike(&self, kind: Kind, direction: Direction, after: u64) {
        self.set_fault(Some(Fault { kind, direction, after }));
    }

    /// Waits so long before each piece is passed on (at most 64 KiB a piece).
    pub fn set_delay(&self, delay: Duration) {
        self.shared.rules.lock().expect("rules").delay = delay;
    }

    /// Bytes passed on (or about to be) since the start.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.shared.counter(direction).load(Ordering::SeqCst)
    }

    /// Connections accepted since the start.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor; if even that fails it has ended already.
        let _woken = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            // A panic in there was already printed; a second one while dropping would abort the test program.
            let _ended = acceptor.join();
        }
    }
}

impl Shared {
    fn counter(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// How many of `wanted` bytes may pass, and what happens then.
    fn admit(&self, direction: Direction, wanted: usize) -> (usize, Option<Kind>) {
        let mut rules = self.rules.lock().expect("rules");
        let Some(fault) = rules.fault.filter(|fault| fault.direction == direction) else {
            return (wanted, None);
        };
        let left = fault.after.saturating_sub(rules.counted);
        let passing = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
        rules.counted += passing as u64;
        if passing == wanted {
            return (wanted, None);
        }
        rules.stalled |= fault.kind == Kind::Stall;
        (passing, Some(fault.kind))
    }

    fn delay(&self) -> Duration {
        self.rules.lock().expect("rules").delay
    }

    /// Waits while the network is stalled. `false` once the proxy stops.
    fn pass_stall(&self) -> bool {
        while self.rules.lock().expect("rules").stalled {
            if self.is_stopped() {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        !self.is_stopped()
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut forwarders = Vec::new();
    while let Ok((client, _)) = listener.accept() {
        if shared.is_stopped() {
            break;
        }
        shared.connections.fetch_add(1, Ordering::SeqCst);
        // A server that does not answer: the client sees its own connection closed.
        let Ok(server) = TcpStream::connect(shared.server) else {
            continue;
        };
        let torn = Arc::new(AtomicBool::new(false));
        for (direction, from, to) in [
            (Direction::ToServer, &client, &server),
            (Direction::ToClient, &server, &client),
        ] {
            let from = from.try_clone().expect("clone a socket");
            let to = to.try_clone().expect("clone a socket");
            let (shared, torn) = (Arc::clone(shared), Arc::clone(&torn));
            forwarders.push(std::thread::spawn(move || forward(&shared, &torn, direction, from, to)));
        }
    }
    for forwarder in forwarders {
        forwarder.join().expect("a forwarder");
    }
}

/// `torn` says to both threads of a connection that it was reset: letting go of the sockets must be all that happens then.
fn forward(shared: &Shared, torn: &AtomicBool, direction: Direction, mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    from.set_read_timeout(Some(LOOK)).expect("set a time limit");
    from.set_nodelay(true).expect("set nodelay");
    loop {
        if !shared.pass_stall() {
            break;
        }
        let received = from.read(&mut buffer);
        if torn.load(Ordering::SeqCst) {
            return;
        }
        let read = match received {
            Ok(0) | Err(_) if shared.is_stopped() => break,
            Ok(0) => {
                // Half-closed: the other direction may still have something to say. A refusal means it is closed already.
                let _half = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(read) => read,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        let delay = shared.delay();
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        let (passing, struck) = shared.admit(direction, read);
        // Counted first: whoever has the bytes may ask for the count.
        shared.counter(direction).fetch_add(passing as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..passing]).is_err() {
            break;
        }
        match struck {
            None => {}
            Some(Kind::Stall) => {
                // What was read and not passed on is lost until the fault is mended; then it follows.
                if !shared.pass_stall() {
                    break;
                }
                shared.counter(direction).fetch_add((read - passing) as u64, Ordering::SeqCst);
                if to.write_all(&buffer[passing..read]).is_err() {
                    break;
                }
            }
            Some(Kind::Cut) => break,
            Some(Kind::Reset) => {
                reset_on_close(&from);
                reset_on_close(&to);
                torn.store(true, Ordering::SeqCst);
                return;
            }
        }
    }
    // Either may be closed by its other side already.
    let _closed = from.shutdown(Shutdown::Both);
    let _closed = to.shutdown(Shutdown::Both);
}

/// Makes the close of a socket a reset.
fn reset_on_close(socket: &TcpStream) {
    let now = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the descriptor is open for as long as `socket` lives, and `now` is a plain structure of the size that is given.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const now).cast(),
            libc::socklen_t::try_from(size_of::<libc::linger>()).expect("a small size"),
        )
    };
    assert_eq!(status, 0, "SO_LINGER: {}", std::io::Error::last_os_error());
}
