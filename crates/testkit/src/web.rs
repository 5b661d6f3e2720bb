//! A receiver of HTTP requests on 127.0.0.1 that answers as it is told, and writes down what it got.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With this status.
    Status(u16),
    /// With this status and one more header.
    With(u16, &'static str, String),
    /// Not at all: the connection stays open.
    Hang,
    /// The connection is closed without a word.
    Close,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST`, …
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Name in lower case, value.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Request {
    /// A header, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A receiver. It answers 200 once it has answered everything that it was told to.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<Request>>,
    stopped: AtomicBool,
}

impl Receiver {
    /// Starts one on a free port.
    pub fn start(answers: impl IntoIterator<Item = Answer>) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind the receiver");
        let address = listener.local_addr().expect("the receiver's address");
        let shared = Arc::new(Shared {
            answers: Mutex::new(answers.into_iter().collect()),
            ..Shared::default()
        });
        let inside = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if inside.stopped.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&inside);
                std::thread::spawn(move || converse(stream, &shared));
            }
        });
        Receiver {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// `http://127.0.0.1:PORT` with this path behind it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it answers next, before all that it was told already is over.
    pub fn answer(&self, answer: Answer) {
        self.shared.answers.lock().expect("answers").push_back(answer);
    }

    /// Everything that came so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("requests").clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Wakes the acceptor; nobody has to be there any more.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().expect("the receiver's acceptor");
        }
    }
}

fn converse(stream: TcpStream, shared: &Shared) {
    // A program that goes away in the middle is no fault of the receiver.
    drop(answer(stream, shared));
}

fn answer(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method.is_empty() {
        return Ok(());
    }
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .and_then(|(_, n)| n.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    shared.requests.lock().expect("requests").push(Request {
        method,
        path,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    let next = shared.answers.lock().expect("answers").pop_front();
    let (status, more) = match next.unwrap_or(Answer::Status(200)) {
        Answer::Status(status) => (status, String::new()),
        Answer::With(status, name, value) => (status, format!("{name}: {value}\r\n")),
        Answer::Close => return Ok(()),
        Answer::Hang => {
            // Until the other side has had enough.
            let mut nothing = [0];
            reader.read_exact(&mut nothing)?;
            return Ok(());
        }
    };
    write!(
        stream,
        "HTTP/1.1 {status} X\r\n{more}content-length: 0\r\nconnection: close\r\n\r\n"
    )?;
    stream.flush()
}
