//! Writing answers: one line of XML after the declaration, elements in the order of the API, absent ones left out.

use super::action::Service;
use super::error::{AwsError, Blame};
use crate::core::dns::record::RawRecordSet;
use crate::core::time::Timestamp;

/// A growing document. Elements are written by closures, so that every tag is closed.
pub(super) struct Xml(String);

impl Xml {
    /// The declaration and the root with its namespace.
    pub fn document(service: Service, root: &str, content: impl FnOnce(&mut Self)) -> String {
        let mut xml = Self(String::with_capacity(512));
        xml.0.push_str("<?xml version=\"1.0\"?>\n<");
        xml.0.push_str(root);
        xml.0.push_str(" xmlns=\"");
        xml.0.push_str(service.namespace());
        xml.0.push_str("\">");
        content(&mut xml);
        xml.close(root);
        xml.0
    }

    /// Elements without a root, to be put into a document later.
    pub fn fragment(content: impl FnOnce(&mut Self)) -> String {
        let mut xml = Self(String::new());
        content(&mut xml);
        xml.0
    }

    /// Puts a fragment in.
    pub fn raw(&mut self, fragment: &str) {
        self.0.push_str(fragment);
    }

    fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// An element with elements inside.
    pub fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.0.push('<');
        self.0.push_str(name);
        self.0.push('>');
        content(self);
        self.close(name);
    }

    /// An element with text inside.
    pub fn text(&mut self, name: &str, text: &str) {
        self.element(name, |xml| xml.escaped(text));
    }

    /// An element with text inside, when there is one.
    pub fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// An element with something printable inside.
    pub fn value(&mut self, name: &str, value: impl std::fmt::Display) {
        self.text(name, &value.to_string());
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                // A reader would take it for the end of a line, and make it one (XML 1.0 §2.11).
                '\r' => self.0.push_str("&#xD;"),
                other => self.0.push(other),
            }
        }
    }

    /// A ResourceRecordSet.
    pub fn record_set(&mut self, set: &RawRecordSet) {
        self.element("ResourceRecordSet", |xml| {
            xml.text("Name", &set.name);
            xml.text("Type", &set.rtype);
            xml.optional("SetIdentifier", set.set_identifier.as_deref());
            xml.routing(set);
            if let Some(ttl) = set.ttl_secs {
                xml.value("TTL", ttl);
            }
            if !set.values.is_empty() {
                xml.element("ResourceRecords", |xml| {
                    for value in &set.values {
                        xml.element("ResourceRecord", |xml| xml.text("Value", value));
                    }
                });
            }
            if let Some(alias) = &set.alias {
                xml.element("AliasTarget", |xml| {
                    xml.text("HostedZoneId", &alias.zone_id);
                    xml.text("DNSName", &alias.name);
                    xml.value("EvaluateTargetHealth", alias.evaluate_target_health);
                });
            }
            xml.optional("HealthCheckId", set.health_check_id.as_deref());
            xml.optional("TrafficPolicyInstanceId", set.traffic_policy_instance_id.as_deref());
            xml.places(set);
        });
    }

    /// The policy elements that stand before the TTL.
    fn routing(&mut self, set: &RawRecordSet) {
        if let Some(weight) = set.weight {
            self.value("Weight", weight);
        }
        self.optional("Region", set.region.as_deref());
        if let Some(place) = &set.geolocation {
            self.element("GeoLocation", |xml| {
                xml.optional("ContinentCode", place.continent_code.as_deref());
                xml.optional("CountryCode", place.country_code.as_deref());
                xml.optional("SubdivisionCode", place.subdivision_code.as_deref());
            });
        }
        self.optional("Failover", set.failover.as_deref());
        if let Some(multivalue) = set.multivalue_answer {
            self.value("MultiValueAnswer", multivalue);
        }
    }

    /// The policy elements that stand at the end.
    fn places(&mut self, set: &RawRecordSet) {
        if let Some(cidr) = &set.cidr {
            self.element("CidrRoutingConfig", |xml| {
                xml.text("CollectionId", &cidr.collection_id);
                xml.text("LocationName", &cidr.location_name);
            });
        }
        if let Some(place) = &set.geoproximity {
            self.element("GeoProximityLocation", |xml| {
                xml.optional("AWSRegion", place.aws_region.as_deref());
                xml.optional("LocalZoneGroup", place.local_zone_group.as_deref());
                if let Some((latitude, longitude)) = &place.coordinates {
                    xml.element("Coordinates", |xml| {
                        xml.text("Latitude", latitude);
                        xml.text("Longitude", longitude);
                    });
                }
                if let Some(bias) = place.bias {
                    xml.value("Bias", bias);
                }
            });
        }
    }

    /// A ChangeInfo.
    pub fn change_info(&mut self, info: &ChangeInfo) {
        self.element("ChangeInfo", |xml| {
            xml.text("Id", &format!("/change/{}", info.id));
            xml.text("Status", if info.in_sync { "INSYNC" } else { "PENDING" });
            xml.value("SubmittedAt", info.submitted_at);
            xml.optional("Comment", info.comment.as_deref());
        });
    }
}

/// A change's id and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChangeInfo {
    /// Bare id.
    pub id: String,
    pub in_sync: bool,
    pub submitted_at: Timestamp,
    pub comment: Option<String>,
}

/// The envelope of an error.
pub(super) fn error(service: Service, error: &AwsError, request_id: &str) -> String {
    Xml::document(service, "ErrorResponse", |xml| {
        xml.element("Error", |xml| {
            xml.text("Type", if error.blame == Blame::Sender { "Sender" } else { "Receiver" });
            xml.text("Code", error.code);
            xml.text("Message", &error.message);
        });
        xml.text("RequestId", request_id);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_set_is_written_as_captured_from_aws() {
        let set = RawRecordSet {
            name: "test_record.sl.internal.".into(),
            rtype: "CNAME".into(),
            ttl_secs: Some(300),
            values: vec!["172.21.200.100".into()],
            ..RawRecordSet::default()
        };
        let mut xml = Xml(String::new());
        xml.record_set(&set);
        assert_eq!(
            xml.0,
            "<ResourceRecordSet><Name>test_record.sl.internal.</Name><Type>CNAME</Type><TTL>300</TTL><ResourceRecords>\
             <ResourceRecord><Value>172.21.200.100</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>"
        );
    }

    #[test]
    fn a_carriage_return_is_read_as_it_was_written() {
        let written = Xml::document(Service::Route53, "A", |xml| xml.text("B", "x\r\ny\rz"));
        let read = roxmltree::Document::parse(&written).unwrap();
        assert_eq!(read.root_element().first_element_child().unwrap().text(), Some("x\r\ny\rz"));
    }

    #[test]
    fn an_error_is_written_as_captured_from_aws() {
        assert_eq!(
            error(
                Service::Route53,
                &AwsError::throttling(),
                "a5568810-ba11-11e5-ab6a-3b3df31c99c2"
            ),
            "<?xml version=\"1.0\"?>\n<ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Error><Type>Sender\
             </Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error><RequestId>\
             a5568810-ba11-11e5-ab6a-3b3df31c99c2</RequestId></ErrorResponse>"
        );
    }
}
