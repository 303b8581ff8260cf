//! Endpoints and record sets in the bytes in which the store and the memory hold them.

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::{RecordKey, RecordType};
use zonefold::core::endpoint::packed::{EndpointView, PackedEndpoint, PackedRecord};

/// The bytes are an endpoint and a record set; cut in two at the place that the first byte names, they are its parts.
pub fn run(data: &[u8]) {
    check_endpoint(data);
    check_record(data);
    if let Some((at, rest)) = super::split_choice(data)
        && let Some((key, content)) = rest.split_at_checked(at)
        && let Ok(view) = EndpointView::read_parts(key, content)
    {
        assert_eq!(EndpointView::read(rest).unwrap(), view, "the parts are the whole");
    }
}

/// What can be read can be read in each way, means the same when it is packed again, and then has the one form.
fn check_endpoint(data: &[u8]) {
    let Ok(packed) = PackedEndpoint::from_bytes(data) else {
        assert!(EndpointView::read(data).is_err());
        return;
    };
    assert_eq!(packed.as_bytes(), data);
    let endpoint = packed.unpack();
    let again = PackedEndpoint::pack(&endpoint);
    assert_eq!(again.unpack(), endpoint);
    assert_eq!(PackedEndpoint::pack(&again.unpack()), again);
    assert!(again.as_bytes().len() <= data.len(), "no form is shorter");
    let (key, content) = packed.parts();
    assert_eq!(EndpointView::read_parts(key, content).unwrap(), packed.view());
    assert_eq!(packed.view().key_hash(), endpoint.key.hash());
    assert_eq!(again.view().version(), endpoint.version());
}

fn check_record(data: &[u8]) {
    let Ok(packed) = PackedRecord::from_bytes(data) else { return };
    let key = RecordKey {
        name: DnsName::parse("www.example.com").unwrap(),
        rtype: RecordType::A,
        set_identifier: Some("east".into()),
    };
    let raw = packed.unpack(&key);
    let again = PackedRecord::pack(&key, &raw);
    assert_eq!(again.unpack(&key), raw);
    assert_eq!(PackedRecord::pack(&key, &again.unpack(&key)), again);
}
