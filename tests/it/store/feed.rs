//! The news that replicas send each other: on PostgreSQL, since SQLite has one.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::FutureExt as _;
use zonefold::core::endpoint::verdict::{Placement, Reason, Verdict};
use zonefold::core::time::Millis;
use zonefold::ports::{EndpointNews, FeedEntry, News, RecordWrite, VerdictRow};

use super::*;
use crate::support::wait::{DEADLINE, eventually};

const ALL: u32 = 100_000;

/// Two replicas over one database: one that tells and one that reads.
struct Pair {
    place: Place,
    teller: Arc<dyn Store>,
    reader: Arc<dyn Store>,
}

impl Pair {
    async fn new() -> Self {
        let place = Place::postgres().await;
        let (teller, reader) =
            (place.open().await.of_replica(replica(1)), place.open().await.of_replica(replica(2)));
        Self { place, teller, reader }
    }

    async fn read(&self, after: u64) -> Vec<FeedEntry> {
        self.reader.feed(after, ALL).await.unwrap()
    }
}

/// The objects of what was stored and `-` for what was removed, entry by entry.
fn objects(entries: &[FeedEntry]) -> Vec<Vec<String>> {
    let object = |news: &EndpointNews| match news {
        EndpointNews::Placed(row) => format!("@{}", row.endpoint.view().object),
        EndpointNews::Stored(row) => row.endpoint.view().object.to_owned(),
        EndpointNews::Removed { .. } => "-".to_owned(),
    };
    let of_entry = |entry: &FeedEntry| match &entry.news {
        News::Endpoints(news) => news.iter().map(object).collect(),
        other => panic!("{other:?}"),
    };
    entries.iter().map(of_entry).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ingested_is_told_as_it_is_stored() {
    let pair = Pair::new().await;
    let (east, west) = (cluster("east"), cluster("west"));
    let epochs = [session(&*pair.teller, &east).await, session(&*pair.teller, &west).await];
    assert_eq!(pair.reader.feed_end().await.unwrap(), 0, "a session is no news");
    let units = [
        unit(&west, epochs[1], 1, vec![put(endpoint(1, "192.0.2.1"))]),
        unit(
            &east,
            epochs[0],
            1,
            vec![put(endpoint(1, "192.0.2.1")), put(endpoint(2, "192.0.2.1"))],
        ),
        unit(&east, Epoch(9), 1, vec![put(endpoint(3, "192.0.2.1"))]),
    ];
    pair.teller.ingest(&units, Timestamp(5)).await.unwrap();
    let rows = pair.reader.endpoints(0, 10).await.unwrap();
    assert_eq!(rows.len(), 3);
    let stored: Vec<_> = rows.iter().cloned().map(EndpointNews::Stored).collect();
    let first = FeedEntry { seq: 1, origin: replica(1), news: News::Endpoints(stored) };
    assert_eq!(pair.read(0).await, [first]);

    let ops = vec![
        put(endpoint(2, "192.0.2.9")),
        del(&endpoint(1, "192.0.2.1")),
        put(endpoint(4, "192.0.2.1")),
    ];
    commit(&*pair.teller, &east, epochs[0], ops).await;
    let rows = pair.reader.endpoints(0, 10).await.unwrap();
    let removed = EndpointNews::Removed { cluster: east.clone(), key: endpoint(1, "").key.hash() };
    let [_, two, four] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(two.endpoint.view().targets, ["192.0.2.9"]);
    let news = News::Endpoints(vec![
        removed,
        EndpointNews::Stored(two.clone()),
        EndpointNews::Stored(four.clone()),
    ]);
    assert_eq!(pair.read(1).await, [FeedEntry { seq: 2, origin: replica(1), news }]);
    assert_eq!(pair.reader.feed_end().await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_nothing_is_no_news() {
    let pair = Pair::new().await;
    let east = cluster("east");
    let epoch = session(&*pair.teller, &east).await;
    let (one, two) = (endpoint(1, "192.0.2.1"), endpoint(2, "192.0.2.1"));
    commit(&*pair.teller, &east, epoch, vec![put(one.clone()), put(two.clone())]).await;
    pair.teller.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    let end = pair.reader.feed_end().await.unwrap();
    assert_eq!(end, 2);

    commit(&*pair.teller, &east, epoch, vec![]).await;
    commit(
        &*pair.teller,
        &east,
        epoch,
        vec![put(one.clone()), del(&endpoint(9, "192.0.2.1")), del(&endpoint(2, "other"))],
    )
    .await;
    let there_and_back = vec![
        put(endpoint(1, "other")),
        put(one.clone()),
        put(endpoint(5, "x")),
        del(&endpoint(5, "x")),
    ];
    commit(&*pair.teller, &east, epoch, there_and_back).await;
    let arrival = pair.teller.endpoints(0, 1).await.unwrap()[0].arrival;
    let verdict = Verdict::waiting(Reason::NoZone, "no zone", None);
    pair.teller
        .save_verdicts(&[VerdictRow {
            cluster: east.clone(),
            arrival,
            version: one.version(),
            verdict,
        }])
        .await
        .unwrap();
    pair.teller.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    pair.teller.save_zones(&[]).await.unwrap();
    pair.teller
        .save_records(&zone_id(), &[RecordWrite::Remove(record_key("a.example.com"))], None)
        .await
        .unwrap();
    pair.teller.announce(replica(1), vec![]).await.unwrap();
    assert_eq!(pair.reader.feed_end().await.unwrap(), end);

    commit(&*pair.teller, &east, epoch, vec![put(endpoint(2, "192.0.2.2")), put(one)]).await;
    assert_eq!(objects(&pair.read(end).await), [["web-2"]], "of what changes one thing, that one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_read_as_its_endpoints_are_now() {
    let pair = Pair::new().await;
    let east = cluster("east");
    let epoch = session(&*pair.teller, &east).await;
    let say = async |ops| drop(commit(&*pair.teller, &east, epoch, ops).await);
    say(vec![
        put(endpoint(1, "192.0.2.1")),
        put(endpoint(2, "192.0.2.1")),
        put(endpoint(3, "192.0.2.1")),
    ])
    .await;
    say(vec![
        put(endpoint(1, "192.0.2.9")),
        del(&endpoint(2, "192.0.2.1")),
        del(&endpoint(3, "192.0.2.1")),
    ])
    .await;
    say(vec![put(endpoint(3, "192.0.2.7"))]).await;
    let entries = pair.read(0).await;
    // The first three are read in what became of them: one in its later version, two gone, of which one came back later.
    assert_eq!(objects(&entries), [vec!["web-1"], vec!["-", "-", "web-1"], vec!["web-3"]]);
    let News::Endpoints(news) = &entries[0].news else { panic!("{entries:?}") };
    let EndpointNews::Stored(row) = &news[0] else { panic!("{news:?}") };
    assert_eq!(row.version, endpoint(1, "192.0.2.9").version());

    // Removed and back in one transaction: it is there, under another arrival.
    say(vec![del(&endpoint(1, "192.0.2.9")), put(endpoint(1, "192.0.2.9"))]).await;
    assert_eq!(objects(&pair.read(3).await), [["web-1"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_comes_with_the_endpoint_also_of_a_zone_that_another_replica_moved() {
    let pair = Pair::new().await;
    let east = cluster("east");
    let epoch = session(&*pair.teller, &east).await;
    pair.teller.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    let one = endpoint(1, "192.0.2.1");
    commit(&*pair.teller, &east, epoch, vec![put(one.clone())]).await;
    let arrival = pair.teller.endpoints(0, 1).await.unwrap()[0].arrival;
    let verdict = Verdict::accepted(Placement { account: account(), zone: zone_id() });
    pair.teller
        .save_verdicts(&[VerdictRow {
            cluster: east,
            arrival,
            version: one.version(),
            verdict: verdict.clone(),
        }])
        .await
        .unwrap();
    let told_verdict = async || match &pair.read(0).await[1].news {
        News::Endpoints(news) => match &news[..] {
            [EndpointNews::Stored(row)] => row.verdict.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(told_verdict().await, Some(verdict));
    let other = AccountId::parse("222222222222").unwrap();
    pair.teller
        .save_zones(&[ZoneRow { account: other.clone(), ..zone_row("Z1", "example.com") }])
        .await
        .unwrap();
    assert_eq!(
        told_verdict().await,
        Some(Verdict::accepted(Placement { account: other, zone: zone_id() }))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_is_told_with_its_account_and_is_visible_or_not() {
    let pair = Pair::new().await;
    let other = AccountId::parse("222222222222").unwrap();
    let theirs = ZoneRow { account: other.clone(), ..zone_row("Z3", "example.net") };
    let rows = [zone_row("Z1", "example.com"), zone_row("Z2", "example.org"), theirs];
    pair.teller.save_zones(&rows).await.unwrap();
    let told =
        |entries: Vec<FeedEntry>| entries.into_iter().map(|entry| entry.news).collect::<Vec<_>>();
    assert_eq!(
        told(pair.read(0).await),
        [News::Zones(account()), News::Zones(other)],
        "an account is told once"
    );
    let hidden = ZoneRow { visible: false, ..rows[1].clone() };
    pair.teller.save_zones(std::slice::from_ref(&hidden)).await.unwrap();
    assert_eq!(told(pair.read(2).await), [News::Zones(account())]);
    assert_eq!(pair.reader.zones().await.unwrap()[1], hidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_statuses_and_questions_are_announced() {
    let pair = Pair::new().await;
    let said = vec![News::Ask, News::Statuses(Bytes::from_static(b"\0\xffstatuses"))];
    pair.teller.announce(replica(7), said.clone()).await.unwrap();
    let read = pair.read(0).await;
    assert_eq!(
        read.iter().map(|entry| (entry.seq, entry.origin)).collect::<Vec<_>>(),
        [(1, replica(7)), (2, replica(7))]
    );
    assert_eq!(read.into_iter().map(|entry| entry.news).collect::<Vec<_>>(), said);
    for news in [News::Zones(account()), News::Endpoints(vec![])] {
        let refused = pair.teller.announce(replica(1), vec![News::Ask, news]).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    }
    assert_eq!(pair.reader.feed_end().await.unwrap(), 2, "nothing of it was announced");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_told_itself_comes_without_what_it_knows() {
    let pair = Pair::new().await;
    let east = cluster("east");
    let epoch = session(&*pair.teller, &east).await;
    commit(&*pair.teller, &east, epoch, vec![put(endpoint(1, "192.0.2.1"))]).await;
    pair.teller.announce(replica(1), vec![News::Statuses(Bytes::from_static(b"x"))]).await.unwrap();
    pair.teller.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    let own: Vec<_> =
        pair.teller.feed(0, ALL).await.unwrap().into_iter().map(|entry| entry.news).collect();
    assert_eq!(
        own,
        [News::Endpoints(vec![]), News::Statuses(Bytes::new()), News::Zones(account())]
    );
    assert_eq!(objects(&pair.read(0).await[..1]), [["web-1"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_of_about_so_many_endpoints() {
    let pair = Pair::new().await;
    let east = cluster("east");
    let epoch = session(&*pair.teller, &east).await;
    for number in 0..4 {
        let ops = (0..3).map(|part| put(endpoint(number * 3 + part, "192.0.2.1"))).collect();
        commit(&*pair.teller, &east, epoch, ops).await;
    }
    for (after, limit, seqs) in [
        (0, 0, vec![1]),
        (0, 1, vec![1]),
        (0, 3, vec![1]),
        (0, 4, vec![1, 2]),
        (1, 7, vec![2, 3, 4]),
        (4, 9, vec![]),
    ] {
        let page = pair.reader.feed(after, limit).await.unwrap();
        assert_eq!(
            page.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
            seqs,
            "after {after}, {limit}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_for_longer_than_the_feed_is_kept_is_told_so() {
    let pair = Pair::new().await;
    pair.teller.announce(replica(1), vec![News::Ask; 5]).await.unwrap();
    assert_eq!(pair.reader.prune_feed(Millis(3_600_000)).await.unwrap(), 0, "all are young");
    pair.place.tamper("update feed set at = 0 where seq <= 2").await.unwrap();
    assert_eq!(pair.reader.prune_feed(Millis(3_600_000)).await.unwrap(), 2);
    assert_eq!(pair.reader.prune_feed(Millis(3_600_000)).await.unwrap(), 0);
    for after in 0..=1 {
        let cut = pair.reader.feed(after, ALL).await;
        assert!(
            matches!(cut, Err(StoreError::FeedCut { after: said }) if said == after),
            "{cut:?}"
        );
    }
    assert_eq!(pair.read(2).await.len(), 3, "exactly what was cut is missing");
    // The last entry goes too, and its number is not given out again.
    pair.place.tamper("update feed set at = 0").await.unwrap();
    assert_eq!(pair.reader.prune_feed(Millis(3_600_000)).await.unwrap(), 3);
    assert!(matches!(pair.reader.feed(4, ALL).await, Err(StoreError::FeedCut { after: 4 })));
    assert!(pair.read(5).await.is_empty());
    pair.teller.announce(replica(1), vec![News::Ask]).await.unwrap();
    assert_eq!(pair.read(5).await[0].seq, 6);
    let ahead = pair.reader.feed(7, ALL).await;
    assert!(
        matches!(ahead, Err(StoreError::FeedCut { after: 7 })),
        "the store was restored to an older state: {ahead:?}"
    );
}

/// Four replicas ingest, save zones and announce at once; a reader polls meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_gets_every_entry_once_and_in_order_while_others_write() {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 30;
    let pair = Pair::new().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = pair.place.open().await.of_replica(replica(10 + writer as u128));
        writers.spawn(async move {
            let own = cluster(&format!("cluster-{writer}"));
            let epoch = session(&*store, &own).await;
            for round in 0..ROUNDS {
                let ops = (0..3).map(|part| put(endpoint(round * 3 + part, "192.0.2.1"))).collect();
                commit(&*store, &own, epoch, ops).await;
                match round % 3 {
                    0 => store
                        .save_zones(&[zone_row(&format!("Z{writer}X{round}"), "example.com")])
                        .await
                        .unwrap(),
                    1 => store
                        .announce(replica(10 + writer as u128), vec![News::Ask, News::Ask])
                        .await
                        .unwrap(),
                    _ => {}
                }
            }
        });
    }
    let (mut last, mut finished, mut complete) = (0, 0, false);
    let mut seen: BTreeMap<(ClusterId, String), usize> = BTreeMap::new();
    let mut others = 0;
    while !complete {
        while let Some(done) = writers.try_join_next() {
            done.unwrap();
            finished += 1;
        }
        // A writer that has finished before this page is wholly in it or in one before.
        complete = finished == WRITERS;
        loop {
            let page = pair.reader.feed(last, 20).await.unwrap();
            if page.is_empty() {
                break;
            }
            for entry in page {
                assert_eq!(entry.seq, last + 1, "without a gap, in order");
                last = entry.seq;
                match entry.news {
                    News::Endpoints(news) => {
                        assert_eq!(news.len(), 3);
                        for one in news {
                            let EndpointNews::Stored(row) = one else { panic!("{one:?}") };
                            *seen
                                .entry((row.cluster, row.endpoint.view().object.to_owned()))
                                .or_default() += 1;
                        }
                    }
                    _ => others += 1,
                }
            }
        }
    }
    assert_eq!((seen.len(), others), (WRITERS * ROUNDS * 3, WRITERS * ROUNDS));
    assert!(seen.values().all(|times| *times == 1));
    assert_eq!(pair.reader.feed_end().await.unwrap(), last);
}

/// Returns when the store says that there may be news.
async fn woken(store: &dyn Store) {
    tokio::time::timeout(DEADLINE, store.feed_changed()).await.expect("nothing was heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_news_is_woken_by_another_replica_and_not_by_itself() {
    let pair = Pair::new().await;
    // The connections stand: entries before that may have been missed.
    tokio::join!(woken(&*pair.teller), woken(&*pair.reader));
    for round in 0..3 {
        // Two who wait are both woken.
        let (mut one, mut two) = (Box::pin(woken(&*pair.reader)), Box::pin(woken(&*pair.reader)));
        assert!((&mut one).now_or_never().is_none() && (&mut two).now_or_never().is_none());
        pair.teller.announce(replica(1), vec![News::Ask]).await.unwrap();
        tokio::join!(one, two);
        assert!(
            pair.teller.feed_changed().now_or_never().is_none(),
            "round {round}: it said so itself"
        );
    }
    // News that comes while no reader waits is not lost.
    pair.reader.announce(replica(2), vec![News::Ask]).await.unwrap();
    woken(&*pair.teller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_that_listens_is_made_again() {
    let pair = Pair::new().await;
    woken(&*pair.reader).await;
    for _ in 0..2 {
        let listening = "select count(*) from pg_stat_activity where query like 'LISTEN%' and datname = current_database()";
        assert_eq!(pair.place.count(listening).await, 1, "one connection, however often one waits");
        pair.place
            .tamper(
                "select pg_terminate_backend(pid) from pg_stat_activity
                  where query like 'LISTEN%' and datname = current_database()",
            )
            .await
            .unwrap();
        woken(&*pair.reader).await;
        eventually("the new connection hears", async || {
            pair.teller.announce(replica(1), vec![News::Ask]).await.unwrap();
            let heard =
                tokio::time::timeout(std::time::Duration::from_secs(1), pair.reader.feed_changed())
                    .await;
            heard.map_err(|_| "nothing was heard".to_owned())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_shared_has_no_feed() {
    let place = Place::sqlite();
    let store = place.open().await.of_replica(replica(1));
    let east = cluster("east");
    let epoch = session(&*store, &east).await;
    commit(&*store, &east, epoch, vec![put(endpoint(1, "192.0.2.1"))]).await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    store.announce(replica(1), vec![News::Ask]).await.unwrap();
    assert!(store.announce(replica(1), vec![News::Zones(account())]).await.is_err());
    assert_eq!(store.feed_end().await.unwrap(), 0);
    assert!(store.feed(0, ALL).await.unwrap().is_empty());
    assert!(store.feed_changed().now_or_never().is_none());
    assert_eq!(store.prune_feed(Millis(0)).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_a_kind_that_is_unknown_is_passed_over() {
    let pair = Pair::new().await;
    pair.teller.announce(replica(1), vec![News::Ask, News::Ask]).await.unwrap();
    pair.place
        .tamper("update feed set kind = 99, payload = 'moonlight' where seq = 1")
        .await
        .unwrap();
    let read = pair.read(0).await;
    assert_eq!(read.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
    assert!(matches!(&read[0].news, News::Endpoints(news) if news.is_empty()), "{read:?}");
    assert!(matches!(&read[1].news, News::Ask), "{read:?}");
}
