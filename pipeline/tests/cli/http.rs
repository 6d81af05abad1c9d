//! The gateway as any client sees it: raw bytes to a real listener.

use super::bench::Bench;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A `cairn run` with a gateway; killed when it is dropped.
pub(crate) struct Server {
    run: Child,
    address: SocketAddr,
    /// What it has logged.
    pub(crate) logged: Arc<Mutex<String>>,
}

impl Server {
    /// Its port is one that it took and said: one that a test had seen free could be another server's by then.
    fn start(bench: &Bench) -> Self {
        Self::start_with(bench, &[])
    }

    pub(crate) fn start_with(bench: &Bench, more: &[&str]) -> Self {
        Self::logging(bench, "cairn_pipeline::gateway=info", more)
    }

    pub(crate) fn logging(bench: &Bench, level: &str, more: &[&str]) -> Self {
        let logged = Arc::<Mutex<String>>::default();
        let mut arguments = vec!["run", "--log", level];
        arguments.extend(more);
        let mut run = bench
            .command(&arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(run.stderr.take().expect("piped")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .inspect(|line| keep(&logged, line))
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok())
            .find_map(|said| said["address"].as_str()?.parse::<SocketAddr>().ok())
            .expect("it says where it listens");
        // nobody may wait for a full pipe
        let into = logged.clone();
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| keep(&into, &line));
        });
        Self {
            run,
            address,
            logged,
        }
    }

    fn ask(&self, request: &[u8]) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut stream = loop {
            match std::net::TcpStream::connect(self.address) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => panic!("{error}"),
                Err(_) => std::thread::yield_now(),
            }
        };
        // a server that refuses a body need not read it
        drop(stream.write_all(request));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    pub(crate) fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        self.ask(request.as_bytes())
    }

    pub(crate) fn post(&self, body: &str) -> String {
        self.send("", body.as_bytes())
    }

    /// Sends it again while the answer is that nothing was taken, as a client would.
    pub(crate) fn send(&self, headers: &str, body: &[u8]) -> String {
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.ask(&request);
            if !answer.starts_with("HTTP/1.1 503") || Instant::now() > deadline {
                return answer;
            }
        }
    }
}

fn keep(logged: &Mutex<String>, line: &str) {
    let mut logged = logged.lock().expect("nobody panics with it");
    logged.push_str(line);
    logged.push('\n');
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.run.kill());
        drop(self.run.wait());
    }
}

#[test]
fn http_takes_events_and_answers_for_the_registry() {
    let bench = Bench::new();
    let server = Server::start(&bench);
    let answer =
        server.post("{\"run_id\":\"h\",\"step\":1,\"loss\":2.5}\n{\"run_id\":\"h\",\"stepp\":1}\n");
    assert!(
        answer.starts_with("HTTP/1.1 200")
            && answer.contains("\"accepted\":1,")
            && answer.contains("step"),
        "{answer}"
    );
    assert!(server.get("/healthz").contains("200 OK"));
    let schema = server.get("/subjects/telemetry.training-value/versions/latest");
    assert!(schema.contains("TrainingTelemetry"), "{schema}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !server
        .get("/metrics")
        .contains("cairn_records_in_total{operator=\"runs\"}")
    {
        assert!(Instant::now() < deadline, "the event reaches the runs");
    }
    drop(server);
    let (exit, letters) = bench.json(&["deadletter", "list"]);
    assert_eq!(exit, 0, "{letters:?}");
    assert_eq!(letters.len(), 1);
}

/// Sending it again would not help: the client is told so.
#[test]
fn a_line_that_no_record_can_hold_is_refused_for_good() {
    let bench = Bench::new();
    let server = Server::start(&bench);
    let metrics: Vec<String> = (0..250)
        .map(|number| format!("\"{number:0>4300}\":1"))
        .collect();
    let line = format!(
        "{{\"run_id\":\"h\",\"step\":1,\"metrics\":{{{}}}}}\n",
        metrics.join(",")
    );
    assert!(line.len() > 1_048_588);
    let answer = server.post(&line);
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("oversized"),
        "{answer}"
    );
    // and the line goes on
    let answer = server.post("{\"run_id\":\"h\",\"step\":1,\"loss\":2.5}\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(server);
    let (exit, letters) = bench.json(&["deadletter", "list"]);
    assert_eq!(exit, 0, "{letters:?}");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["class"], "oversized");
}

/// What ingest calls final and what admit would say, HTTP says at once.
#[test]
fn http_judges_as_admit_does() {
    let bench = Bench::new();
    let server = Server::start(&bench);
    let answer = server.post("{\"run_id\":\"h\",\"step\":1,\"event_time_ms\":4000000000000}\n");
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("from_the_future"),
        "{answer}"
    );
}

/// A dead letter names the topic that its line was headed for and where it stood; a replay reads the line again.
#[test]
fn a_dead_letter_of_a_request_knows_its_topic_and_goes_back_to_it() {
    let bench = Bench::new();
    let server = Server::start(&bench);
    let bad = "{\"topic\":\"eval.results\",\"run_id\":\"h\",\"harness\":\"x\",\"task\":\"t\",\"metric\":\"m\",\"value\":\"NaN\"}";
    let answer = server.post(&format!("\n{bad}\n"));
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    drop(server);
    let (exit, letters) = bench.json(&["deadletter", "list"]);
    assert_eq!(exit, 0, "{letters:?}");
    let letter = &letters[0];
    assert_eq!(letter["class"], "not_finite");
    assert_eq!(
        (&letter["source"]["line"], &letter["source"]["byte"]),
        (&2.into(), &1.into()),
        "{letter}"
    );
    let id = letter["id"].as_str().expect("an id");
    let (_, shown) = bench.json(&["deadletter", "show", id, "--open"]);
    assert_eq!(shown[0]["topic"], "eval.results");
    assert_eq!(shown[0]["original"], bad);
    assert_eq!(shown[0]["operator"], "gateway");
    // still bad: a new letter, by the same judge
    let (exit, replayed) = bench.json(&["deadletter", "replay", id]);
    assert_eq!(
        (exit, replayed[0]["outcome"].as_str()),
        (3, Some("dead")),
        "{replayed:?}"
    );
}
