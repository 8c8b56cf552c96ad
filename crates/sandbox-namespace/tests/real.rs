//! Real sandboxes: a step runs, and nothing is left.

use std::time::Instant;

use sandbox::{Backend, Session, Template};
use sandbox_namespace::{NamespaceBackend, Spawner, SpawnerOptions};

#[tokio::test]
async fn opens() {
    let options = SpawnerOptions { threads: true, ..SpawnerOptions::default() };
    let spawner = match Spawner::start(&options) { Ok(s) => s, Err(e) => panic!("{e}: {e:?}") };
    let backend = NamespaceBackend::new(spawner).expect("talks");
    for _ in 0..20 {
        let start = Instant::now();
        let sandbox = backend.create(&Template::default()).await.expect("made");
        let made = start.elapsed();
        let session = Session::open(sandbox, &[]).await.unwrap_or_else(|e| panic!("{e}"));
        let hello = start.elapsed();
        println!("{made:?} {hello:?} {:?}", session.layers().iter().filter(|r| !r.enforced).collect::<Vec<_>>());
        session.discard().await.expect("discarded");
        println!("discard {:?}", start.elapsed()-hello);
    }
}
