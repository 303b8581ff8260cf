//! Answers of Route 53 read without a call: the status and the body go through the deserializers of the SDK and through what
//! the adapter makes of their results.
//!
//! Tests and fuzz targets use it to put any bytes where an answer is expected.

use aws_sdk_route53::error::ProvideErrorMetadata;
use aws_sdk_route53::operation::{
    change_resource_record_sets as change, get_change, list_hosted_zones as zones,
    list_resource_record_sets as records, list_tags_for_resources as tags,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::runtime_plugin::RuntimePlugin;
use aws_smithy_runtime_api::client::ser_de::{
    DeserializeResponse as _, SharedResponseDeserializer,
};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;

pub use super::service::Route53Answer;
use super::{classify, wire};
use crate::core::dns::record::RawRecordSet;
use crate::ports::CallError;

/// Which call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// ListHostedZones.
    Zones,
    /// ListTagsForResources.
    Tags,
    /// ListResourceRecordSets.
    Records,
    /// ChangeResourceRecordSets.
    Change,
    /// GetChange.
    Status,
}

impl Asked {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Zones, Self::Tags, Self::Records, Self::Change, Self::Status];
}

/// Reads an answer as the adapter does.
///
/// # Errors
/// As the call would have.
pub fn read_answer(asked: Asked, status: u16, body: &[u8]) -> Result<Route53Answer, CallError> {
    let answer = Answer { status, body };
    match asked {
        Asked::Zones => {
            let output =
                answer.read::<_, zones::ListHostedZonesError>(&zones::ListHostedZones::new())?;
            wire::zone_page(&output).map(Route53Answer::Zones)
        }
        Asked::Tags => {
            let output = answer
                .read::<_, tags::ListTagsForResourcesError>(&tags::ListTagsForResources::new())?;
            wire::tags_by_zone(&output).map(Route53Answer::Tags)
        }
        Asked::Records => {
            let output = answer.read::<_, records::ListResourceRecordSetsError>(
                &records::ListResourceRecordSets::new(),
            )?;
            wire::record_page(&output).map(Route53Answer::Records)
        }
        Asked::Change => {
            let output = answer.read::<_, change::ChangeResourceRecordSetsError>(
                &change::ChangeResourceRecordSets::new(),
            )?;
            wire::receipt(&output).map(Route53Answer::Accepted)
        }
        Asked::Status => {
            let output =
                answer.read::<_, get_change::GetChangeError>(&get_change::GetChange::new())?;
            wire::in_sync(&output).map(Route53Answer::InSync)
        }
    }
}

/// The record set after it was turned into the SDK's types and back; `None` if they do not accept it.
pub fn through_the_sdk(raw: &RawRecordSet) -> Option<RawRecordSet> {
    wire::sdk_record_set(raw).ok().map(|set| wire::raw_record_set(&set))
}

struct Answer<'a> {
    status: u16,
    body: &'a [u8],
}

impl Answer<'_> {
    /// The output of an operation, or its classified error.
    fn read<T, E>(&self, operation: &impl RuntimePlugin) -> Result<T, CallError>
    where
        T: std::fmt::Debug + Send + Sync + 'static,
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let unreadable = |reason: &str| CallError::Unknown {
            message: format!("the answer cannot be read: {reason}"),
        };
        let status =
            StatusCode::try_from(self.status).map_err(|error| unreadable(&error.to_string()))?;
        let response = HttpResponse::new(status, SdkBody::from(self.body));
        let layer =
            operation.config().ok_or_else(|| unreadable("the operation says nothing of it"))?;
        let deserializer = layer
            .load::<SharedResponseDeserializer>()
            .ok_or_else(|| unreadable("the operation has no deserializer"))?;
        match deserializer.deserialize_nonstreaming_with_config(&response, &ConfigBag::base()) {
            Ok(output) => {
                output.downcast::<T>().map_err(|_| unreadable("it is of another operation"))
            }
            Err(error) => {
                match error.as_operation_error().and_then(|error| error.downcast_ref::<E>()) {
                    Some(refused) => Err(classify::route53_refusal(&classify::Refusal {
                        status: self.status,
                        code: refused.code(),
                        message: refused.message(),
                        request_id: classify::request_id(&response),
                        signed_off_by: None,
                    })),
                    None => Err(unreadable(&error.to_string())),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACE: &str = "https://route53.amazonaws.com/doc/2013-04-01/";

    #[test]
    fn a_page_of_records_and_a_refusal_are_read_as_from_a_call() {
        let page = format!(
            "<?xml version=\"1.0\"?><ListResourceRecordSetsResponse xmlns=\"{NAMESPACE}\"><ResourceRecordSets><ResourceRecordSet>\
             <Name>\\052.example.com.</Name><Type>A</Type><TTL>60</TTL><ResourceRecords><ResourceRecord><Value>192.0.2.1</Value>\
             </ResourceRecord></ResourceRecords></ResourceRecordSet></ResourceRecordSets><IsTruncated>false</IsTruncated>\
             <MaxItems>300</MaxItems></ListResourceRecordSetsResponse>"
        );
        let Ok(Route53Answer::Records(page)) = read_answer(Asked::Records, 200, page.as_bytes())
        else {
            panic!("no page")
        };
        assert_eq!(
            (page.sets.len(), page.sets[0].name.as_str(), page.next),
            (1, "\\052.example.com.", None)
        );
        assert_eq!(through_the_sdk(&page.sets[0]).unwrap(), page.sets[0]);

        let refusal = format!(
            "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>Throttling</Code>\
             <Message>Rate exceeded</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"
        );
        for asked in Asked::ALL {
            assert!(
                matches!(read_answer(asked, 400, refusal.as_bytes()), Err(CallError::Throttled)),
                "{asked:?}"
            );
            assert!(
                matches!(read_answer(asked, 200, b"<Unclosed><&"), Err(CallError::Unknown { .. })),
                "{asked:?}"
            );
            assert!(
                matches!(read_answer(asked, 502, b"<html>"), Err(CallError::Unknown { .. })),
                "{asked:?}"
            );
        }
    }
}
