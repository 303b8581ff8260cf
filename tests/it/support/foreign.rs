//! Record sets that Zonefold did not make, between those that it makes.

use zonefold::core::dns::record::RawRecordSet;
use zonefold::emulator::{ChangeAction, Control, RecordChange, View};

/// Writes `of_each_zone` record sets into each zone, and answers them all.
pub fn write_foreign(control: &Control, of_each_zone: u8) -> Vec<(String, String)> {
    for zone in control.zones() {
        for i in 0..of_each_zone {
            let set = RawRecordSet {
                name: format!("foreign{i}.{}", zone.name).into(),
                rtype: "A".into(),
                ttl_secs: Some(60),
                values: vec![format!("203.0.113.{i}").into()],
                ..RawRecordSet::default()
            };
            let create = RecordChange { action: ChangeAction::Create, set };
            control.foreign_write(&zone.id, &[create]).unwrap();
        }
    }
    foreign_records(control)
}

/// All of them, as they are now.
pub fn foreign_records(control: &Control) -> Vec<(String, String)> {
    let zones = control.zones();
    let sets = zones.iter().flat_map(|zone| control.records(&zone.id, View::Accepted).unwrap());
    sets.filter(|set| set.name.starts_with("foreign"))
        .map(|set| (set.name.to_string(), format!("{:?}", set.values)))
        .collect()
}
