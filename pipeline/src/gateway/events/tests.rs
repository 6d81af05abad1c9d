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
        let response = runtime.block_on(inbox.take(Bytes::from_static(b"{}"), None));
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
