//! Zones, observed records and claims.

use zonefold::ports::{ClaimRow, ClaimWrite, Drift, Ownership, RecordRow, RecordWrite};

use super::*;

on_both_databases!(
    a_zone_is_replaced_by_its_id_and_keeps_when_it_was_listed,
    the_tags_of_a_zone_are_kept_and_forgotten_when_nobody_asks_for_them,
    records_come_in_route_53s_list_order,
    a_record_set_reads_back_whole_and_the_last_write_counts,
    nothing_is_kept_about_a_zone_that_is_not_stored,
    claims_are_those_of_the_zones_asked_for,
    a_claim_is_released_in_its_own_zone_only,
);

async fn a_zone_is_replaced_by_its_id_and_keeps_when_it_was_listed(place: Place) {
    let store = place.open().await;
    store
        .save_zones(&[zone_row("Z2", "two.example"), zone_row("Z1", "one.example")])
        .await
        .unwrap();
    assert_eq!(
        store.zones().await.unwrap(),
        [zone_row("Z1", "one.example"), zone_row("Z2", "two.example")]
    );
    store.save_records(&zone_id(), &[], Some(Timestamp(50))).await.unwrap();
    let moved = ZoneRow {
        private: true,
        environment: EnvironmentId::parse("dev").unwrap(),
        ..zone_row("Z1", "one.example")
    };
    store.save_zones(std::slice::from_ref(&moved)).await.unwrap();
    let listed = ZoneRow { listed_at: Some(Timestamp(50)), ..moved };
    assert_eq!(store.zones().await.unwrap(), [listed, zone_row("Z2", "two.example")]);
}

async fn the_tags_of_a_zone_are_kept_and_forgotten_when_nobody_asks_for_them(place: Place) {
    let store = place.open().await;
    let tags = |pairs: &[(&str, &str)]| {
        Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    };
    for tags in [tags(&[("owner", "terraform"), ("ö", "")]), tags(&[]), None] {
        let row = ZoneRow { tags, ..zone_row("Z1", "one.example") };
        store.save_zones(std::slice::from_ref(&row)).await.unwrap();
        assert_eq!(store.zones().await.unwrap(), [row]);
    }
}

fn record(name: &str, rtype: RecordType, set: Option<&str>) -> RecordRow {
    let key = RecordKey { name: dns(name), rtype, set_identifier: set.map(ArcStr::from) };
    let raw = RawRecordSet {
        set_identifier: set.map(ArcStr::from),
        rtype: rtype.as_str().into(),
        ..raw(name, "value")
    };
    RecordRow {
        raw: PackedRecord::pack(&key, &raw),
        key,
        owner: None,
        drift: None,
        observed_at: Timestamp(7),
    }
}

async fn records_come_in_route_53s_list_order(place: Place) {
    let store = place.open().await;
    store
        .save_zones(&[zone_row("Z1", "example.com"), zone_row("Z2", "example.net")])
        .await
        .unwrap();
    let mut rows = vec![];
    for name in [
        "b.example.com",
        "example.com",
        "a-b.example.com",
        "a.example.com",
        "x.a.example.com",
        "*.example.com",
    ] {
        for rtype in [RecordType::Txt, RecordType::observed("DNAME"), RecordType::A] {
            for set in [Some("b"), None, Some("ä"), Some("a")] {
                rows.push(record(name, rtype, set));
            }
        }
    }
    let writes: Vec<_> = rows.iter().cloned().map(RecordWrite::Put).collect();
    store.save_records(&zone_id(), &writes, None).await.unwrap();
    store.save_records(&ZoneId::parse("Z2").unwrap(), &writes[..1], None).await.unwrap();
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    let mut seen: Vec<RecordRow> = vec![];
    loop {
        let page = store.records(&zone_id(), seen.last().map(|row| &row.key), 5).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert_eq!(seen, rows);
}

async fn a_record_set_reads_back_whole_and_the_last_write_counts(place: Place) {
    let store = place.open().await;
    store.save_zones(&[zone_row("Z1", "example.com")]).await.unwrap();
    let foreign = record("a.example.com", RecordType::A, None);
    let owner = Ownership { cluster: cluster("never-had-a-session"), batch: batch(5, &[]).id };
    let ours = RecordRow {
        owner: Some(owner),
        drift: Some(Drift::Missing),
        observed_at: Timestamp(8),
        ..foreign.clone()
    };
    let writes = [
        RecordWrite::Remove(foreign.key.clone()),
        RecordWrite::Put(foreign.clone()),
        RecordWrite::Put(ours.clone()),
    ];
    store.save_records(&zone_id(), &writes, None).await.unwrap();
    assert_eq!(store.records(&zone_id(), None, 10).await.unwrap(), [ours]);
    assert!(store.clusters().await.unwrap().is_empty(), "an owner is no session");
    store.save_records(&zone_id(), &[RecordWrite::Put(foreign.clone())], None).await.unwrap();
    assert_eq!(store.records(&zone_id(), None, 10).await.unwrap(), std::slice::from_ref(&foreign));
    let writes = [RecordWrite::Put(foreign.clone()), RecordWrite::Remove(foreign.key)];
    store.save_records(&zone_id(), &writes, Some(Timestamp(9))).await.unwrap();
    assert!(store.records(&zone_id(), None, 10).await.unwrap().is_empty());
    assert_eq!(store.zones().await.unwrap()[0].listed_at, Some(Timestamp(9)));
}

async fn nothing_is_kept_about_a_zone_that_is_not_stored(place: Place) {
    let store = place.open().await;
    let error = store.save_records(&zone_id(), &[], Some(Timestamp(1))).await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused(text) if text.contains("Z1")), "{error}");
    let error = store.begin_batch(&batch(1, &["a.example.com"]), &[]).await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused(text) if text.contains("Z1")), "{error}");
    assert!(store.records(&zone_id(), None, 10).await.unwrap().is_empty());
    assert!(store.claims(&[zone_id()]).await.unwrap().is_empty());
}

async fn claims_are_those_of_the_zones_asked_for(place: Place) {
    let store = place.open().await;
    store
        .save_zones(&[zone_row("Z1", "example.com"), zone_row("Z2", "example.net")])
        .await
        .unwrap();
    let claim = |zone: &str, name: &str, since| ClaimRow {
        zone: ZoneId::parse(zone).unwrap(),
        name: dns(name),
        cluster: cluster("east"),
        since: Timestamp(since),
    };
    let [one, two, other] = [
        claim("Z1", "a.example.com", 1),
        claim("Z1", "b.example.com", 2),
        claim("Z2", "a.example.net", 3),
    ];
    let holds: Vec<_> = [&one, &two, &other].map(|row| ClaimWrite::Hold(row.clone())).into();
    store.begin_batch(&batch(1, &["a.example.com"]), &holds).await.unwrap();
    assert_eq!(store.claims(&[zone_id()]).await.unwrap(), [one.clone(), two.clone()]);
    assert_eq!(store.claims(&[zone_id(), other.zone.clone()]).await.unwrap().len(), 3);
    assert!(store.claims(&[]).await.unwrap().is_empty());

    let passed = ClaimRow { cluster: cluster("west"), since: Timestamp(9), ..one.clone() };
    let release = ClaimWrite::Release { zone: zone_id(), name: two.name.clone() };
    let writes = [
        ClaimWrite::Release { zone: zone_id(), name: one.name },
        ClaimWrite::Hold(passed.clone()),
        release,
    ];
    store.begin_batch(&batch(2, &["a.example.com"]), &writes).await.unwrap();
    assert_eq!(store.claims(&[zone_id()]).await.unwrap(), std::slice::from_ref(&passed));

    // The same where no batch takes them along.
    let writes =
        [ClaimWrite::Release { zone: zone_id(), name: passed.name }, ClaimWrite::Hold(two.clone())];
    store.save_claims(&writes).await.unwrap();
    assert_eq!(store.claims(&[zone_id()]).await.unwrap(), [two]);
}

async fn a_claim_is_released_in_its_own_zone_only(place: Place) {
    let store = place.open().await;
    store
        .save_zones(&[zone_row("Z1", "example.com"), zone_row("Z2", "example.com")])
        .await
        .unwrap();
    let zones = ["Z1", "Z2"].map(|zone| ZoneId::parse(zone).unwrap());
    // Eight releases: as many as SQLite takes in one statement, where a pair could be mistaken for another.
    let names: Vec<_> = (0..8).map(|number| dns(&format!("n{number}.example.com"))).collect();
    let everywhere =
        zones.iter().flat_map(|zone| names.iter().map(move |name| (zone.clone(), name.clone())));
    let holds = everywhere.map(|(zone, name)| {
        ClaimWrite::Hold(ClaimRow { zone, name, cluster: cluster("east"), since: Timestamp(1) })
    });
    store.begin_batch(&batch(1, &[]), &holds.collect::<Vec<_>>()).await.unwrap();
    let zone_of = |number: usize| zones[number / 4].clone();
    let releases = (0..8)
        .map(|number| ClaimWrite::Release { zone: zone_of(number), name: names[number].clone() });
    store.begin_batch(&batch(2, &[]), &releases.collect::<Vec<_>>()).await.unwrap();
    let left: Vec<_> =
        store.claims(&zones).await.unwrap().into_iter().map(|row| (row.zone, row.name)).collect();
    let expected: Vec<_> =
        (0..8).map(|number| (zone_of(number), names[(number + 4) % 8].clone())).collect();
    assert_eq!(left, expected);
}
