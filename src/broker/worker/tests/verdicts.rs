//! Verdicts on their way to the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::world::{START, World, requests, www};
use crate::broker::directory::Directory;
use crate::broker::directory::entry::{EndpointEntry, Status};
use crate::broker::status::feedback::{Feedback, Keeper, VerdictKeeper};
use crate::core::endpoint::packed::PackedEndpoint;
use crate::core::endpoint::verdict::{Reason, Verdict, VerdictState};
use crate::core::testkit::{cluster, endpoint, zone_context};
use crate::ports::Store;

#[tokio::test(start_paused = true)]
async fn the_store_has_the_last_verdict_also_when_its_answers_were_lost() {
    let world = World::new(1, requests(100.0, 50.0));
    let (keeper, dirty_claims) = VerdictKeeper::new(Arc::clone(&world.store) as Arc<dyn Store>);
    let keeping = tokio::spawn(keeper.run());
    let feedback = Feedback::new(Arc::new(Directory::default()), dirty_claims);
    let held = EndpointEntry::new(
        cluster("east"),
        1,
        &PackedEndpoint::pack(&endpoint("web", &www(0), "A", &["192.0.2.1"])),
    );
    let tell = |verdict: Verdict| {
        feedback.judge(Keeper::Here, &held, Arc::new(Status::of(verdict)), START)
    };
    let while_it_is_kept = || tokio::time::sleep(Duration::from_secs(10));

    tell(Verdict::accepted(zone_context().placement));
    while_it_is_kept().await;
    world.store.loses_verdict_answers.store(true, Ordering::Relaxed);
    tell(Verdict::rejected(Reason::InvalidName, "that is none"));
    while_it_is_kept().await;
    assert_eq!(world.store.verdicts.lock().unwrap().last(), Some(&VerdictState::Rejected));
    // The one before comes back; it is no longer known which of them is stored.
    tell(Verdict::accepted(zone_context().placement));
    world.store.loses_verdict_answers.store(false, Ordering::Relaxed);
    while_it_is_kept().await;
    let stored = world.store.verdicts.lock().unwrap().clone();
    assert_eq!(stored.last(), Some(&VerdictState::Accepted));

    while_it_is_kept().await;
    assert_eq!(
        world.store.verdicts.lock().unwrap().len(),
        stored.len(),
        "what is kept is not written again"
    );
    drop(feedback);
    keeping.await.unwrap();
}
