//! Record values of each type.

use arcstr::ArcStr;
use zonefold::core::dns::rdata::{
    MAX_VALUE_CHARS, MAX_VALUES, canonical_value, canonical_values, check_publishable,
};
use zonefold::core::dns::record::RecordType;
use zonefold::emulator::offline::check_value;

/// The first byte chooses the type; each line after it is a value.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = super::split_choice(data) else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let rtype = RecordType::ALL[choice % RecordType::ALL.len()];
    let values: Vec<ArcStr> = text.split('\n').map(ArcStr::from).collect();
    for value in &values {
        // Whatever others wrote has to be answered, readable or not.
        let _judged = check_value(rtype, value);
        match canonical_value(rtype, value) {
            Ok(canonical) => check_canonical(rtype, &canonical),
            Err(error) => assert!(error.value.chars().count() <= 80 && !error.problem.is_empty()),
        }
    }
    if let Ok(set) = canonical_values(rtype, &values) {
        assert!((1..=MAX_VALUES).contains(&set.len()) && set.len() <= values.len());
        assert!(set.is_sorted_by(|a, b| a < b), "{set:?}");
        assert_eq!(canonical_values(rtype, &set).unwrap(), set);
        let turned: Vec<ArcStr> = values.iter().rev().cloned().collect();
        assert_eq!(canonical_values(rtype, &turned).unwrap(), set);
    }
}

/// The canonical text is what it is read as, fits into a call, and is taken by the other reader, the emulator's.
fn check_canonical(rtype: RecordType, canonical: &str) {
    assert!(canonical.is_ascii() && !canonical.is_empty() && canonical.len() <= MAX_VALUE_CHARS);
    assert!(canonical.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{canonical:?}");
    assert_eq!(canonical_value(rtype, canonical).as_deref(), Ok(canonical));
    // What clusters may publish is taken, too; others may hold more.
    let canonical_set = [ArcStr::from(canonical)];
    if check_publishable(rtype, &canonical_set, &canonical_set).is_err() {
        return;
    }
    // Whether Route 53 takes a CAA value of more than 255 octets, nobody has seen; RFC 8659 §4.1 does.
    if rtype != RecordType::Caa || canonical.len() <= 255 {
        assert_eq!(check_value(rtype, canonical), Ok(()), "{rtype} {canonical}");
    }
}
