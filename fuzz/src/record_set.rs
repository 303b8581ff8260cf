//! Record sets as Route 53 answers them, in the JSON of the journal and of the control API.

use zonefold::adapters::route53::offline::through_the_sdk;
use zonefold::core::dns::record::{RawRecordSet, RecordSet};
use zonefold::core::endpoint::packed::PackedRecord;
use zonefold::emulator::offline::{read_changes, write_changes};
use zonefold::emulator::{ChangeAction, RecordChange};

/// The bytes are one set.
pub fn run(data: &[u8]) {
    let Ok(raw) = serde_json::from_slice::<RawRecordSet>(data) else { return };
    check_raw(&raw);
}

/// What has to be true of any set, whoever wrote it.
pub fn check_raw(raw: &RawRecordSet) {
    let json = serde_json::to_string(raw).unwrap();
    assert_eq!(serde_json::from_str::<RawRecordSet>(&json).unwrap(), *raw);
    assert!(raw.record_count() >= 1);
    if let Ok(key) = raw.key() {
        let packed = PackedRecord::pack(&key, raw);
        assert_eq!(packed.unpack(&key), *raw);
        assert_eq!(PackedRecord::from_bytes(packed.as_bytes()).unwrap().unpack(&key), *raw);
    }
    if let Some(back) = through_the_sdk(raw) {
        assert_eq!(back, *raw);
    }
    let changes = [RecordChange { action: ChangeAction::Create, set: raw.clone() }];
    // The schema refuses much that JSON can say; what it takes is what was written.
    if let Ok(read) = read_changes(&write_changes(&changes)) {
        assert_eq!(read, changes);
    }
    if let Ok(set) = raw.canonical() {
        check_canonical(&set);
        assert_eq!(set.key, raw.key().unwrap());
    }
}

/// What is written to Route 53 reads as what was wanted; else a set would differ from itself for ever.
pub fn check_canonical(set: &RecordSet) {
    let written = set.to_raw();
    assert_eq!(written.canonical().as_ref(), Ok(set));
    assert_eq!(written.canonical().unwrap().to_raw(), written);
    assert_eq!(through_the_sdk(&written).as_ref(), Some(&written));
}
