use super::*;
use cairn_bus::{Log, Reader, TopicSpec};
use std::sync::Mutex;

/// A log that remembers who came, and lets nobody in.
#[derive(Default)]
struct Door(Mutex<Vec<Membership>>);

impl Log for Door {
    fn kind(&self) -> &'static str {
        "door"
    }
    fn topics(&self) -> Result<BTreeMap<String, TopicState>, Fault> {
        Ok(BTreeMap::new())
    }
    fn create(&self, _wanted: &[TopicSpec]) -> Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }
    fn open(&self, who: Membership) -> Result<Box<dyn Session>, Fault> {
        self.0.lock().expect("no test panics within").push(who);
        Err(Fault::Unreachable("closed".to_owned()))
    }
    fn reader(&self) -> Result<Box<dyn Reader>, Fault> {
        Err(Fault::Unreachable("closed".to_owned()))
    }
}

fn sent(body: &'static [u8]) -> Sent {
    let headers = axum::http::HeaderMap::new();
    Sent {
        caller: crate::gateway::callers::Callers::of(&Config::default().gateway)
            .caller(&headers)
            .expect("anybody"),
        body: Bytes::from_static(body),
        shape: Shape::of(&headers).expect("lines"),
        key: None,
        traceparent: None,
    }
}

/// In a container every process has the pid 1: the transactional id is made of the instance, and of nothing else that two
/// instances could share or one could lose.
#[test]
fn the_session_is_the_instances_own_and_the_same_after_a_restart() {
    let door = Arc::new(Door::default());
    let store = Arc::new(cairn_bus::registry::MemoryStore::default());
    let place = Place {
        log: door.clone(),
        registry: Arc::new(cairn_bus::registry::StoreRegistry(store)),
        store: None,
    };
    let ask = |instance: &str| {
        let inbox = start(
            &Config::default(),
            &place,
            Arc::new(Metrics::new()),
            instance,
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let response = runtime.block_on(inbox.take(sent(b"{}")));
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    };
    ["left", "right", "left"].into_iter().for_each(ask);
    let came: Vec<_> = door
        .0
        .lock()
        .expect("no test panics within")
        .iter()
        .map(|who| (who.operator.clone(), who.instance.clone(), who.thread))
        .collect();
    let expected = ["left", "right", "left"];
    assert_eq!(
        came,
        expected.map(|instance| ("gateway".to_owned(), instance.to_owned(), 0))
    );
}

/// A log at whose door everybody waits until it is opened.
struct Slow {
    came: std::sync::mpsc::Sender<()>,
    gate: Arc<Mutex<()>>,
}

impl Log for Slow {
    fn kind(&self) -> &'static str {
        "slow"
    }
    fn topics(&self) -> Result<BTreeMap<String, TopicState>, Fault> {
        Ok(BTreeMap::new())
    }
    fn create(&self, _wanted: &[TopicSpec]) -> Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }
    fn open(&self, _who: Membership) -> Result<Box<dyn Session>, Fault> {
        self.came.send(()).expect("the test listens");
        drop(self.gate.lock().expect("no test panics within"));
        Err(Fault::Unreachable("closed".to_owned()))
    }
    fn reader(&self) -> Result<Box<dyn Reader>, Fault> {
        Err(Fault::Unreachable("closed".to_owned()))
    }
}

#[test]
fn who_finds_the_queue_full_is_told_when_to_come_back() {
    let (came, comes) = std::sync::mpsc::channel();
    let gate = Arc::new(Mutex::new(()));
    let slow = Slow {
        came,
        gate: gate.clone(),
    };
    let store = Arc::new(cairn_bus::registry::MemoryStore::default());
    let place = Place {
        log: Arc::new(slow),
        registry: Arc::new(cairn_bus::registry::StoreRegistry(store)),
        store: None,
    };
    let mut config = Config::default();
    config.gateway.queue_requests_max = 1;
    let inbox = start(&config, &place, Arc::new(Metrics::new()), "a");
    let (answer, answers) = std::sync::mpsc::channel();
    let ask = || {
        let (inbox, answer) = (inbox.clone(), answer.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime");
            let response = runtime.block_on(inbox.take(sent(b"{}")));
            answer.send(response).expect("the test listens");
        });
    };
    let shut = gate.lock().expect("no test panics within");
    ask();
    comes.recv().expect("the writer is at the door");
    // of the next two one waits in the queue, and one does not find room
    ask();
    ask();
    let full = answers.recv().expect("an answer");
    assert_eq!(full.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(full.headers()["retry-after"], "1");
    drop(shut);
    for _ in 0..2 {
        let answer = answers.recv().expect("an answer");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
